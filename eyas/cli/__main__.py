"""``python -m eyas.cli``: the command without an installation."""

from eyas.cli.main import main

main()
