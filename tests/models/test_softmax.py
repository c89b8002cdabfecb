"""Softmax in integers: the reference and the driver's, against each other and against LiteRT."""

import math
import subprocess
import sys

import numpy as np
import pytest

from drivers.vision import softmax as driver
from models.vision import softmax as reference
from tests.models.litert import run_file
from tests.models.tflite_writer import TfliteWriter

SEED = 20240607
BOTH = pytest.mark.parametrize("softmax", [reference.softmax, driver.softmax])


def litert(logits: np.ndarray, scale: float, beta: float) -> np.ndarray:
    writer = TfliteWriter()
    source = writer.tensor("in", logits.shape, scale, 5)
    target = writer.tensor("out", logits.shape, 1 / 256, -128)
    writer.operator("SOFTMAX", [source], [target], "SoftmaxOptions", beta=beta)
    return run_file(writer.finish([source], [target]), logits)["out"]


def random_logits(rng: np.random.Generator, rows: int, classes: int) -> np.ndarray:
    """Close together in some, far apart in others."""
    logits = rng.integers(-128, 128, (rows, classes)) // rng.integers(1, 40, (rows, 1))
    return (logits + rng.integers(-5, 5, (rows, 1))).clip(-128, 127).astype(np.int8)


def test_equals_litert() -> None:
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    for index in range(240):
        classes = int(rng.choice([1, 2, 3, 10, 12, 100, 511]))
        scale, beta = 2.0 ** rng.uniform(-10, 1), float(rng.choice([1, 0.5, 2, rng.uniform(0, 4)]))
        if index % 8 == 0:
            scale = 2.0 ** rng.uniform(1, 10)  # one step is much, the multiplier saturates
        if index % 8 == 1:
            scale, beta = 2.0 ** rng.uniform(-25, -10), 1.0  # a step is next to nothing
        logits = random_logits(rng, 16, classes)
        expected = litert(logits, scale, beta)
        for softmax in (reference.softmax, driver.softmax):
            actual = softmax(logits, scale, beta)
            assert actual.dtype == np.int8
            np.testing.assert_array_equal(actual, expected, err_msg=f"{classes} {scale} {beta}")


def float_softmax(logits: np.ndarray, scale: float) -> np.ndarray:
    """What LiteRT's other kernel computes: exponentials in a table of float32."""
    table = np.exp(-np.float32(scale) * np.arange(256, dtype=np.float32))
    terms = table[logits.max(axis=-1, keepdims=True).astype(int) - logits]
    sums = np.add.accumulate(terms, axis=-1)[..., -1:]
    steps = np.floor(terms * (np.float32(256) / sums) + np.float32(0.5)) - 128
    return np.minimum(steps, 127).astype(np.int8)


def test_is_the_kernel_in_integers() -> None:
    """The float kernel differs in one row of some 10,000: those rows tell which one runs."""
    print(f"seed {SEED}")
    rng = np.random.default_rng(SEED)
    differ = 0
    for _ in range(60):
        scale = float(np.float32(rng.uniform(0.005, 0.2)))
        logits = rng.integers(-40, 40, (4000, int(rng.integers(2, 12)))).astype(np.int8)
        expected = reference.softmax(logits, scale)
        np.testing.assert_array_equal(driver.softmax(logits, scale), expected)
        rows = (expected != float_softmax(logits, scale)).any(axis=-1)
        differ += int(rows.sum())
        if rows.any():
            np.testing.assert_array_equal(litert(logits[rows], scale, 1.0), expected[rows])
    assert differ > 10


@BOTH
def test_is_a_softmax(softmax: object) -> None:
    rng = np.random.default_rng(SEED)
    logits = random_logits(rng, 200, 10)
    for scale in (0.01, 0.1, 0.7):
        real = np.exp(scale * logits.astype(float))
        real /= real.sum(axis=-1, keepdims=True)
        steps = softmax(logits, scale).astype(float) + 128
        assert np.abs(steps - np.minimum(256 * real, 255)).max() < 0.501


def test_many_classes() -> None:
    """From a sum of 512 on LiteRT aborts; both of ours go on to what it would have to be."""
    rng = np.random.default_rng(SEED)
    for classes in (512, 1000, 4096):
        for logits in (np.zeros((2, classes), np.int8), random_logits(rng, 8, classes)):
            actual = reference.softmax(logits, 0.03)
            np.testing.assert_array_equal(driver.softmax(logits, 0.03), actual)
            real = np.exp(0.03 * logits.astype(float))
            real *= 256 / real.sum(axis=-1, keepdims=True)
            assert np.abs(actual + 128.0 - real).max() < 0.501
    few = np.full((1, 1000), -128, np.int8)
    few[0, :100] = 127
    expected = litert(few, 0.1, 1.0)
    np.testing.assert_array_equal(reference.softmax(few, 0.1), expected)
    np.testing.assert_array_equal(driver.softmax(few, 0.1), expected)


@BOTH
def test_shapes(softmax: object) -> None:
    logits = random_logits(np.random.default_rng(SEED), 12, 7)
    expected = softmax(logits, 0.1)
    again = softmax(logits.reshape(3, 2, 2, 7)[:, ::-1], 0.1)
    np.testing.assert_array_equal(again, expected.reshape(3, 2, 2, 7)[:, ::-1])
    np.testing.assert_array_equal(softmax(logits[0], 0.1), expected[0])
    assert softmax(logits[:0], 0.1).shape == (0, 7)


@BOTH
@pytest.mark.parametrize(
    ("logits", "scale", "beta", "error", "message"),
    [
        (np.zeros((1, 3)), 0.1, 1.0, TypeError, "Logits must be int8, not float64"),
        (np.zeros((1, 4097), np.int8), 0.1, 1.0, ValueError, "1 to 4096 classes"),
        (np.zeros((4, 0), np.int8), 0.1, 1.0, ValueError, "1 to 4096 classes"),
        (np.zeros((), np.int8), 0.1, 1.0, ValueError, "1 to 4096 classes"),
        (np.zeros((1, 3), np.int8), 0.0, 1.0, ValueError, "must be more than 2\\^-26"),
        (np.zeros((1, 3), np.int8), 0.1, -1.0, ValueError, "must be more than 2\\^-26"),
        (np.zeros((1, 3), np.int8), math.nan, 1.0, ValueError, "must be more than 2\\^-26"),
    ],
)
def test_refuses(
    softmax: object, logits: np.ndarray, scale: float, beta: float, error: type, message: str
) -> None:
    with pytest.raises(error, match=message):
        softmax(logits, scale, beta)


def test_the_drivers_needs_numpy_alone() -> None:
    code = (
        "import sys, drivers.vision.softmax; "
        "print([name for name in ('torch', 'models', 'amaranth') if name in sys.modules])"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60
    )
    assert result.stdout == "[]\n"
