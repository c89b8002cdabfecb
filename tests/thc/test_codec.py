"""Encode, add and decode: errors as predicted, k of n, error feedback, and what is refused."""

import math

import pytest
import torch

from eyas.interfaces.thc.formats import packed_size
from models.thc import hadamard as transform
from models.thc.aggregate import lookup
from models.thc.codec import LONGEST_TRANSFORM, Codec
from models.thc.feedback import ErrorFeedback
from models.thc.hadamard import hadamard
from models.thc.packing import pack
from models.thc.round import mean
from models.thc.table import Quantizer

FORMS = pytest.mark.parametrize("form", ["float", "fixed"])
SEED = 20240417


def normal(*shape: int, seed: int = SEED) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def nmse(found: torch.Tensor, true: torch.Tensor) -> float:
    found, true = found.double(), true.double()
    return ((found - true).square().sum() / true.square().sum()).item()


def sylvester(d: int) -> torch.Tensor:
    number = torch.arange(d)
    ones = number.unsqueeze(1) & number
    parity = sum(ones >> k & 1 for k in range(d.bit_length())) & 1
    return 1 - 2 * parity


@pytest.mark.parametrize("d", [1, 2, 4, 8, 16, 128, 1024])
def test_hadamard_is_the_matrix(d: int) -> None:
    source = torch.Generator().manual_seed(d)
    given = torch.randint(-32768, 32768, (2, 3, d), generator=source)
    assert torch.equal(hadamard(given), given @ sylvester(d))


def test_hadamard_of_any_number_of_rows_and_twice() -> None:
    given = torch.randint(-9, 9, (300, 1024), generator=torch.Generator().manual_seed(1))
    assert given.numel() > transform._CHUNK
    assert torch.equal(hadamard(given)[299], hadamard(given[299]))
    assert torch.equal(hadamard(hadamard(given)), given * 1024)
    long = torch.randint(-9, 9, (LONGEST_TRANSFORM,), generator=torch.Generator().manual_seed(1))
    assert torch.equal(hadamard(hadamard(long)), long * LONGEST_TRANSFORM)
    assert hadamard(torch.zeros(0, 8)).shape == (0, 8)
    for wrong in (torch.zeros(3), torch.zeros(2, 0), torch.tensor(1.0)):
        with pytest.raises(ValueError, match="a power of two of coordinates"):
            hadamard(wrong)


@FORMS
@pytest.mark.parametrize("workers", [1, 4, 8])
@pytest.mark.parametrize(
    "quantizer", [Quantizer.optimal(), Quantizer.uniform(), Quantizer.optimal(4, 34, 1 / 64)]
)
def test_error_of_the_mean_is_as_predicted(form, workers, quantizer) -> None:
    """All hold one normal vector: clamping stays, rounding averages away.

    Over 256 blocks the estimate's standard deviation is below 1 % (seen over seeds); three are
    allowed.  A rotated coordinate is a little less than normal, hence 0.5 % downwards.
    """
    vector = normal(256 * 1024)
    found = nmse(mean([vector] * workers, Codec(quantizer), step=1, form=form), vector)
    assert found == pytest.approx(quantizer.error(workers) * 0.995, rel=0.03)


@pytest.mark.parametrize("workers", [1, 4, 8])
def test_error_of_a_lognormal_vector_transformed_whole(workers: int) -> None:
    vector = normal(1 << 18).exp()
    codec = Codec(Quantizer.optimal(), block=None)
    found = nmse(mean([vector] * workers, codec, step=1), vector)
    assert found == pytest.approx(codec.quantizer.error(workers), rel=0.03)


@FORMS
@pytest.mark.parametrize("spread", [0, 0.5, 1, 2])
def test_blocks_of_uneven_scale(form, spread: float) -> None:
    """A norm per block keeps the error; a single norm loses it."""
    scales = (spread * normal(256, 1, seed=7)).exp()
    vector = (normal(256, 1024) * scales).flatten()
    found = nmse(mean([vector], Codec(Quantizer.optimal()), step=1, form=form), vector)
    assert 0.0185 < found < 0.022
    single = Codec(Quantizer.optimal(), single_norm=True)
    found = nmse(mean([vector], single, step=1, form=form), vector)
    expected = {0: (0.02, 0.022), 0.5: (0.06, 0.11), 1: (0.15, 0.45), 2: (0.4, 0.8)}[spread]
    assert expected[0] < found < expected[1]


