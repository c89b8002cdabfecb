"""Runs a PYNQ script on the simulated PYNQ-Z2, as it is: what runs here runs on the board.

``python -m drivers.simulated.pynq.run [--files FOLDER] script.py [ARGUMENTS]``
"""

from __future__ import annotations

import argparse
import runpy
import sys
from pathlib import Path

from pynq.pl_server.device import Device

from drivers.simulated.pynq.device import BOARDS, SMALL_BOARDS, SimulatedPynqZ2
from drivers.simulated.pynq.files import write_stand_in

__all__ = ["chosen_device", "device_options"]


def device_options(parser: argparse.ArgumentParser) -> None:
    """Add what tells one simulated PYNQ-Z2 from another to the arguments of ``parser``."""
    parser.add_argument(
        "--small",
        action="store_true",
        help="a small vision array and a small switch instead of the default ones",
    )
    parser.add_argument(
        "--files",
        type=Path,
        metavar="FOLDER",
        help="first write there, for each overlay, its .hwh and a file that stands for its .bit",
    )


def chosen_device(options: argparse.Namespace) -> SimulatedPynqZ2:
    """Write the files that ``options`` ask for, and return the device."""
    boards = SMALL_BOARDS if options.small else BOARDS
    if options.files:
        options.files.mkdir(parents=True, exist_ok=True)
        for name in boards:
            write_stand_in(name, options.files)
    return SimulatedPynqZ2(boards)


def main() -> None:
    """Run the script that the command line names."""
    parser = argparse.ArgumentParser(
        prog="python -m drivers.simulated.pynq.run",
        description="Run a PYNQ script on a simulated PYNQ-Z2.",
    )
    device_options(parser)
    parser.add_argument("script", type=Path, help="a Python file that uses pynq")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="what the script is given")
    options = parser.parse_args()
    if not options.script.is_file():
        parser.error(f"there is no file {options.script}")
    Device.active_device = chosen_device(options)
    sys.argv = [str(options.script), *options.arguments]
    runpy.run_path(str(options.script), run_name="__main__")


if __name__ == "__main__":
    main()
