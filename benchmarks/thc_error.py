"""THC's error beside other schemes', in one run.

n workers' vectors are compressed, and the mean that is decoded has a normalised mean square error
(NMSE): where all workers hold the same vector, and where each holds its own.  "adds" says whether a
server can add what workers send as it is; what the other schemes send must be decoded first.  They
are our own code, after their papers.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import torch
from torch import Tensor

from benchmarks.common import machine
from models.thc.codec import Codec
from models.thc.generator import random_words
from models.thc.hadamard import flip_signs, hadamard
from models.thc.round import mean
from models.thc.table import Quantizer

__all__ = ["SCHEMES", "Scheme", "measure", "nmse"]

BLOCK = 1024
WORKERS = (1, 4, 8)
SPREADS = (0.0, 0.5, 1.0, 2.0)


@dataclass(frozen=True)
class Scheme:
    """A way to the mean.

    ``run`` takes the workers' vectors, (n, L), and a number for this trial.
    """

    name: str
    bits: float
    adds: bool
    run: Callable[[Tensor, int], Tensor]


def nmse(found: Tensor, true: Tensor) -> float:
    """‖found − true‖² / ‖true‖²."""
    return float((found - true).double().square().sum() / true.double().square().sum())


def _uniform(shape: torch.Size, trial: int, worker: int) -> Tensor:
    """Random numbers in [0, 1), for the schemes that are not ours."""
    words = random_words(shape.numel(), seed=1, step=trial, worker=worker)
    return words.view(shape) / (1 << 16)


def _each(
    encode: Callable[[Tensor, int, int], Tensor], block: int = BLOCK
) -> Callable[[Tensor, int], Tensor]:
    """The mean of vectors that are decoded one by one, each block by itself (−1: one block)."""

    def run(vectors: Tensor, trial: int) -> Tensor:
        blocks = vectors.reshape(len(vectors), -1, block if block > 0 else vectors.shape[1])
        decoded = [encode(block, trial, worker) for worker, block in enumerate(blocks)]
        return torch.stack(decoded).mean(dim=0).flatten()

    return run


def _qsgd(bits: int) -> Callable[[Tensor, int, int], Tensor]:
    """QSGD: sign, and |v|/‖v‖ rounded stochastically to one of 2^(bits − 1) levels from 0 to 1."""
    levels = (1 << (bits - 1)) - 1

    def encode(v: Tensor, trial: int, worker: int) -> Tensor:
        norm = v.norm(dim=1, keepdim=True)
        level = torch.floor(v.abs() / norm * levels + _uniform(v.shape, trial, worker))
        return v.sign() * level * norm / levels

    return encode


def _terngrad(v: Tensor, trial: int, worker: int) -> Tensor:
    """TernGrad: −1, 0 or 1 times the largest |v|, after clipping to 2.5 standard deviations."""
    limit = 2.5 * v.std(dim=1, keepdim=True)
    v = v.clamp(-limit, limit)
    peak = v.abs().amax(dim=1, keepdim=True)
    return v.sign() * peak * (_uniform(v.shape, trial, worker) < v.abs() / peak)


def _hadamard_uniform(bits: int) -> Callable[[Tensor, int, int], Tensor]:
    """Hadamard, then stochastic rounding to 2^bits levels from the least to the greatest value."""
    levels = (1 << bits) - 1

    def encode(v: Tensor, trial: int, worker: int) -> Tensor:
        r = _rotate(v, trial, worker)
        low, high = r.amin(dim=1, keepdim=True), r.amax(dim=1, keepdim=True)
        width = (high - low) / levels
        level = torch.floor((r - low) / width + _uniform(v.shape, trial, worker))
        return _rotate_back(low + level * width, trial, worker)

    return encode


def _eden(bits: int) -> Callable[[Tensor, int, int], Tensor]:
    """EDEN: each worker's own rotation, the normal's best quantiser, a scale without bias."""

    def encode(v: Tensor, trial: int, worker: int) -> Tensor:
        r = _rotate(v, trial, worker)
        norm = r.norm(dim=1, keepdim=True)
        centres = lloyd_max(1 << bits)
        edges = (centres[1:] + centres[:-1]) / 2
        nearest = centres[torch.bucketize(r * (math.sqrt(r.shape[1]) / norm), edges)]
        scale = norm.square() / (r * nearest).sum(dim=1, keepdim=True)
        return _rotate_back(nearest * scale, trial, worker)

    return encode


@cache
def lloyd_max(levels: int) -> Tensor:
    """The points of least mean square distance to a standard normal, by Lloyd's iteration."""
    normal = torch.distributions.Normal(torch.tensor(0.0).double(), torch.tensor(1.0).double())
    ends = torch.tensor([-math.inf, math.inf]).double()
    centres = normal.icdf((torch.arange(levels).double() + 0.5) / levels)
    for _ in range(1000):
        edges = torch.cat([ends[:1], (centres[1:] + centres[:-1]) / 2, ends[1:]])
        density = torch.exp(-edges.square() / 2) / math.sqrt(2 * math.pi)
        centres = (density[:-1] - density[1:]) / normal.cdf(edges).diff()
    return centres.float()


def _rotate(v: Tensor, trial: int, worker: int) -> Tensor:
    """A rotation of the worker's own."""
    flipped = flip_signs(v.clone(), seed=2, step=trial, stream=worker)
    return hadamard(flipped) / math.sqrt(v.shape[1])


def _rotate_back(r: Tensor, trial: int, worker: int) -> Tensor:
    v = hadamard(r) / math.sqrt(r.shape[1])
    return flip_signs(v, seed=2, step=trial, stream=worker)


