"""A worker's introduction to the aggregation service: one line, checked field by field."""

from __future__ import annotations

import hmac
from collections.abc import Mapping
from typing import Any

from eyas.services.aggregation.training_job import TrainingJob

__all__ = ["TOKEN_VARIABLE", "admitted", "hello"]

TOKEN_VARIABLE = "EYAS_AGGREGATION_TOKEN"
"""Environment variable that holds the secret which the workers of a job share with its service."""


def hello(worker: int, job: TrainingJob, token: str) -> dict[str, Any]:
    """What a worker says of itself, as the content of a line."""
    return {"worker": worker, "token": token, **_facts(job)}


def admitted(said: object, job: TrainingJob, token: str) -> int:
    """The number of the worker that ``said`` this; ValueError when it is none of the job's."""
    if not isinstance(said, Mapping) or not {"worker", "token", *_facts(job)} <= said.keys():
        raise ValueError("a worker begins with a line that says who it is and what its job is")
    for name in ("worker", "workers", "lane_bits"):
        if not _is_integer(said[name]):
            raise ValueError(f"a worker's {name} must be a whole number")
    if not isinstance(said["table"], list) or not all(map(_is_integer, said["table"])):
        raise ValueError("a worker's table must be a list of whole numbers")
    if not isinstance(said["token"], str) or not hmac.compare_digest(
        *(text.encode(errors="replace") for text in (said["token"], token))
    ):
        raise ValueError("the token is not this job's: give the workers the service's token")
    worker: int = said["worker"]
    others = [name for name, value in _facts(job).items() if said[name] != value]
    if others:
        raise ValueError(f"Worker {worker} has another {', '.join(others)} than the service's job")
    if not 0 <= worker < job.workers:
        raise ValueError(f"There is no place for a worker {worker} in a job of {job.workers}")
    return worker


def _facts(job: TrainingJob) -> dict[str, Any]:
    return {"workers": job.workers, "lane_bits": job.lane_bits, "table": list(job.table.entries)}


def _is_integer(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)
