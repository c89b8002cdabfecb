"""Generator and encoder against published and written-out vectors, and against plain integers."""

import zlib

import pytest
import torch

from models.thc import fixed_point, generator
from models.thc.packing import pack
from models.thc.table import Quantizer, solve
from tests.thc import scalar

PI = (0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344)
MORE_PI = (0xA4093822, 0x299F31D0, 0x082EFA98, 0xEC4E6C89)
ONES = (0xFFFFFFFF,) * 4
ZEROS = (0,) * 4

PUBLISHED = [
    (13, ZEROS, ZEROS, "531c7e4f 39491ee5 2c855a92 3d6abf9a"),
    (13, ONES, ONES, "c4189358 1c9cc83a d5881c67 6a0a89e0"),
    (13, PI, MORE_PI, "4aa71d8f 734738c2 431fc6a8 ae6debf1"),
    (20, ZEROS, ZEROS, "9c6ca96a e17eae66 fc10ecd4 5256a7d8"),
    (20, ONES, ONES, "2a881696 57012287 f6c7446e a16a6732"),
    (20, PI, MORE_PI, "59cd1dbb b8879579 86b5d00c ac8b6d84"),
]
"""Known answers of Threefry-4x32, as the authors of Random123 publish them."""

OURS = [
    (12, ZEROS, ZEROS, "a97328cd a9a95582 2e34d974 fe50811e"),
    (12, ONES, ONES, "38b681eb 8b62116d ac2fa06f 29587bf8"),
    (12, PI, MORE_PI, "15bf9cfa 34e78095 204a27d1 22d59ed7"),
    # Rounding of coordinates 88…95: step 42, worker 3, stream 2, seed 0x0123456789abcdef.
    (12, (11, 42, 4, 2), (0x89ABCDEF, 0x01234567, 0, 0), "575a36d0 c13d4e53 e4d60b61 e1a85b14"),
]
"""With the 12 rounds used here; no published vector has 12."""

SEED = 0x0123456789ABCDEF


def words(state: list[torch.Tensor]) -> str:
    return " ".join(f"{int(word) & 0xFFFFFFFF:08x}" for word in state)


@pytest.mark.parametrize(("rounds", "counter", "key", "expected"), PUBLISHED + OURS)
def test_threefry(rounds, counter, key, expected) -> None:
    assert words(generator.threefry(counter, key, rounds)) == expected
    assert " ".join(f"{word:08x}" for word in scalar.threefry(counter, key, rounds)) == expected


def test_a_block_of_8() -> None:
    given = torch.tensor([[1000 * i - 3500 for i in range(8)]])
    indices = fixed_point.encode(
        given,
        torch.tensor([7000]),
        solve(4, 30, 1 / 32),
        seed=SEED,
        step=42,
        worker=3,
        stream=2,
        first=11,
    )
    assert indices.tolist() == [[8, 7, 8, 6, 8, 5, 7, 7]]


def test_a_block_of_1024() -> None:
    given = torch.tensor([[(7919 * i) % 20011 - 10005 for i in range(1024)]])
    indices = fixed_point.encode(
        given,
        torch.tensor([9000]),
        solve(4, 30, 1 / 32),
        seed=SEED,
        step=42,
        worker=3,
        stream=2,
        first=11,
    )
    packed = bytes(pack(indices, 4).flatten().tolist())
    assert packed[:16].hex() == "afff0ffff40100f60f0c00fff8faf006"
    assert zlib.crc32(packed) == 0xAA9E0750


@pytest.mark.parametrize(("bits", "granularity"), [(4, 30), (4, 63), (4, 15), (3, 16), (2, 7)])
@pytest.mark.parametrize("d", [8, 64, 256])
def test_the_model_equals_plain_integers(bits: int, granularity: int, d: int) -> None:
    """Any mantissas, −32768 too, and any multiplier, 0 too."""
    source = torch.Generator().manual_seed(bits * 1000 + granularity + d)
    blocks = 4
    given = torch.randint(-32768, 32768, (blocks, d), generator=source)
    given[0] = -32768
    shifts = torch.randint(0, 17, (blocks,), generator=source)
    multipliers = torch.randint(0, 1 << 17, (blocks,), generator=source) >> shifts
    multipliers[1] = 0
    table = solve(bits, granularity, 1 / 32)
    place = {"seed": 0xDEADBEEF12345678, "step": 0xFFFFFFFE, "worker": 6, "stream": 9}
    got = fixed_point.encode(given, multipliers, table, **place, first=5)
    for b in range(blocks):
        expected = scalar.encode_block(
            given[b].tolist(), int(multipliers[b]), table.entries, **place, number=5 + b
        )
        assert got[b].tolist() == expected, f"block {b}"


