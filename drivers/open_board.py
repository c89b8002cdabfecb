"""One way to a board, whichever it is: through PYNQ, over the network, simulated, functional."""

from __future__ import annotations

import os
from importlib import import_module
from pathlib import Path

from drivers.board import Board
from drivers.errors import NoBoard
from eyas.interfaces.overlays import OVERLAYS

__all__ = ["open_board"]

SIMULATED = "drivers.simulated"


def open_board(
    overlay: str,
    *,
    simulated: bool = False,
    functional: bool = False,
    remote: str | None = None,
    bitstreams: str | os.PathLike[str] = ".",
    download: bool = True,
) -> Board:
    """Return a board that carries ``overlay``.

    Parameters
    ----------
    overlay : str
        A name of :data:`eyas.interfaces.overlays.OVERLAYS`.
    simulated : bool
        The Verilated overlay in this process; needs the extra ``sim``.
    functional : bool
        The overlay's answers computed with NumPy, without its RTL; there is one for ``vision``.
    remote : str or None
        Address of a board that serves PYNQ.remote, HOST or HOST:PORT; None for PYNQ's own choice:
        the board this runs on, or the one that PYNQ_REMOTE_DEVICES names.
    bitstreams : path
        Folder that holds ``vision.bit`` and ``vision.hwh``, and so on.
    download : bool
        False takes what the board carries already; it must be ``overlay``.

    Raises
    ------
    NoBoard, OverlayFileMissing, BoardBusy, WrongOverlay, ToolMissing, BuildFailed
        When there is no such board.
    """
    if overlay not in OVERLAYS:
        raise NoBoard(f"There is no overlay {overlay!r}; there are {', '.join(OVERLAYS)}")
    if functional + simulated + (remote is not None) > 1:
        raise NoBoard("A board is functional, simulated or remote; choose one of them")
    if functional:
        if overlay != "vision":
            raise NoBoard(
                f"There is no functional board for the {overlay} overlay, only for vision; take "
                f"simulated=True"
            )
        from drivers.functional.vision import functional_board

        return functional_board()
    if simulated:
        # By name: nothing that a board loads depends on the simulator.
        try:
            module = import_module(f"{SIMULATED}.{overlay}")
        except ModuleNotFoundError as error:
            raise NoBoard(
                f"The simulated board needs the package {error.name}: pip install 'eyas[sim]'"
            ) from None
        board: Board = getattr(module, f"{overlay}_board")()
        return board
    from drivers.real.pynq_board import PynqBoard
    from drivers.real.pynq_finding import remote_device

    device = None if remote is None else remote_device(remote)
    return PynqBoard.open(Path(bitstreams) / f"{overlay}.bit", device=device, download=download)