def test_rounding_is_unbiased_where_nothing_is_clamped() -> None:
    """The mean over many steps goes to the vector itself, as 1/steps."""
    codec = Codec(Quantizer.optimal(4, 30, 1e-9))
    vector = normal(1024)
    total = torch.zeros_like(vector)
    for step in range(100):
        total += mean([vector], codec, step=step)
    assert nmse(total / 100, vector) < 1.3 * codec.quantizer.variance / 100


@FORMS
def test_the_forms_agree_up_to_the_fixed_points_words(form) -> None:
    codec = Codec.default(seed=9)
    vector = normal(64 * 1024).exp()
    norms = codec.norms(vector)
    indices = codec.encode(vector, norms, step=3, worker=1, form=form)
    other = codec.encode(
        vector, norms, step=3, worker=1, form="fixed" if form == "float" else "float"
    )
    differ = indices != other
    assert 0 < differ.float().mean() < 0.004
    assert (indices.int() - other.int()).abs().max() == 1


@FORMS
@pytest.mark.parametrize("exponent", [-120, -60, 0, 60, 110])
def test_any_scale_gives_the_same_indices(form, exponent: int) -> None:
    """Powers of two change the norms and nothing else, short of float32's edges."""
    codec, vector = Codec.default(), normal(3000)
    plain = codec.encode(vector, codec.norms(vector), step=0, worker=0, form=form)
    scaled = torch.ldexp(vector, torch.tensor(exponent))
    norms = codec.norms(scaled)
    assert torch.equal(norms, torch.ldexp(codec.norms(vector), torch.tensor(exponent)))
    indices = codec.encode(scaled, norms, step=0, worker=0, form=form)
    if exponent > -120:
        assert torch.equal(indices, plain)
    sums = lookup(pack(indices, 4), codec.table, 3072)
    assert nmse(codec.decode(sums, norms, added=1, step=0, length=3000), scaled) < 0.025


@FORMS
@pytest.mark.parametrize("length", [1, 7, 1023, 1025, 5000])
@pytest.mark.parametrize("block", [8, 64, 1024, None])
def test_odd_lengths(form, length: int, block: int | None) -> None:
    codec = Codec(Quantizer.optimal(), block=block, seed=5)
    vector = normal(length)
    blocks, d = codec.shape(length)
    assert blocks * d == codec.padded(length) >= length
    if form == "fixed" and d > 1024:
        with pytest.raises(ValueError, match="knows blocks of 8 to 1024"):
            mean([vector], codec, step=0, form=form)
        return
    found = mean([vector] * 4, codec, step=2, form=form)
    assert found.shape == vector.shape
    # Small blocks lie far from normal: their error varies, but never like that of a wrong sign.
    assert nmse(found, vector) < 0.4


def test_a_long_vector_is_cut_for_the_full_length_transform() -> None:
    codec = Codec(Quantizer.optimal(), block=None)
    assert codec.shape(5) == (1, 8)
    assert codec.shape(1000) == (1, 1024)
    assert codec.shape(LONGEST_TRANSFORM) == (1, LONGEST_TRANSFORM)
    assert codec.shape(LONGEST_TRANSFORM + 1) == (2, LONGEST_TRANSFORM)


@FORMS
def test_a_zero_gradient_and_a_zero_block(form) -> None:
    codec = Codec.default()
    zero = torch.zeros(2048)
    norms = codec.norms(zero)
    assert torch.equal(
        codec.encode(zero, norms, step=0, worker=0, form=form).sum(), torch.tensor(0)
    )
    assert torch.equal(mean([zero] * 3, codec, step=0, form=form), zero)
    vector = torch.cat([normal(1024), torch.zeros(1024), normal(1024)])
    found = mean([vector] * 2, codec, step=0, form=form)
    assert torch.equal(found[1024:2048], torch.zeros(1024))
    assert nmse(found, vector) < 0.02
    # One worker's zero block among others that are not.
    other = normal(3072, seed=3)
    assert nmse(mean([vector, other], codec, step=0, form=form), (vector + other) / 2) < 0.05


