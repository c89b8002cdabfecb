"""eyas compile: both kinds of networks, and what it refuses."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from eyas.compiler.importers.tflite_import import import_tflite
from eyas.interfaces.vision.program_file import Program
from models.vision.graph import Graph
from tests.cli.conftest import Files, small_graph
from tests.tflite_builder import TfliteBuilder


def refused(answer, message: str, output: Path) -> None:
    assert answer.code == 2
    assert answer.out == ""
    (line,) = (item for item in answer.err.splitlines() if item.startswith("eyas: "))
    assert message in line
    assert "Traceback" not in answer.err
    assert not output.exists(), "something was half-written"


def test_a_quantised_graph(eyas, files: Files, tmp_path: Path) -> None:
    output = tmp_path / "small.eyas"
    answer = eyas("compile", files.model, "-o", output, "--config", "small")
    assert answer.code == 0, answer.err
    assert answer.out.startswith(f"{output}: small, 2 layers, 2,520 multiply-accumulates")
    assert output.read_bytes() == files.program.read_bytes()


@pytest.fixture
def tflite_network(tmp_path: Path) -> Path:
    """A small network of TensorFlow Lite, as a file."""
    builder = TfliteBuilder(seed=6)
    x = builder.input((6, 6, 3), 1 / 255, -128)
    x = builder.conv(x, 8, (3, 3), activation="RELU")
    x = builder.conv(x, 4, (1, 1), stride=2)
    path = tmp_path / "some.tflite"
    path.write_bytes(builder.finish(builder.dense(builder.reshape(x, (1, 36)), 3)))
    return path


def test_a_tflite_file(eyas, tflite_network: Path, tmp_path: Path) -> None:
    output = tmp_path / "some.eyas"
    answer = eyas("compile", tflite_network, "-o", output, "--config", "small")
    assert answer.code == 0, answer.err
    assert answer.out.startswith(f"{output}: some, 3 layers, 8,172 multiply-accumulates")
    program = Program.load(output)
    assert program.manifest.name == "some"
    assert program.graph == import_tflite(tflite_network.read_bytes(), "some").to_bytes()


def test_folding_can_be_turned_off(eyas, tmp_path: Path) -> None:
    graph = small_graph()
    edges, classes = graph.nodes
    weights = edges.weights.copy()
    weights[1] = 0
    dead = replace(edges, weights=weights)
    replace(graph, nodes=(dead, classes)).save(tmp_path / "dead.qgraph")
    sizes, lines = [], []
    for option in ((), ("--fold",), ("--no-fold",)):
        output = tmp_path / "dead.eyas"
        answer = eyas(
            "compile", tmp_path / "dead.qgraph", "-o", output, "--config", "small", *option
        )
        assert answer.code == 0, answer.err
        program = Program.load(output)
        sizes.append(program.manifest.folded.channels)
        lines.append(answer.out.splitlines()[1:])
        assert Graph.from_bytes(program.graph).macs() == 2520  # the reference runs the whole of it
    assert sizes == [1, 1, 0]
    assert (
        lines[0] == lines[1] == ["constant channels folded: 1; 1,890 multiply-accumulates are left"]
    )
    assert lines[2] == []


@pytest.fixture
def float_network(tmp_path: Path) -> tuple[Path, Path]:
    """A network of torch.export and pictures to calibrate it with, as files."""
    torch.manual_seed(3)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2), nn.Flatten(), nn.Linear(16, 3)
    )
    program = torch.export.export(network.eval(), (torch.zeros(1, 1, 4, 4),))
    torch.export.save(program, tmp_path / "net.pt2")
    images = np.random.default_rng(4).integers(0, 256, (20, 4, 4, 1), np.uint8)
    np.savez(tmp_path / "calibration.npz", images=images)
    return tmp_path / "net.pt2", tmp_path / "calibration.npz"


def test_a_float_network(eyas, float_network: tuple[Path, Path], tmp_path: Path) -> None:
    model, pictures = float_network
    output = tmp_path / "net.eyas"
    answer = eyas("compile", model, "-o", output, "--calibrate", pictures, "--config", "small")
    assert answer.code == 0, answer.err
    program = Program.load(output)
    assert program.manifest.name == "net"
    ops = [layer.op for layer in program.manifest.layers]
    assert ops == ["conv2d", "max_pool2d", "fully_connected"]
    assert Graph.from_bytes(program.graph).input_tensor.shape == (4, 4, 1)


def test_what_calibration_is_for(eyas, files: Files, float_network, tmp_path: Path) -> None:
    model, pictures = float_network
    output = tmp_path / "out.eyas"
    refused(eyas("compile", model, "-o", output), "give --calibrate X.npz", output)
    refused(
        eyas("compile", files.model, "-o", output, "--calibrate", pictures),
        "small.qgraph is quantised already", output,
    )  # fmt: skip


def test_an_unsupported_module_is_named(eyas, float_network, tmp_path: Path) -> None:
    _, pictures = float_network
    network = nn.Sequential(nn.Conv2d(1, 4, 3), nn.GroupNorm(2, 4))
    program = torch.export.export(network.eval(), (torch.zeros(1, 1, 4, 4),))
    torch.export.save(program, tmp_path / "odd.pt2")
    output = tmp_path / "out.eyas"
    answer = eyas("compile", tmp_path / "odd.pt2", "-o", output, "--calibrate", pictures)
    refused(answer, "group_norm", output)


def test_files_that_are_not_networks(eyas, float_network, tmp_path: Path) -> None:
    _, pictures = float_network
    output = tmp_path / "out.eyas"
    for name in ("x.qgraph", "x.pt2", "x.tflite"):
        (tmp_path / name).write_bytes(b"nothing of the kind")
    none = tmp_path / "none.pt2"
    for arguments, message in (
        ((tmp_path / "x.qgraph",), "This is not a quantised graph"),
        ((tmp_path / "x.pt2", "--calibrate", pictures), "is not a network that torch.export saved"),
        ((none, "--calibrate", pictures), f"{none}: there is no such file"),
        ((tmp_path / "none.qgraph",), "none.qgraph: No such file or directory"),
        ((tmp_path / "x.tflite",), "x.tflite: This is not a .tflite file"),
        ((tmp_path / "none.tflite",), "none.tflite: No such file or directory"),
        ((tmp_path / "x.onnx",), "MODEL must be a .tflite, a .qgraph or a .pt2 file"),
    ):
        refused(eyas("compile", *arguments, "-o", output), message, output)


def test_a_network_that_does_not_fit_is_refused_with_figures(eyas, tmp_path: Path) -> None:
    torch.manual_seed(5)
    network = nn.Sequential(nn.Conv2d(1, 64, 3), nn.ReLU(), nn.Conv2d(64, 64, 3))
    program = torch.export.export(network.eval(), (torch.zeros(1, 1, 8, 8),))
    torch.export.save(program, tmp_path / "big.pt2")
    np.savez(tmp_path / "x.npz", images=np.zeros((2, 8, 8, 1), np.uint8))
    output = tmp_path / "out.eyas"
    answer = eyas(
        "compile", tmp_path / "big.pt2", "-o", output, "--calibrate", tmp_path / "x.npz",
        "--config", "small",
    )  # fmt: skip
    refused(answer, "KiB of weights", output)
    assert "the engine has 8.0 KiB (512 rows): layer '2' needs" in answer.err


def test_every_blocker_has_a_line(eyas, tmp_path: Path) -> None:
    builder = TfliteBuilder(seed=6)
    x = builder.conv(builder.input((40, 40, 3), 1 / 255, -128), 16, (3, 3))
    number = builder.writer.tensor("swish", (1, 40, 40, 16), x.scale, x.zero_point)
    builder.writer.operator("HARD_SWISH", [x.number], [number], "NONE")
    path, output = tmp_path / "wide.tflite", tmp_path / "wide.eyas"
    path.write_bytes(builder.finish(builder.conv(replace(x, number=number), 64, (5, 5), 2)))
    answer = eyas("compile", path, "-o", output, "--config", "small")
    assert (answer.code, answer.out) == (2, "")
    operator, weights, maps = answer.err.splitlines()
    assert operator.startswith(f"eyas: {path}: HARD_SWISH 'swish': Eyas has no such operator")
    assert weights.startswith(f"eyas: {path}: The network needs ")
    assert maps.startswith(f"eyas: {path}: The maps that live at layer ")
    assert not output.exists()


def test_an_output_that_cannot_be_written(eyas, files: Files, tmp_path: Path) -> None:
    output = tmp_path / "no" / "out.eyas"
    refused(
        eyas("compile", files.model, "-o", output), f"there is no folder {output.parent}", output
    )
