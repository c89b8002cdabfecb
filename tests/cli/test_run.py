"""eyas run: figures, the check against the reference, outputs, and what it refuses."""

import json
import re
from dataclasses import replace
from pathlib import Path

import flatbuffers
import numpy as np
import pytest
from ai_edge_litert import schema_py_generated as schema

from eyas.compiler import compile_graph
from eyas.interfaces.vision.config import SMALL_VISION
from eyas.interfaces.vision.program_file import Program
from models.vision.reference import run, run_layers
from tests.cli.conftest import Files, small_graph
from tests.models.litert import run_file
from tests.tflite_builder import TfliteBuilder

SEED = 8
LAYER_KEYS = {"name", "op", "cycles", "macs", "utilisation"}
KEYS = {
    "name", "board", "pictures", "accuracy", "bit_exact", "outputs", "core_cycles",
    "end_to_end_cycles", "queued_cycles", "host_us", "stalls", "layers", "all",
}  # fmt: skip


def test_json_is_one_object_with_the_promised_names(eyas, files: Files) -> None:
    answer = eyas("run", files.program, "--input", files.pictures, "--check", "--json")
    assert answer.code == 0, answer.err
    found = json.loads(answer.out)
    assert set(found) == KEYS
    assert found["pictures"] == 40
    assert found["bit_exact"] is True
    assert found["accuracy"] == pytest.approx(float((files.classes == files.labels).mean()))
    assert found["host_us"] > 0
    assert 0 < found["core_cycles"] < found["end_to_end_cycles"]
    assert [layer["name"] for layer in found["layers"]] == ["edges", "classes"]
    assert [layer["op"] for layer in found["layers"]] == ["conv2d", "fully_connected"]
    assert [layer["macs"] for layer in found["layers"]] == [6 * 5 * 4 * 18, 3 * 120]
    for layer in found["layers"]:
        assert set(layer) >= LAYER_KEYS
        peak = layer["cycles"] * SMALL_VISION.macs_per_cycle
        assert layer["utilisation"] == pytest.approx(layer["macs"] / peak, abs=1e-4)
        assert 0 < layer["utilisation"] <= 1
    assert sum(layer["cycles"] for layer in found["layers"]) <= found["core_cycles"]
    assert set(found["stalls"]) == {"requantize", "drain", "tables", "start"}
    passes = sum(layer["array_cycles"] for layer in found["layers"])
    assert passes + sum(found["stalls"].values()) == found["core_cycles"]
    assert min(found["stalls"].values()) >= 0 == found["stalls"]["tables"]


def test_the_functional_board_gives_the_same_and_says_so(eyas, files: Files) -> None:
    def answer(board: str) -> dict:
        run = eyas(
            "run", files.program, "--input", files.pictures, "--check", "--json", "--board", board
        )
        assert run.code == 0, run.err
        return json.loads(run.out)

    rtl, functional = answer("rtl"), answer("functional")
    assert (rtl["board"], functional["board"]) == ("rtl", "functional")
    for name in ("layers", "accuracy", "bit_exact", "outputs"):
        assert functional[name] == rtl[name], name
    text = eyas("run", files.program, "--input", files.pictures, "--board", "functional")
    assert "Computed by: functional board" in text.out
    assert "the functional board's work included" in " ".join(text.out.split())
    assert "building" not in text.err


def test_the_functional_board_has_no_waveform(eyas, files: Files, tmp_path: Path) -> None:
    answer = eyas(
        "run", files.program, "--input", files.pictures, "--board", "functional", "--trace",
        tmp_path / "signals.vcd",
    )  # fmt: skip
    assert answer.code != 0
    assert "no signals to write" in answer.err


def test_outputs_and_plot_are_written(eyas, files: Files, tmp_path: Path) -> None:
    output, plot = tmp_path / "outputs.npz", tmp_path / "time.svg"
    answer = eyas(
        "run", files.program, "--input", files.pictures, "--limit", 7, "--output", output,
        "--plot", plot,
    )  # fmt: skip
    assert answer.code == 0, answer.err
    with np.load(output) as archive:
        np.testing.assert_array_equal(archive["outputs"], run(files.graph, files.images[:7]))
    assert "</svg>" in plot.read_text()
    assert "edges conv2d" in plot.read_text()
    assert "Accuracy on 7 pictures" in answer.out
    assert "equal the reference" not in answer.out, "it was not asked to check"


def test_without_labels_there_is_no_accuracy(eyas, files: Files, tmp_path: Path) -> None:
    np.savez(tmp_path / "x.npz", images=files.images[:3])
    answer = eyas("run", files.program, "--input", tmp_path / "x.npz", "--json")
    found = json.loads(answer.out)
    assert found["accuracy"] is None
    assert found["bit_exact"] is None


