"""Float PyTorch networks to the quantised graph."""

import io
from collections.abc import Callable

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from eyas.compiler.importers.torch_import import UnsupportedError, from_exported, from_module
from eyas.compiler.importers.torch_reader import read
from models.vision.graph import (
    AveragePool2D,
    Conv2D,
    FullyConnected,
    Graph,
    MaxPool2D,
    quantize_input,
)
from models.vision.reference import run, run_layers
from tests.models.litert import run_graph

SEED = 20
# torch says so of the one such kernel below, once.
pytestmark = pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel lengths")


def seeded(make: Callable[[], nn.Module]) -> nn.Module:
    """A module with fixed random weights; batch norms have seen data."""
    print(f"seed {SEED}")
    torch.manual_seed(SEED)
    module = make()
    for part in module.modules():
        if isinstance(part, nn.BatchNorm2d | nn.BatchNorm1d):
            nn.init.uniform_(part.weight, 0.5, 2)
            nn.init.uniform_(part.bias, -1, 1)
            nn.init.uniform_(part.running_mean, -0.5, 0.5)
            nn.init.uniform_(part.running_var, 0.5, 2)
    return module.eval()


def pictures(count: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(SEED).uniform(-1, 1, (count, *shape)).astype(np.float32)


class Branchless(nn.Module):
    """Functions instead of modules, a mean, a view that asks for the batch's size."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, (3, 5), stride=(2, 1), padding=(1, 2))
        self.norm = nn.BatchNorm2d(8)
        self.second = nn.Conv2d(8, 12, 1)
        self.head = nn.Linear(12, 5)

    def forward(self, values: Tensor) -> Tensor:
        values = functional.relu6(self.norm(self.first(values)))
        values = functional.max_pool2d(values, 3, 2, 1)
        values = self.second(values).clamp(min=-0.5)
        values = values.mean((2, 3))
        return functional.softmax(self.head(values.view(values.size(0), -1)), dim=1)


NETWORKS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int, int], list[type]]] = {
    "batch norm, pools, flatten of a map": (
        lambda: nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False), nn.BatchNorm2d(8, eps=0.1),
            nn.ReLU(inplace=True),
            nn.MaxPool2d(2), nn.Dropout(0.3), nn.Conv2d(8, 6, 3, stride=2, padding="valid"),
            nn.Hardtanh(-1, 2), nn.Identity(), nn.Flatten(), nn.Linear(6 * 9, 10), nn.ReLU(),
            nn.Linear(10, 4),
        ),
        (3, 14, 14),
        [Conv2D, MaxPool2D, Conv2D, FullyConnected, FullyConnected],
    ),
    "functions": (Branchless, (3, 12, 10), [Conv2D, MaxPool2D, Conv2D, AveragePool2D,
                                            FullyConnected]),
    "same padding of an even kernel": (
        lambda: nn.Sequential(
            nn.Conv2d(2, 4, (4, 2), padding="same"), nn.ReLU(), nn.AvgPool2d((2, 3), stride=(1, 2)),
            nn.AdaptiveAvgPool2d(1), nn.Flatten(1), nn.BatchNorm1d(4), nn.LogSoftmax(1),
        )[:4],
        (2, 9, 9),
        [Conv2D, AveragePool2D, AveragePool2D],
    ),
    "batch norm of a linear layer": (
        lambda: nn.Sequential(
            nn.Conv2d(1, 4, 3), nn.ReLU6(), nn.AdaptiveAvgPool2d((2, 2)), nn.Flatten(),
            nn.Linear(16, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, 3), nn.Softmax(1),
        ),
        (1, 8, 8),
        [Conv2D, AveragePool2D, FullyConnected, FullyConnected],
    ),
    "fully convolutional": (
        lambda: nn.Sequential(nn.Conv2d(1, 4, 5, 2, 2), nn.ReLU(), nn.Conv2d(4, 2, 3, 1, 1)),
        (1, 11, 7),
        [Conv2D, Conv2D],
    ),
}  # fmt: skip


@pytest.fixture(params=NETWORKS, ids=lambda name: name.replace(" ", "_"))
def network(request: pytest.FixtureRequest) -> tuple[nn.Module, tuple[int, int, int], list[type]]:
    make, shape, kinds = NETWORKS[request.param]
    return seeded(make), shape, kinds


def logits(module: nn.Module, values: np.ndarray) -> Tensor:
    """The module's output before a softmax at its end, as the graph has it."""
    if isinstance(module, nn.Sequential) and isinstance(module[-1], nn.Softmax):
        module = module[:-1]
    if isinstance(module, Branchless):
        softmax = functional.softmax
        functional.softmax = lambda values, dim: values
        try:
            return module(torch.from_numpy(values)).detach()
        finally:
            functional.softmax = softmax
    return module(torch.from_numpy(values)).detach()


def test_layers_compute_what_the_module_does(network: tuple) -> None:
    module, shape, _ = network
    values = pictures(5, *shape)
    program = torch.export.export(module, (torch.zeros(2, *shape),))
    layers = read(program)
    maps = dict(layers.run(torch.from_numpy(values)))
    expected = logits(module, values)
    actual = maps[layers.output].reshape(expected.shape)
    torch.testing.assert_close(actual, expected, rtol=1e-4, atol=1e-5)
    for layer in layers.layers:
        height, width, channels = layer.shape
        assert maps[layer.name].shape == (5, channels, height, width)


def test_graph_is_close_to_the_module_and_equal_in_litert(network: tuple) -> None:
    module, shape, kinds = network
    values = pictures(64, *shape)
    graph = from_module(module, torch.zeros(1, *shape), values)
    assert [type(node) for node in graph.nodes] == kinds
    assert graph.name == type(module).__name__
    inputs = quantize_input(graph, values.transpose(0, 2, 3, 1))
    maps = run_layers(graph, inputs)
    expected = logits(module, values).numpy()
    if expected.ndim == 2:
        expected = expected[:, :, None, None]
    target = graph.output_tensor
    actual = (maps[graph.output].transpose(0, 3, 1, 2) - float(target.zero_point)) * target.scale
    noise = np.sqrt(np.mean((actual - expected) ** 2) / np.var(expected))
    assert noise < 0.04, f"noise to signal {noise:.4f}"
    for name, values in run_graph(graph, inputs[:16]).items():
        np.testing.assert_array_equal(maps[name][:16], values, err_msg=name)
    assert Graph.from_bytes(graph.to_bytes()).to_bytes() == graph.to_bytes()


def test_exported_file_gives_the_same_graph(network: tuple) -> None:
    module, shape, _ = network
    values = pictures(8, *shape)
    batch = {0: torch.export.Dim("pictures")}
    program = torch.export.export(module, (torch.zeros(3, *shape),), dynamic_shapes=(batch,)
        if not isinstance(module, Branchless) else {"values": batch})  # fmt: skip
    file = io.BytesIO()
    torch.export.save(program, file)
    file.seek(0)
    graph = from_exported(torch.export.load(file), values, name=type(module).__name__)
    again = from_module(module, torch.zeros(1, *shape), values)
    assert graph.to_bytes() == again.to_bytes()


def small() -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(2, 4, 3), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3))


