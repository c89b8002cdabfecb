"""Checks at the start that all workers have the same settings."""

from __future__ import annotations

import zlib
from collections.abc import Mapping

from torch import Size

from eyas.services.aggregation.collectives import Peers
from eyas.services.aggregation.training_job import TrainingJob
from models.thc.codec import Codec

__all__ = ["refuse_differences"]


def refuse_differences(
    codec: Codec,
    form: str,
    job: TrainingJob,
    shapes: Mapping[str, Size],
    aggregator: Mapping[str, object],
    peers: Peers,
) -> None:
    """ValueError on all workers when one has other settings than the first; all call it together.

    Parameters
    ----------
    form : str
        The encoder's arithmetic.
    shapes : mapping
        Of the model's parameters, by name.
    aggregator : mapping
        The aggregator's own settings, by name.
    """
    parameters = sorted((name, tuple(shape)) for name, shape in shapes.items())
    mine = {
        "table": codec.table.entries,
        "clamped share": codec.quantizer.clamp,
        "seed": codec.seed,
        "block": codec.block,
        "single norm": codec.single_norm,
        "arithmetic": form,
        "lane width": job.lane_bits,
        "set of parameters (checksum)": zlib.crc32(repr(parameters).encode()),
        **aggregator,
    }
    first, *others = peers.all_gather_object(mine, "Comparing the workers' settings")
    for rank, found in zip(peers.ranks[1:], others, strict=True):
        for name in sorted(first.keys() | found.keys()):
            if found.get(name) != first.get(name):
                raise ValueError(
                    f"Rank {rank} has another {name} ({found.get(name)}) than rank "
                    f"{peers.ranks[0]} ({first.get(name)}): all workers must have the same"
                )
