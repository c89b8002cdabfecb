"""From quantised graphs to programs of the vision engine."""

from __future__ import annotations

from eyas.compiler.errors import CompileError
from eyas.compiler.program import compile_graph

__all__ = ["CompileError", "compile_graph"]
