"""The aggregation service: a process of its own that adds the packets of one job's workers.

``python -m eyas.services.aggregation.service --workers 4`` prints one line of JSON with its port
and its token once it listens, or with an ``error``.  Exit codes: 0 when all workers have said
goodbye, or when it was stopped (SIGINT, SIGTERM, or the end of the pipe that is its standard input:
whoever started it is gone then); 1 when the job failed; 2 when it could not begin.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import secrets
import signal
import stat
import sys
from collections.abc import Callable, Mapping
from typing import Any

from eyas.interfaces.thc.formats import LookupTable
from eyas.services.aggregation.hello import TOKEN_VARIABLE
from eyas.services.aggregation.server import AggregationServer, JobFailed
from eyas.services.aggregation.training_job import DEFAULT_TIMEOUT, TrainingJob
from eyas.services.aggregation.units import UNITS, Unit
from models.thc.table import Quantizer

__all__ = ["main"]

_FAILED, _NEVER_BEGAN = 1, 2


def main() -> int:
    """The command line; see the module."""
    arguments = _parser().parse_args()
    token = os.environ.get(TOKEN_VARIABLE) or secrets.token_hex(16)
    unit: Unit | None = None
    listening = False

    def ready(port: int) -> None:
        nonlocal listening
        listening = True
        _tell({"port": port, "token": token})

    try:
        table = Quantizer.optimal().table
        if arguments.table is not None:
            table = LookupTable(arguments.table)
        job = TrainingJob.fitting(table, arguments.workers, arguments.lane_bits)
        unit = UNITS[arguments.unit]()
        server = AggregationServer(
            job,
            unit,
            token,
            loss_rate=arguments.loss_rate,
            quorum=arguments.quorum,
            timeout=arguments.timeout,
        )
        asyncio.run(_run(server, arguments.host, arguments.port, ready))
    except KeyboardInterrupt:
        pass  # stopped before it listened
    except Exception as error:
        _tell({"error": str(error)})
        return _FAILED if listening or isinstance(error, JobFailed) else _NEVER_BEGAN
    finally:
        if unit is not None:
            unit.close()
    return 0


async def _run(
    server: AggregationServer, host: str, port: int, ready: Callable[[int], None]
) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(
            number, server.stop, f"the aggregation service was stopped ({number.name})"
        )
    _watch_input(loop, lambda: server.stop("whoever started the aggregation service is gone"))
    await server.serve(host, port, ready)


def _watch_input(loop: asyncio.AbstractEventLoop, ended: Callable[[], None]) -> None:
    """Call ``ended`` when standard input is a pipe and its other end closes."""
    descriptor = 0
    try:
        mode = os.fstat(descriptor).st_mode
    except OSError:
        return  # closed from the start
    if not (stat.S_ISFIFO(mode) or stat.S_ISSOCK(mode)):
        return

    def read() -> None:
        try:
            data = os.read(descriptor, 4096)
        except OSError:
            data = b""
        if not data:
            loop.remove_reader(descriptor)
            ended()

    loop.add_reader(descriptor, read)


def _tell(content: Mapping[str, Any]) -> None:
    with contextlib.suppress(OSError):  # nobody listens any more
        os.write(1, json.dumps(content).encode() + b"\n")


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser("python -m eyas.services.aggregation.service")
    parser.add_argument("--workers", type=int, required=True, help="of the job, 1 to 32")
    parser.add_argument("--table", type=_integers, help="entries, with commas between (THC's)")
    parser.add_argument("--lane-bits", type=int, choices=(8, 16), help="of a sum (what fits)")
    parser.add_argument("--unit", choices=sorted(UNITS), default="simulated", help="what adds")
    parser.add_argument("--host", default="127.0.0.1", help="where to listen")
    parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
    parser.add_argument("--loss-rate", type=float, default=0.0, help="packets dropped on purpose")
    parser.add_argument("--quorum", type=int, help="contributions that may do (all)")
    parser.add_argument(
        "--timeout", type=float, default=DEFAULT_TIMEOUT, help="seconds for a missing worker"
    )
    parser.epilog = f"The workers' token is taken from {TOKEN_VARIABLE}, or made and printed."
    return parser


def _integers(text: str) -> list[int]:
    return [int(part) for part in text.split(",")]


if __name__ == "__main__":
    sys.exit(main())