def test_names_labels_and_preprocess() -> None:
    graph = from_module(
        seeded(small), torch.zeros(1, 2, 4, 4), pictures(4, 2, 4, 4), name="mine",
        labels=["a", "b", "c"], preprocess=(0.5, -1),
    )  # fmt: skip
    assert graph.name == "mine"
    assert graph.labels == ("a", "b", "c")
    assert graph.preprocess == (0.5, -1.0)
    assert [node.name for node in graph.nodes] == ["0", "3"]
    assert list(graph.tensors) == ["input", "0", "3"]


def test_a_module_used_twice_gets_two_names() -> None:
    class Twice(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.input = nn.Conv2d(2, 2, 1)

        def forward(self, values: Tensor) -> Tensor:
            return self.input(torch.relu(self.input(values)))

    graph = from_module(seeded(Twice), torch.zeros(1, 2, 4, 4), pictures(4, 2, 4, 4))
    assert [node.name for node in graph.nodes] == ["input_2", "input_3"]


def test_linear_columns_follow_the_flattened_map() -> None:
    """One weight at a time: the graph's column must belong to the same pixel and channel."""
    module = seeded(lambda: nn.Sequential(nn.Conv2d(2, 3, 1), nn.Flatten(), nn.Linear(18, 18)))
    with torch.no_grad():
        module[2].weight.copy_(torch.eye(18))
    graph = from_module(module, torch.zeros(1, 2, 2, 3), pictures(4, 2, 2, 3))
    weights = graph.nodes[1].weights
    for output in range(18):
        channel, row, column = np.unravel_index(output, (3, 2, 3))
        expected = np.ravel_multi_index((row, column, channel), (2, 3, 3))
        assert np.flatnonzero(weights[output]).tolist() == [expected]


def test_raw_pictures_calibrate_as_their_real_values_do() -> None:
    module = seeded(small)
    raw = np.random.default_rng(SEED).integers(0, 256, (32, 4, 4, 2)).astype(np.uint8)
    raw[0, 0, 0] = 0, 255
    real = (raw.astype(np.float32) / 128 - 1).transpose(0, 3, 1, 2)
    options = {"name": "x", "preprocess": (1 / 128, -1.0)}
    example = torch.zeros(1, 2, 4, 4)
    from_raw = from_module(module, example, raw, **options)
    from_real = from_module(module, example, np.ascontiguousarray(real), **options)
    assert from_raw.to_bytes() == from_real.to_bytes()
    np.testing.assert_array_equal(
        run(from_raw, quantize_input(from_raw, raw)),
        run(from_raw, quantize_input(from_raw, real.transpose(0, 2, 3, 1))),
    )


def test_raw_pictures_are_represented_exactly_whatever_was_seen() -> None:
    """Dark calibration pictures do not clip bright ones."""
    graph = from_module(seeded(small), torch.zeros(1, 2, 4, 4), np.full((2, 4, 4, 2), 9, np.uint8))
    assert graph.input_tensor.zero_point == -128
    assert graph.input_tensor.scale == float(np.float32(1 / 255))


def test_grey_raw_pictures_need_no_channel_axis() -> None:
    module = seeded(lambda: nn.Sequential(nn.Conv2d(1, 2, 3)))
    raw = np.random.default_rng(SEED).integers(0, 256, (5, 6, 6)).astype(np.uint8)
    graph = from_module(module, torch.zeros(1, 1, 6, 6), raw)
    assert graph.to_bytes() == from_module(
        module, torch.zeros(1, 1, 6, 6), raw[..., np.newaxis]
    ).to_bytes()  # fmt: skip


def test_training_mode_is_put_back() -> None:
    module = seeded(lambda: nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2), nn.ReLU()))
    module.train()
    module[0].eval()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    from_module(module, torch.zeros(1, 1, 6, 6), pictures(2, 1, 6, 6))
    assert (module.training, module[0].training, module[1].training) == (True, False, True)
    for name, value in module.state_dict().items():
        assert torch.equal(value, before[name])