def test_workers_round_apart_and_rotate_alike() -> None:
    codec, vector = Codec.default(), normal(4096)
    norms = codec.norms(vector)
    a, b = (codec.encode(vector, norms, step=0, worker=w) for w in range(2))
    assert 0.1 < (a != b).float().mean() < 0.6
    assert (a.int() - b.int()).abs().max() == 1
    c = codec.encode(vector, norms, step=1, worker=0)
    assert (a.int() - c.int()).abs().max() > 8


@FORMS
def test_the_mean_of_different_vectors(form) -> None:
    vectors = [normal(8192, seed=k) * (k + 1) for k in range(5)]
    true = torch.stack(vectors).mean(dim=0)
    codec = Codec.default()
    largest = torch.stack([codec.norms(v) for v in vectors]).amax(dim=0)
    share = largest.square().sum() / 25 / true.square().sum() * 5
    found = nmse(mean(vectors, codec, step=0, form=form), true)
    assert found < codec.quantizer.error() * share.item()


def test_k_of_n_is_the_mean_of_the_k() -> None:
    codec = Codec.default()
    vectors = [normal(5000, seed=k) for k in range(6)]
    included = torch.zeros(6, codec.padded(5000), dtype=torch.bool)
    included[[0, 2, 5]] = True
    found = mean(vectors, codec, step=0, included=included)
    true = torch.stack([vectors[k] for k in (0, 2, 5)]).mean(dim=0)
    assert nmse(found, true) < 0.03
    # With all there, one count each and one count for all decode alike.
    whole = mean(vectors, codec, step=0, included=torch.ones_like(included))
    torch.testing.assert_close(whole, mean(vectors, codec, step=0), rtol=0, atol=1e-6)


def test_k_may_differ_from_packet_to_packet_and_be_none() -> None:
    """A packet without a result decodes to zero in the rotated block, and loses its share."""
    codec = Codec.default()
    vector = normal(64 * 1024)
    included = torch.ones(4, vector.numel(), dtype=torch.bool)
    included[1:, 100:300] = False
    found = nmse(mean([vector] * 4, codec, step=0, included=included), vector)
    assert codec.quantizer.error(4) * 0.95 < found < codec.quantizer.error(3)
    included[0, :] = False
    included[:, 16 * 1024 : 32 * 1024] = False
    assert nmse(mean([vector] * 4, codec, step=0, included=included), vector) == pytest.approx(
        0.25, abs=0.02
    )


@FORMS
def test_error_feedback_carries_everything_in_the_end(form) -> None:
    """What was heard over the steps, plus what is left, is what was sent."""
    codec = Codec.default()
    feedback = ErrorFeedback()
    sent = heard = torch.zeros(3000)
    for step in range(20):
        gradient = normal(3000, seed=step) + 0.1
        corrected = feedback.correct("w", gradient)
        norms = codec.norms(corrected)
        indices = codec.encode(corrected, norms, step=step, worker=0, form=form)
        sums = lookup(pack(indices, 4), codec.table, 3072)
        heard = heard + codec.decode(sums, norms, added=1, step=step, length=3000)
        sent = sent + gradient
        feedback.keep("w", codec.residual(corrected, indices, norms, step=step))
    left = feedback.correct("w", torch.zeros(3000))
    torch.testing.assert_close(heard + left, sent, rtol=0, atol=1e-4)
    assert nmse(heard, sent) < 0.01


def test_what_was_left_out_stays_in_the_error() -> None:
    codec, vector = Codec.default(), normal(4096)
    norms = codec.norms(vector)
    indices = codec.encode(vector, norms, step=0, worker=0)
    nothing = torch.zeros(4096, dtype=torch.bool)
    left = codec.residual(vector, indices, norms, step=0, included=nothing)
    assert torch.equal(left, vector)
    half = nothing.clone()
    half[:2048] = True
    left = codec.residual(vector, indices, norms, step=0, included=half)
    assert nmse(left[2048:], vector[2048:]) == 0
    assert left[:2048].norm() < 0.2 * vector[:2048].norm()


