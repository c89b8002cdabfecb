"""The simulated PYNQ-Z2 behind PYNQ.remote's services: another process drives it with stock PYNQ.

Serve it, then name it to PYNQ in the other process::

    python -m drivers.simulated.pynq.remote
    PYNQ_REMOTE_DEVICES=127.0.0.1 python my_script.py

The services have no authentication, as on a board: they listen on loopback unless told otherwise.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor

import grpc

from drivers.real.pynq_finding import PORT
from drivers.simulated.pynq.device import SimulatedPynqZ2
from drivers.simulated.pynq.run import chosen_device, device_options
from drivers.simulated.pynq.services import add_services

__all__ = ["PORT", "hint", "serve"]

WAITING = 64
"""Calls that may be under way or wait; more are refused with RESOURCE_EXHAUSTED."""


def serve(
    device: SimulatedPynqZ2 | None = None, *, host: str = "127.0.0.1", port: int = PORT
) -> tuple[grpc.Server, int]:
    """Start serving ``device``; return the server, to be stopped, and its port.

    Parameters
    ----------
    device : SimulatedPynqZ2 or None
        By default one with the default overlays.
    host : str
        Address to listen on. The services let anyone who reaches them use the device.
    port : int
        0 for any that is free.

    Raises OSError when the port is taken.
    """
    device = device or SimulatedPynqZ2()
    # One thread: requests come one after the other, as the simulation needs it.
    server = grpc.server(
        ThreadPoolExecutor(max_workers=1),
        options=[("grpc.so_reuseport", 0)],
        maximum_concurrent_rpcs=WAITING,
    )
    add_services(device, server)
    try:
        bound = server.add_insecure_port(f"{host}:{port}")
    except RuntimeError as error:
        raise OSError(
            f"Port {port} of {host} cannot be had; end what listens there or choose another"
        ) from error
    server.start()
    return server, bound


def hint(host: str, port: int) -> str:
    """What to do in the other process, in a sentence."""
    if host in ("0.0.0.0", "::", "[::]", ""):
        host = "ADDRESS-OF-THIS-MACHINE"
    if port == PORT:
        return f"in the other process set PYNQ_REMOTE_DEVICES={host}"
    return (
        f"PYNQ by itself looks at port {PORT} alone: in the other process use "
        f"open_board(…, remote='{host}:{port}'), or --remote {host}:{port} of our commands"
    )


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(
        prog="python -m drivers.simulated.pynq.remote",
        description="Serve a simulated PYNQ-Z2 to PYNQ in other processes.",
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (%(default)s)")
    parser.add_argument("--port", type=int, default=PORT, help="port to listen on (%(default)s)")
    device_options(parser)
    options = parser.parse_args()
    if not 0 <= options.port < 1 << 16:
        parser.error(f"a port is a number from 0 to 65535, not {options.port}")
    try:
        server, port = serve(chosen_device(options), host=options.host, port=options.port)
    except OSError as error:
        parser.error(str(error))
    print(
        f"a simulated PYNQ-Z2 listens on {options.host}:{port}; {hint(options.host, port)}",
        flush=True,
    )
    try:
        server.wait_for_termination()
    except KeyboardInterrupt:
        server.stop(None)


if __name__ == "__main__":
    main()
