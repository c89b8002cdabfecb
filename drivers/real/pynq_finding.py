"""Finding PYNQ and a device of its: every cause of finding none has a sentence of its own."""

from __future__ import annotations

import asyncio
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import Any

from drivers.errors import NoBoard

__all__ = ["PORT", "find_device", "remote_device", "require_pynq", "require_root"]

PORT = 7967
"""Where PYNQ looks for PYNQ.remote."""
REMOTE = "pynq.pl_server.remote_device"
FPGA_MANAGER = Path("/sys/class/fpga_manager/fpga0/firmware")
"""By this file PYNQ knows a board."""
SOURCE = "source /etc/profile.d/xrt_setup.sh"
ELSEWHERE = "elsewhere name a remote board in PYNQ_REMOTE_DEVICES or use the simulated PYNQ-Z2"


def require_pynq() -> Any:
    """Return the module ``pynq``; NoBoard, with the remedy, where it cannot be imported."""
    try:
        import pynq
    except ModuleNotFoundError as error:
        raise NoBoard(
            f"PYNQ cannot be loaded (no module {error.name!r}); on a PYNQ-Z2 take the Python of "
            f"the image (source /etc/profile.d/pynq_venv.sh), elsewhere pip install "
            f"'eyas[pynq-sim]'"
        ) from None
    except OSError as error:  # where XILINX_XRT is set, importing PYNQ loads XRT and runs xbutil
        raise NoBoard(
            f"PYNQ cannot be loaded, for XRT is not where XILINX_XRT says "
            f"({os.environ.get('XILINX_XRT', 'unset')}): {_said(error)}; on the board {SOURCE}, "
            f"elsewhere unset XILINX_XRT"
        ) from error
    except Exception as error:  # its own modules, or what they need, of versions that do not fit
        raise NoBoard(
            f"PYNQ cannot be loaded ({_named(error)}); its packages do not fit together: on a "
            f"PYNQ-Z2 take the Python of the image (source /etc/profile.d/pynq_venv.sh), elsewhere "
            f"a new environment with 'eyas[pynq-sim]'"
        ) from error
    return pynq


def require_root(error: BaseException) -> None:
    """Raise NoBoard where it is root's rights that ``error`` says are missing."""
    reserved = ("/dev/", "/sys/", "/lib/", "/proc/")
    refused = isinstance(error, PermissionError) and str(error.filename or "/dev/").startswith(
        reserved
    )
    if refused or (isinstance(error, OSError) and "Root permissions" in str(error)):
        raise NoBoard("PYNQ needs root to reach the overlay; run with sudo -s") from None


def find_device(pynq: Any) -> Any:
    """Return PYNQ's active device; NoBoard, which says why there is none.

    May be called in any thread: PYNQ asks for an event loop when it makes a device, and a thread
    that has none gets one for that time.  (The board's device never uses it; interrupts report to
    the loop of the thread that opens the board, and are polled where there is none.)
    """
    try:
        with _event_loop():
            return pynq.Device.active_device
    except Exception as error:
        # PYNQ remembers that it found nothing, also where a device failed half way.
        if not vars(pynq.Device).get("_devices", True):
            del pynq.Device._devices
        require_root(error)
        raise NoBoard(_why(pynq, error)) from error


def remote_device(address: str) -> Any:
    """Return PYNQ's device for the board at ``address``, and make it PYNQ's active one.

    Parameters
    ----------
    address : str
        Name or number of a host that serves PYNQ.remote, as in ``"192.168.2.99"``; with a port,
        as in ``"127.0.0.1:9000"``, where that is not 7967.

    Raises NoBoard for an address without a form, without a board, or where PYNQ knows no such.
    """
    host, colon, number = address.partition(":")
    if not host or (colon and not (number.isdecimal() and 0 < int(number) < 1 << 16)):
        raise NoBoard(f"A remote board is named HOST or HOST:PORT, not {address!r}")
    port = int(number) if colon else PORT
    if "pynq" in sys.modules and REMOTE not in sys.modules and _knows_remote(require_pynq()):
        raise NoBoard(
            "PYNQ was imported before a remote board was named, and then uses none; start Python "
            "anew and name the board first, in PYNQ_REMOTE_DEVICES or by --remote"
        )
    os.environ["PYNQ_REMOTE_DEVICES"] = host  # read while PYNQ is imported
    pynq = require_pynq()
    if not _knows_remote(pynq):
        raise NoBoard(_no_remote(pynq))
    for device in (vars(pynq.Device).get("_active_device"), *vars(pynq.Device).get("_devices", ())):
        if (getattr(device, "ip_addr", None), getattr(device, "port", None)) == (host, port):
            pynq.Device.active_device = device
            return device
    try:
        pynq.Device.active_device = import_module(REMOTE).RemoteDevice(0, host, port)
    except Exception as error:
        raise NoBoard(_why(pynq, error, address)) from error
    return pynq.Device.active_device


def _knows_remote(pynq: Any) -> bool:
    return not str(getattr(pynq, "__version__", "")).startswith("3.0")


def _no_remote(pynq: Any) -> str:
    return (
        f"PYNQ {pynq.__version__} knows no remote boards; take 3.1 or later for them, or run on "
        f"the board itself and unset PYNQ_REMOTE_DEVICES"
    )


@contextmanager
def _event_loop() -> Iterator[None]:
    """An event loop for this thread, where it has none; the main thread gets its own when asked."""
    try:
        if threading.current_thread() is not threading.main_thread():
            asyncio.get_event_loop_policy().get_event_loop()
    except RuntimeError:
        loop = asyncio.new_event_loop()
        asyncio.set_event_loop(loop)
        try:
            yield
        finally:
            asyncio.set_event_loop(None)
            loop.close()
    else:
        yield


def _why(pynq: Any, error: Exception, address: str | None = None) -> str:
    """Why there is no device, in a sentence, with what to do."""
    named = address or os.environ.get("PYNQ_REMOTE_DEVICES")
    details = getattr(error, "details", None)
    if callable(details):  # a status of gRPC
        return (
            f"The board at {named} answers what PYNQ asks with {details()!r}; check that "
            f"PYNQ.remote runs there, of this PYNQ's version"
        )
    if "Failed to connect" in str(error):
        return (
            f"No board answers at {named} within 5 s; check the address, that the board is on, and "
            f"that PYNQ.remote runs there (at port {PORT} where no other is named)"
        )
    if not isinstance(error, RuntimeError) or "No Devices" not in str(error):
        return (
            f"PYNQ fails where it looks for devices ({_named(error)}); on the board run as root "
            f"and {SOURCE} first, {ELSEWHERE}"
        )
    if named and not _knows_remote(pynq):
        return _no_remote(pynq)
    if named and REMOTE not in sys.modules:
        return (
            "PYNQ finds no device: it was imported before PYNQ_REMOTE_DEVICES was set; start "
            "Python anew and set it first"
        )
    if "XILINX_XRT" not in os.environ:
        return (
            f"PYNQ finds no device: XILINX_XRT is not set (sudo drops it); on the board run as "
            f"root and {SOURCE} first, {ELSEWHERE}"
        )
    if not FPGA_MANAGER.exists():
        return (
            f"PYNQ finds no device: this machine has no {FPGA_MANAGER}, so it is no PYNQ board; "
            f"run on the board, {ELSEWHERE}"
        )
    return (
        "PYNQ finds no device: it was imported before XILINX_XRT was set; start Python anew after "
        f"{SOURCE}"
    )


def _said(error: BaseException) -> str:
    return " ".join(str(error).split())


def _named(error: BaseException) -> str:
    return f"{type(error).__name__}: {_said(error)}"
