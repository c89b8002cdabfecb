"""Entry point of the command ``eyas``: dispatches, and turns every failure into one sentence."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NoReturn

from eyas import check_packages
from eyas.cli.common.errors import CANNOT_ANSWER, debugging, describe

__all__ = ["main"]


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run the command line ``arguments`` (those of the process when None) and exit."""
    try:
        check_packages()
        # Imported here: Typer comes with an extra, and its absence is a sentence too.
        from eyas.cli.application import app

        app(args=None if arguments is None else list(arguments), prog_name="eyas")
    except Exception as error:
        if debugging():
            raise
        print(f"eyas: {describe(error)}", file=sys.stderr)
        sys.exit(CANNOT_ANSWER)
    sys.exit(0)


if __name__ == "__main__":
    main()