def test_percentile_narrows_the_ranges() -> None:
    values = pictures(64, 2, 4, 4)
    values[0] *= 40
    wide = from_module(seeded(small), torch.zeros(1, 2, 4, 4), values)
    narrow = from_module(seeded(small), torch.zeros(1, 2, 4, 4), values, percentile=98)
    for name in ("input", "0", "3"):
        assert narrow.tensors[name].scale < wide.tensors[name].scale / 2


class Plus(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.block = nn.Conv2d(2, 2, 3, padding=1)

    def forward(self, values: Tensor) -> Tensor:
        return values + self.block(values)


class Reused(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 2, 1)
        self.next = nn.Conv2d(2, 2, 1)

    def forward(self, values: Tensor) -> Tensor:
        values = self.conv(values)
        return self.next(functional.relu(values)) + values


class Two(nn.Module):
    def forward(self, values: Tensor, more: Tensor) -> Tensor:
        return values + more


class Data(nn.Module):
    def forward(self, values: Tensor) -> Tensor:
        return values if values.sum() > 0 else -values


CONV = nn.Conv2d(2, 4, 3)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: nn.Sequential(nn.Conv2d(2, 4, 3), nn.Sigmoid()),
         r"aten.sigmoid.default at '1' \(Sigmoid\) is not supported$"),
        (lambda: nn.Sequential(nn.Sequential(nn.Conv2d(2, 4, 3), nn.GELU())),
         r"aten.gelu.default at '0.1' \(GELU\) is not supported"),
        (Plus, r"aten.add.Tensor in the network's own forward \(Plus\) is not supported"),
        (Reused, "the output of 'conv' is used elsewhere too"),
        (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, groups=2)),
         r"aten.conv2d.default at '0' \(Conv2d\) is not supported: groups must be 1, not 2"),
        (lambda: nn.Sequential(nn.Conv2d(2, 4, 2, dilation=2)), "dilation must be 1"),
        (lambda: nn.Sequential(nn.Conv2d(2, 4, 1, padding=1)), "smaller than the kernel"),
        (lambda: nn.Sequential(nn.Conv2d(2, 4, 3, padding=1, padding_mode="reflect")),
         r"aten.pad.default at '0' \(Conv2d\) is not supported"),
        (lambda: nn.Sequential(nn.BatchNorm2d(2), CONV), "no layer stands before it"),
        (lambda: nn.Sequential(CONV, nn.ReLU(), nn.BatchNorm2d(4)), "follow a convolution or a"),
        (lambda: nn.Sequential(nn.ReLU(), CONV), "no layer stands before it"),
        (lambda: nn.Sequential(CONV, nn.Softmax(1), nn.Conv2d(4, 1, 1)), "only stand at the end"),
        (lambda: nn.Sequential(CONV, nn.AvgPool2d(3, 1, 1)), "padding must be 0, not"),
        (lambda: nn.Sequential(CONV, nn.AvgPool2d(3, divisor_override=2)), "divisor of its own"),
        (lambda: nn.Sequential(CONV, nn.MaxPool2d(4, 4, ceil_mode=True)), "ceil_mode must be"),
        (lambda: nn.Sequential(CONV, nn.MaxPool2d(2, dilation=2)), "dilation must be 1"),
        (lambda: nn.Sequential(CONV, nn.AdaptiveAvgPool2d(4)),
         "a map of 6 × 6 does not divide evenly into 4 × 4"),
        (lambda: nn.Sequential(CONV, nn.Linear(6, 3)), "its input must be flattened"),
        (lambda: nn.Sequential(CONV, nn.Flatten(2)), "only a flattening to one dimension"),
        (lambda: nn.Sequential(CONV, nn.Flatten(), nn.Unflatten(1, (6, 6, 4))), "aten.unflatten"),
        (lambda: nn.Sequential(CONV, nn.PReLU()), "aten.prelu"),
        (lambda: nn.Sequential(nn.Identity()), "The network's output comes from no layer"),
        (Data, "torch.export cannot trace the network: "),
    ],
)  # fmt: skip
def test_refuses(make: Callable[[], nn.Module], message: str) -> None:
    with pytest.raises(UnsupportedError, match=message) as caught:
        from_module(seeded(make), torch.zeros(1, 2, 8, 8), pictures(2, 2, 8, 8))
    assert "\n" not in str(caught.value)