def test_draws_do_not_depend_on_how_many_are_made_at_once(monkeypatch) -> None:
    place = {"seed": 3, "step": 1, "worker": 2}
    whole = generator.random_words(4096, **place)
    monkeypatch.setattr(generator, "_CHUNK", 64)
    assert torch.equal(generator.random_words(4096, **place), whole)
    assert torch.equal(generator.random_words(1000, **place, first=808), whole[808:1808])
    bits = generator.sign_bits(4096, seed=3, step=1)
    assert torch.equal(generator.sign_bits(1000, seed=3, step=1, first=77), bits[77:1077])


def test_draws_count_on_through_the_word_that_is_negative_in_int32() -> None:
    first = (1 << 31) * 8 - 16
    got = generator.random_words(32, seed=1, step=0, worker=0, first=first)
    for k, value in enumerate(got.tolist()):
        i = first + k
        assert value == scalar.draw(i >> 3, 0, 1, 0, 1) >> (16 * (i & 7)) & 0xFFFF


def test_workers_steps_streams_and_signs_draw_apart() -> None:
    base = {"seed": 1, "step": 1, "worker": 1, "stream": 1}
    variants = [base, *({**base, name: 2} for name in base)]
    draws = [generator.random_words(64, **variant) for variant in variants]
    shared = generator.sign_bits(1024, seed=1, step=1, stream=1)
    assert len({tuple(draw.tolist()) for draw in draws}) == len(variants)
    own = torch.stack([draws[0] >> k & 1 for k in range(16)], dim=1).flatten()
    assert not torch.equal(own, shared)


def test_random_words_are_uniform() -> None:
    draws = generator.random_words(1 << 18, seed=11, step=0, worker=0)
    counts = torch.bincount(draws >> 8, minlength=256).double()
    chi = ((counts - 1024) ** 2 / 1024).sum().item()
    assert 180 < chi < 340, f"chi² of 255 degrees of freedom is {chi:.0f}"


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"seed": 1 << 64}, "A seed has 64 bits"),
        ({"step": -1}, "A step has 32 bits"),
        ({"stream": 1 << 32}, "A stream has 32 bits"),
        ({"worker": -1}, "A worker's number must be"),
        ({"first": 4}, "multiple of 8, not 4"),
        ({"first": 1 << 35}, "Coordinates of a stream"),
    ],
)
def test_bad_places_are_refused(change, message) -> None:
    place = {"seed": 0, "step": 0, "worker": 0, "stream": 0, "first": 0, **change}
    with pytest.raises(ValueError, match=message):
        generator.random_words(8, **place)


@pytest.mark.parametrize("exponent", [-140, -126, -20, 0, 20, 120])
def test_scales_use_the_words_well(exponent: int) -> None:
    """Multipliers fit and keep 12 bits, mantissas fit, at every size of norm."""
    quantizer = Quantizer.optimal()
    norms = torch.tensor([1.0, 1.5, 1.9999999, 1.0001]) * 2.0**exponent
    exponents, multipliers = fixed_point.scales(norms, quantizer)
    assert multipliers.min() >= 1 << 12
    assert multipliers.max() < 1 << 17
    block = torch.zeros(4, 8)
    block[:, 3] = -norms  # the greatest coordinate that a norm allows
    found = fixed_point.mantissas(block, exponents)
    assert found[:, 3].min() >= -32767
    assert found[:, 3].max() <= -16383
    position = found[:, 3].double() * multipliers * 2.0**-25
    expected = -quantizer.table.granularity / (2 * quantizer.threshold)
    torch.testing.assert_close(position, torch.full_like(position, expected), rtol=2e-4, atol=0)


def test_a_norm_of_zero_has_multiplier_zero() -> None:
    exponents, multipliers = fixed_point.scales(torch.tensor([0.0, 1.0]), Quantizer.optimal())
    assert multipliers[0] == 0
    assert exponents[0] == 0
    assert multipliers[1] > 0


@pytest.mark.parametrize(
    ("quantizer", "block", "message"),
    [
        (Quantizer.optimal(), 2048, "blocks of 8 to 1024 coordinates, powers of two, not 2048"),
        (Quantizer.optimal(4, 64), 1024, "granularities up to 63, not 64"),
        (Quantizer.optimal(4, 63, 0.9), 1024, "17 bits: granularity 63"),
    ],
)
def test_what_the_hardware_does_not_know_is_refused(quantizer, block, message) -> None:
    with pytest.raises(ValueError, match=message):
        fixed_point.check(quantizer, block)
