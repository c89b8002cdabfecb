"""How PYNQ.remote's services refuse: with a status of gRPC and one sentence.

What a client sends is judged before anything is changed, and refused with a status of gRPC and one
sentence: INVALID_ARGUMENT for a request without sense, NOT_FOUND for a file, window or buffer that
there is not, PERMISSION_DENIED for a path where nothing may be written, RESOURCE_EXHAUSTED for a
file above its limit, FAILED_PRECONDITION where an overlay has to be loaded first, CANCELLED for a
stream that does not end.  What the board itself refuses (a register, memory that is full) stands in
the answer's ``msg``, as PYNQ has it: its clients raise RuntimeError with it.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import grpc

from drivers.errors import EyasError, NoBoard, WrongOverlay

__all__ = ["STREAM_S", "Refused", "guarded", "received", "statuses"]

STREAM_S = 60.0
"""How long a client may take to send a file or a buffer: others wait meanwhile."""
_Code = grpc.StatusCode


class Refused(Exception):
    """A request that gets a status."""

    def __init__(self, code: grpc.StatusCode, text: str) -> None:
        super().__init__(text)
        self.code = code


@contextmanager
def statuses(context: Any) -> Iterator[None]:
    """End the call with a status where it is the request that is wrong."""
    try:
        yield
    except Refused as error:
        context.abort(error.code, str(error))
    except ValueError as error:
        context.abort(_Code.INVALID_ARGUMENT, str(error))
    except (NoBoard, WrongOverlay) as error:
        context.abort(_Code.FAILED_PRECONDITION, str(error))


def guarded(answer: Callable[[], Any], response: Any, context: Any) -> Any:
    """What ``answer`` gives; what the board refuses as the response's message."""
    with statuses(context):
        try:
            return answer()
        except (NoBoard, WrongOverlay):
            raise
        except (EyasError, RuntimeError) as error:
            return response(msg=str(error) or type(error).__name__)


def received(requests: Iterable[Any], context: Any) -> Iterator[Any]:
    """What a client streams, for a limited time: a silent one must not keep the others out."""
    late = threading.Event()

    def end() -> None:
        late.set()
        context.cancel()

    timer = threading.Timer(STREAM_S, end)
    timer.daemon = True
    timer.start()
    try:
        yield from requests
        # To the iteration a stream that was cut off ends like any other.
        if late.is_set() or not context.is_active():
            raise Refused(_Code.CANCELLED, f"The stream did not end within {STREAM_S:g} s")
    finally:
        timer.cancel()