def test_refuses_other_signatures() -> None:
    example = torch.zeros(1, 2, 8, 8)
    values = pictures(2, 2, 8, 8)
    with pytest.raises(UnsupportedError, match="takes 2 inputs, it must take one"):
        from_exported(torch.export.export(Two(), (example, example)), values)
    vector = torch.export.export(nn.Sequential(nn.Linear(4, 2)), (torch.zeros(1, 4),))
    with pytest.raises(UnsupportedError, match="input has 2 dimensions, it must have four"):
        from_exported(vector, values)
    training = nn.Sequential(nn.Conv2d(2, 2, 1), nn.BatchNorm2d(2)).train()
    with pytest.raises(UnsupportedError, match=r"evaluation mode \(module.eval\(\)\)"):
        from_exported(torch.export.export(training, (example,)), values)


@pytest.mark.parametrize(
    ("calibration", "message"),
    [
        (np.zeros((0, 2, 8, 8), np.float32), "must have the shape N × 2 × 8 × 8, not 0 × 2"),
        (np.zeros((3, 8, 8, 2), np.float32), "float32 must have the shape N × 2 × 8 × 8, not 3"),
        (np.zeros((3, 2, 8, 8), np.uint8), "uint8 must have the shape N × 8 × 8 × 2, not 3 × 2"),
        (np.zeros((3, 8, 8), np.uint8), "must have the shape"),
        (np.zeros((3, 8, 8, 2), np.int64), "must be uint8 or floating, not int64"),
        (np.full((3, 2, 8, 8), np.nan), "hold values that are not finite"),
        (np.full((3, 2, 8, 8), 1e38, np.float32), "values of '0' are not finite"),
    ],
)
def test_refuses_calibration(calibration: np.ndarray, message: str) -> None:
    module = seeded(lambda: nn.Sequential(nn.Conv2d(2, 4, 3)))
    with torch.no_grad():
        module[0].weight.fill_(10)
    with pytest.raises(ValueError, match=message) as caught:
        from_module(module, torch.zeros(1, 2, 8, 8), calibration)
    assert "\n" not in str(caught.value)