def _thc(codec: Codec, form: Any = "float") -> Callable[[Tensor, int], Tensor]:
    return lambda vectors, trial: mean(vectors, codec, step=trial, form=form)


def _schemes() -> list[Scheme]:
    thc = Quantizer.optimal()
    return [
        Scheme("thc", 4, True, _thc(Codec(thc))),
        Scheme("thc_fixed_point", 4, True, _thc(Codec(thc), "fixed")),
        Scheme("thc_g34_p64", 4, True, _thc(Codec(Quantizer.optimal(4, 34, 1 / 64)))),
        Scheme("thc_uniform", 4, True, _thc(Codec(Quantizer.uniform()))),
        Scheme("thc_whole_vector", 4, True, _thc(Codec(thc, block=None))),
        Scheme("thc_single_norm", 4, True, _thc(Codec(thc, single_norm=True))),
        Scheme("thc_2_bit", 2, True, _thc(Codec(Quantizer.optimal(2, 34, 1 / 32)))),
        Scheme("eden", 4, False, _each(_eden(4))),
        Scheme("eden_2_bit", 2, False, _each(_eden(2))),
        Scheme("hadamard_uniform", 4, False, _each(_hadamard_uniform(4))),
        Scheme("hadamard_uniform_whole", 4, False, _each(_hadamard_uniform(4), -1)),
        Scheme("qsgd", 4, False, _each(_qsgd(4))),
        Scheme("qsgd_5_bit", 5, False, _each(_qsgd(5))),
        Scheme("terngrad", 2, False, _each(_terngrad)),
    ]


SCHEMES = _schemes()
"""All schemes; each block of 1024 has its own norm or scale unless the name says otherwise."""


def measure(blocks: int, trials: int, seed: int = 1) -> dict[str, Any]:
    """NMSE by scheme, by case and number of workers, over ``trials`` vectors of ``blocks`` blocks.

    Lognormal vectors have random signs and σ = 1; uneven blocks are normal, their scales lognormal
    with σ = 0 to 2.
    """
    source = torch.Generator().manual_seed(seed)
    length = blocks * BLOCK
    results: dict[str, Any] = {
        scheme.name: {
            "bits": scheme.bits,
            "adds": scheme.adds,
            "same": dict.fromkeys(map(str, WORKERS), 0.0),
            "own": dict.fromkeys(map(str, WORKERS), 0.0),
            "uneven": dict.fromkeys(map(str, SPREADS), 0.0),
        }
        for scheme in SCHEMES
    }
    for trial in range(trials):
        shape = (max(WORKERS), length)
        size, sign = torch.randn(shape, generator=source), torch.randn(shape, generator=source)
        own = size.exp() * sign.sign()
        scales = torch.randn(blocks, 1, generator=source)
        for scheme in SCHEMES:
            figures = results[scheme.name]
            for n in WORKERS:
                same = own[:1].expand(n, -1)
                figures["same"][str(n)] += nmse(scheme.run(same, trial), own[0]) / trials
                true = own[:n].mean(dim=0)
                figures["own"][str(n)] += nmse(scheme.run(own[:n], trial), true) / trials
            for spread in SPREADS:
                uneven = (sign[:1].view(blocks, BLOCK) * (spread * scales).exp()).view(1, -1)
                found = nmse(scheme.run(uneven, trial), uneven[0])
                figures["uneven"][str(spread)] += found / trials
    predicted = {str(n): Quantizer.optimal().error(n) for n in WORKERS}
    return {
        "coordinates": length,
        "trials": trials,
        "seed": seed,
        "thc_predicted": predicted,
        "nmse": results,
    }


def _print(figures: dict[str, Any]) -> None:
    print(
        f"NMSE of the mean; {figures['trials']} vectors of {figures['coordinates']:,} coordinates\n"
        f"  same: all n workers hold one lognormal vector; own: each holds its own\n"
        f"  uneven: one worker, normal blocks whose scales are lognormal with σ\n"
    )
    columns = [
        *(("same", "n", str(n)) for n in WORKERS),
        *(("own", "n", str(n)) for n in WORKERS[1:]),
        *(("uneven", "σ", str(spread)) for spread in SPREADS),
    ]
    cases = "".join(f"{case:>8}" for case, _, _ in columns)
    heads = "".join(f"{f'{symbol}={key}':>8}" for _, symbol, key in columns)
    print(f"{'':34}{cases}\n{'scheme':24}{'bits':>5}{'adds':>5}{heads}")
    for name, scheme in figures["nmse"].items():
        values = "".join(f"{scheme[case][key]:8.4f}" for case, _, key in columns)
        print(f"{name:24}{scheme['bits']:5}{'yes' if scheme['adds'] else 'no':>5}{values}")
    predicted = ", ".join(f"{error:.4f} (n={n})" for n, error in figures["thc_predicted"].items())
    print(f"\nthc of a normal vector that all hold, from its table: {predicted}")


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser("python -m benchmarks.thc_error", description=__doc__)
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--blocks", type=int, default=64, help="blocks of 1024 a vector (64)")
    parser.add_argument("--trials", type=int, default=5, help="vectors of each kind (5)")
    arguments = parser.parse_args()
    for name in ("blocks", "trials"):
        if getattr(arguments, name) < 1:
            parser.error(f"--{name} must be at least 1, not {getattr(arguments, name)}")
    torch.set_num_threads(1)  # on a busy machine two wait for each other longer than they work
    figures = measure(arguments.blocks, arguments.trials)
    if arguments.json:
        print(json.dumps({**figures, "machine": machine()}))
    else:
        _print(figures)


if __name__ == "__main__":
    main()
