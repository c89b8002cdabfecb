"""From a ``.tflite`` file to a program, with all that is in the way in one answer."""

from __future__ import annotations

from eyas.compiler.blockers import engine_blockers
from eyas.compiler.importers.tflite_import import TfliteError, read_network
from eyas.compiler.program import compile_graph
from eyas.interfaces.vision.config import DEFAULT_VISION, VisionConfig
from eyas.interfaces.vision.program_file import Program

__all__ = ["compile_tflite"]


def compile_tflite(
    data: bytes, name: str, config: VisionConfig = DEFAULT_VISION, *, fold: bool = True
) -> Program:
    """Compile the network in a ``.tflite`` file for the array ``config``.

    Parameters are those of :func:`eyas.compiler.importers.tflite_import.import_tflite` and of
    :func:`eyas.compiler.compile_graph`.

    Raises
    ------
    TfliteError
        When the file is none, is damaged, or holds what Eyas does not run. ``blockers`` then has
        what would not fit the engine too, as far as that can be said of such a file.
    CompileError
        When the network does not fit the engine.
    """
    reading = read_network(data, name)
    graph = reading.graph
    if reading.blockers or graph is None:
        sizes = [] if graph is None else engine_blockers(graph, config, graph, is_sketch=True)
        raise TfliteError(*reading.blockers, *sizes)
    return compile_graph(graph, config, fold=fold)