def test_a_difference_is_named_by_layer_and_index(eyas, files: Files, tmp_path: Path) -> None:
    # The hardware runs other weights than the reference: what a fault in the RTL looks like.
    other = compile_graph(small_graph(change=25), SMALL_VISION)
    program = tmp_path / "wrong.eyas"
    replace(other, graph=files.graph.to_bytes()).save(program)
    answer = eyas("run", program, "--input", files.pictures, "--check", "--json")
    assert answer.code == 1
    assert json.loads(answer.out)["bit_exact"] is False
    maps, wrong = run_layers(files.graph, files.images), run_layers(small_graph(25), files.images)
    picture = np.flatnonzero((maps["logits"] != wrong["logits"]).any(axis=(1, 2, 3)))[0]
    row, column, channel = np.argwhere(maps["map"][picture] != wrong["map"][picture])[0]
    assert channel == 2, "the changed weight belongs to this channel"
    assert answer.err.splitlines()[-1] == (
        f"eyas: differs from the reference: picture {picture}, layer edges, "
        f"index ({row}, {column}, {channel}): "
        f"the reference has {maps['map'][picture, row, column, channel]}, "
        f"the hardware {wrong['map'][picture, row, column, channel]}"
    )


def refused(answer, message: str) -> None:
    """A refusal is one sentence on standard error, code 2 and nothing on standard output."""
    assert answer.code == 2
    assert answer.out == ""
    assert answer.err.startswith("eyas: ")
    assert message in answer.err
    assert answer.err.count("\n") == 1, answer.err
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"pictures": np.zeros(3)}, "holds no array 'images'"),
        ({"images": np.zeros((0, 6, 5, 2), np.uint8)}, "holds no pictures"),
        ({"images": np.zeros((2, 6, 4, 2), np.uint8)},
         "must have the shape N × 6 × 5 × 2, not 2 × 6 × 4 × 2"),
        ({"images": np.zeros((2, 6, 5, 2), np.int16)}, "must be uint8, int8 or floating"),
        ({"images": np.full((2, 6, 5, 2), np.nan)}, "must be numbers, not NaN"),
        ({"images": np.zeros((2, 6, 5, 2), np.uint8), "labels": np.zeros(3, int)},
         "labels must be 2 integers, one a picture, not int64 of shape (3,)"),
        ({"images": np.array([{}, {}])}, "is not a readable .npz file"),
    ],
)  # fmt: skip
def test_wrong_pictures(eyas, files: Files, tmp_path: Path, arrays, message: str) -> None:
    path, output = tmp_path / "x.npz", tmp_path / "y.npz"
    np.savez(path, **arrays)
    answer = eyas("run", files.program, "--input", path, "--output", output, "--json")
    lines = [line for line in answer.err.splitlines() if line.startswith("eyas: ")]
    assert answer.code == 2
    assert answer.out == ""
    assert len(lines) == 1
    assert message in lines[0]
    assert "Traceback" not in answer.err
    assert not output.exists()


def test_files_that_are_not_there_or_not_what_they_should_be(
    eyas, files: Files, tmp_path: Path
) -> None:
    none, text = tmp_path / "none", tmp_path / "text.npz"
    text.write_text("not an archive")
    array = tmp_path / "array.npy"
    np.save(array, files.images)
    run_it = ("run", files.program, "--input")
    refused(eyas("run", none, "--input", files.pictures), f"{none}: No such file or directory")
    refused(eyas(*run_it, none), f"{none}: No such file or directory")
    refused(eyas(*run_it, text), "is not a readable .npz file")
    refused(eyas(*run_it, array), "is a single array, not an .npz")
    refused(eyas("run", text, "--input", files.pictures), "not a compiled program")


@pytest.mark.parametrize("cut", [10, 200, -20])
def test_a_truncated_program(eyas, files: Files, tmp_path: Path, cut: int) -> None:
    path = tmp_path / "cut.eyas"
    path.write_bytes(files.program.read_bytes()[:cut])
    refused(eyas("run", path, "--input", files.pictures), f"{path}: This is not a compiled program")


def test_a_program_with_a_damaged_image(files: Files) -> None:
    program = Program.load(files.program)
    image = bytearray(program.image)
    image[100] ^= 1
    with pytest.raises(ValueError, match="checksum is wrong"):
        replace(program, image=bytes(image))


@pytest.mark.parametrize("option", ["--output", "--plot"])
def test_an_output_that_cannot_be_written(eyas, files: Files, tmp_path: Path, option: str) -> None:
    path = tmp_path / "no" / "such.svg"
    answer = eyas("run", files.program, "--input", files.pictures, option, path)
    refused(answer, f"{path} cannot be written: there is no folder {path.parent}")
    folder = tmp_path / "folder.svg"
    folder.mkdir()
    refused(
        eyas("run", files.program, "--input", files.pictures, option, folder),
        f"{folder} is a folder",
    )


