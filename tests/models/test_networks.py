"""Our own networks: what they reach, in float and in int8, and that training repeats."""

import time

import numpy as np
import pytest
import torch

from eyas.compiler.importers.torch_import import from_module
from models.vision.graph import (
    AveragePool2D,
    Conv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    quantize_input,
)
from models.vision.networks import DigitsNet, FashionNet, VisionNet, accuracy, digits, train
from models.vision.reference import run, run_layers
from tests.data import fashion_mnist
from tests.models.litert import run_graph

SEED = 1


def quantized(network: VisionNet, images: np.ndarray) -> Graph:
    height, width, channels = network.shape
    return from_module(
        network, torch.zeros(1, channels, height, width), images, labels=network.labels,
        preprocess=network.preprocess,
    )  # fmt: skip


def int8_accuracy(graph: Graph, images: np.ndarray, labels: np.ndarray) -> float:
    logits = run(graph, quantize_input(graph, images))
    return float((logits.reshape(len(images), -1).argmax(1) == labels).mean())


def check_against_litert(graph: Graph, images: np.ndarray) -> None:
    """Every value of every layer."""
    inputs = quantize_input(graph, images)
    actual = run_layers(graph, inputs)
    for name, expected in run_graph(graph, inputs).items():
        np.testing.assert_array_equal(actual[name], expected, err_msg=name)


@pytest.fixture(scope="module")
def trained_digits() -> DigitsNet:
    print(f"seed {SEED}")
    data, network = digits(), DigitsNet()
    train(network, data.train_images, data.train_labels, SEED, epochs=20)
    return network


def test_digits_split() -> None:
    data = digits()
    assert data.train_images.shape == (1437, 8, 8)
    assert data.test_images.shape == (360, 8, 8)
    assert data.test_images.dtype == np.uint8
    assert data.train_images.max() == 16
    assert np.bincount(data.test_labels).min() >= 34
    again = digits()
    assert np.array_equal(data.test_images, again.test_images)
    every = np.concatenate([data.train_images, data.test_images]).reshape(1797, 64)
    assert len(np.unique(every, axis=0)) > 1790  # held out means held out


def test_digits_accuracy(trained_digits: DigitsNet) -> None:
    data = digits()
    real = accuracy(trained_digits, data.test_images, data.test_labels)
    graph = quantized(trained_digits, data.train_images[:256])
    integer = int8_accuracy(graph, data.test_images, data.test_labels)
    print(f"float {real:.4f}, int8 {integer:.4f}, {graph.macs()} multiply-accumulates")
    assert real >= 0.97
    assert abs(real - integer) <= 0.005
    assert graph.macs() == 231_680
    assert [type(node) for node in graph.nodes] == [*[Conv2D] * 3, MaxPool2D, FullyConnected]
    check_against_litert(graph, data.test_images)


def test_training_repeats_and_leaves_the_random_state(trained_digits: DigitsNet) -> None:
    data = digits()
    torch.manual_seed(99)
    before, threads = torch.get_rng_state(), torch.get_num_threads()
    networks = [DigitsNet(), DigitsNet(), DigitsNet()]
    torch.set_rng_state(before)
    seen: list[tuple[int, int]] = []
    for network, seed in zip(networks, (3, 3, 4), strict=True):
        train(
            network, data.train_images, data.train_labels, seed, epochs=2,
            progress=lambda step, steps, loss: seen.append((step, steps)),
        )  # fmt: skip
    assert torch.equal(torch.get_rng_state(), before)
    assert torch.get_num_threads() == threads
    assert seen[:22] == [(step, 22) for step in range(1, 23)]
    first, second, third = (network.state_dict() for network in networks)
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not torch.equal(first["0.weight"], third["0.weight"])
    assert not networks[0].training


def check_fashion(pictures: int, epochs: int, judged: int, least: float) -> None:
    images, labels, *judging = fashion_mnist()
    test_images, test_labels = (part[:judged] for part in judging)
    print(f"seed {SEED}")
    network, start = FashionNet(), time.monotonic()
    train(network, images[:pictures], labels[:pictures], SEED, epochs)
    print(f"trained in {time.monotonic() - start:.0f} s")
    graph = quantized(network, images[:256])
    assert [type(node) for node in graph.nodes] == [
        Conv2D, MaxPool2D, Conv2D, Conv2D, AveragePool2D, FullyConnected,
    ]  # fmt: skip
    assert {node.stride for node in graph.nodes if isinstance(node, Conv2D)} == {(1, 1), (2, 2)}
    assert graph.macs() < 2_000_000
    check_against_litert(graph, test_images[:200])
    real = accuracy(network, test_images, test_labels)
    integer = int8_accuracy(graph, test_images, test_labels)
    print(f"float {real:.4f}, int8 {integer:.4f}, {graph.macs()} multiply-accumulates")
    assert real >= least
    assert abs(real - integer) <= 0.005


@pytest.mark.slow
def test_fashion_in_brief() -> None:
    """A twelfth of the pictures, twice: enough to tell that learning works."""
    check_fashion(pictures=5_000, epochs=2, judged=2_000, least=0.68)


@pytest.mark.nightly
def test_fashion_accuracy() -> None:
    check_fashion(pictures=60_000, epochs=8, judged=10_000, least=0.90)