def test_feedback_is_checkpointed_and_refuses_another_model() -> None:
    feedback = ErrorFeedback()
    error = normal(4)
    feedback.keep("layer.weight", error)
    error.zero_()
    other = ErrorFeedback()
    other.load_state_dict(feedback.state_dict())
    assert torch.equal(other.correct("layer.weight", torch.zeros(4)), normal(4))
    with pytest.raises(ValueError, match=r"kept for layer.weight has shape \(4,\), its .* \(5,\)"):
        other.correct("layer.weight", torch.zeros(5))


def test_traffic_is_an_eighth_up_and_a_quarter_down() -> None:
    count = Codec.default().padded(1 << 20)
    assert packed_size(count, 4) * 8 == 4 * (1 << 20)
    assert count * 4 == 4 * (1 << 20)  # 8-bit sums


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@FORMS
def test_values_that_are_not_finite_are_refused(value: float, form) -> None:
    codec, vector = Codec.default(), normal(4000)
    vector[2100] = value
    norms = codec.norms(vector)
    assert torch.isfinite(norms).tolist() == [True, True, False, True]
    with pytest.raises(ValueError, match=r"The norm of block 2 is (nan|inf): the gradient holds"):
        codec.encode(vector, norms, step=0, worker=0, form=form)


def test_large_values_whose_squares_overflow_work() -> None:
    codec = Codec.default()
    vector = normal(2048) * 1e30
    assert torch.isfinite(codec.norms(vector)).all()
    assert nmse(mean([vector], codec, step=0) / 1e30, vector / 1e30) < 0.03


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_floats_are_taken(dtype) -> None:
    vector = normal(2048).to(dtype)
    assert nmse(mean([vector], Codec.default(), step=0), vector.float()) < 0.03


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"block": 4}, "Block must be a power of two from 8 to 2\\^20, not 4"),
        ({"block": 1000}, "Block must be a power of two"),
        ({"seed": -1}, "Seed must be 0 to 2\\^64 − 1, not -1"),
    ],
)
def test_bad_parameters_are_refused(change, message) -> None:
    with pytest.raises(ValueError, match=message):
        Codec(Quantizer.optimal(), **change)


@pytest.mark.parametrize(
    "arguments", [(None,), (Quantizer.optimal(), 8.0), (Quantizer.optimal(), 8, False, 1.5)]
)
def test_wrong_types_are_refused(arguments) -> None:
    with pytest.raises(TypeError, match="must be"):
        Codec(*arguments)


def test_bad_input_is_refused() -> None:
    codec, vector = Codec.default(), normal(2000)
    norms = codec.norms(vector)
    for wrong, message in (
        (vector.view(2, 1000), "one axis of floats, not 2 axes"),
        (torch.arange(5), "one axis of floats, not 1 axes of torch.int64"),
        (torch.zeros(0), "at least one coordinate, not 0"),
    ):
        with pytest.raises(ValueError, match=message):
            codec.norms(wrong)
    with pytest.raises(ValueError, match=r"This vector has 2 norms, not \(3,\)"):
        codec.encode(vector, torch.ones(3), step=0, worker=0)
    with pytest.raises(ValueError, match="The norm of block 1 is -1"):
        codec.encode(vector, torch.tensor([1.0, -1.0]), step=0, worker=0)
    with pytest.raises(ValueError, match="Form must be float or fixed, not 'int8'"):
        codec.encode(vector, norms, step=0, worker=0, form="int8")
    with pytest.raises(ValueError, match="2000 coordinates has 2048 sums, not 2000"):
        codec.decode(torch.zeros(2000), norms, added=1, step=0, length=2000)
    with pytest.raises(ValueError, match="At least one worker must have been added, not 0"):
        codec.decode(torch.zeros(2048), norms, added=0, step=0, length=2000)
    with pytest.raises(ValueError, match="must have one length"):
        mean([vector, vector[1:]], codec, step=0)


def test_fingerprints_tell_codecs_apart() -> None:
    quantizer = Quantizer.optimal()
    codecs = [
        Codec(quantizer),
        Codec(Quantizer.uniform()),
        Codec(Quantizer.optimal(4, 30, 1 / 64)),
        Codec(quantizer, block=512),
        Codec(quantizer, single_norm=True),
        Codec(quantizer, seed=1),
    ]
    assert len({codec.fingerprint for codec in codecs}) == len(codecs)
    assert Codec.default().fingerprint == codecs[0].fingerprint