def test_a_plot_of_an_unknown_kind(eyas, files: Files, tmp_path: Path) -> None:
    path = tmp_path / "time.xyz"
    answer = eyas("run", files.program, "--input", files.pictures, "--plot", path)
    refused(answer, "a plot is a .pdf, .png, .svg file")


def test_a_missing_compiler_is_named(
    eyas, files: Files, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from drivers.simulated import toolchain

    for name in ("find_verilator", "find_compiler"):
        cached = getattr(toolchain, name)
        if hasattr(cached, "cache_clear"):
            cached.cache_clear()
    monkeypatch.setenv("EYAS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CXX", raising=False)
    answer = eyas("run", files.program, "--input", files.pictures)
    assert answer.code == 2
    assert answer.out == ""
    assert "was not found; install it with: apt install" in answer.err
    assert "Traceback" not in answer.err


def odd_network() -> bytes:
    """A flat picture that is reshaped inside, a dead channel, a dead operator, a RELU in place."""
    builder = TfliteBuilder(SEED)
    flat = builder.writer.tensor("flat", (1, 60), 0.02, -7)
    source = builder.input((6, 10, 1), 0.02, -7)
    wanted = np.array([1, 6, 10, 1], np.int32)
    shape = builder.writer.tensor("shape", (4,), dtype="INT32", data=wanted)
    builder.writer.operator("RESHAPE", [flat, shape], [source.number], "NONE")
    x = builder.conv(source, 4, (3, 3))
    builder.writer.operator("RELU", [x.number], [x.number], "NONE")
    builder.conv(x, 3, (1, 1))  # nobody reads it
    x = builder.dense(builder.reshape(x, (1, 240)), 3)
    builder._input = replace(builder._input, number=flat)
    model = schema.ModelT.InitFromPackedBuf(builder.finish(x))
    (weights,) = (item for item in model.subgraphs[0].tensors if item.name == b"weights_2")
    weights.quantization.scale = [0.0, *weights.quantization.scale[1:].tolist()]
    packed = flatbuffers.Builder(1 << 14)
    packed.Finish(model.Pack(packed), file_identifier=b"TFL3")
    return bytes(packed.Output())


@pytest.mark.parametrize("fold", ["--fold", "--no-fold"])
def test_a_file_s_own_shape_and_what_litert_runs_of_it(eyas, tmp_path: Path, fold: str) -> None:
    data, program = odd_network(), tmp_path / "odd.eyas"
    (tmp_path / "odd.tflite").write_bytes(data)
    answer = eyas("compile", tmp_path / "odd.tflite", "-o", program, "--config", "small", fold)
    assert answer.code == 0, answer.err
    images = np.random.default_rng(SEED).integers(-128, 128, (4, 60), np.int8)
    expected = np.stack([run_file(data, item[np.newaxis])["fully_connected_9"] for item in images])
    for number, shape in enumerate([(60,), (6, 10, 1), (6, 10)]):
        np.savez(tmp_path / "x.npz", images=images.reshape(-1, *shape))
        outputs = tmp_path / f"{number}.npz"
        answer = eyas("run", program, "-i", tmp_path / "x.npz", "--check", "-o", outputs)
        assert answer.code == 0, answer.err
        assert "equal the reference, bit for bit" in answer.out
        with np.load(outputs) as archive:
            np.testing.assert_array_equal(archive["outputs"].ravel(), expected.ravel())
    np.savez(tmp_path / "x.npz", images=images.reshape(-1, 10, 6))
    answer = eyas("run", program, "-i", tmp_path / "x.npz")
    assert answer.code == 2
    assert "must have the shape N × 6 × 10 × 1 or N × 60, not 4 × 10 × 6 × 1" in answer.err


@pytest.mark.slow
def test_a_waveform_is_written(eyas, files: Files, tmp_path: Path) -> None:
    path = tmp_path / "wave.vcd"
    answer = eyas("run", files.program, "--input", files.pictures, "-n", 1, "--trace", path)
    assert answer.code == 0, answer.err
    text = path.read_text()
    for signal in ("aclk", "s_axi_awaddr", "m_axi_rdata", "interrupt"):
        assert re.search(rf"^\s*\$var \w+ +\d+ \S+ {signal}\b", text, re.MULTILINE), signal
    cycles = int(re.search(r"([\d,]+) of the core", answer.out)[1].replace(",", ""))
    end = max(int(line[1:]) for line in text.splitlines() if line.startswith("#"))
    assert end >= 10_000 * cycles, "picoseconds of a 10 ns clock"
