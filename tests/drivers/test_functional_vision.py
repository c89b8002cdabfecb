"""The functional board: random networks as on the RTL, published ones as the reference."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import astuple, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from drivers.board import Board
from drivers.errors import BoardTimeout, NoBoard, RegisterError
from drivers.functional.vision import functional_board
from drivers.open_board import open_board
from drivers.vision import VisionEngine
from eyas.compiler import compile_graph
from eyas.compiler.importers.tflite_import import import_tflite
from eyas.interfaces.vision.config import SMALL_VISION
from eyas.interfaces.vision.program_file import Program
from eyas.interfaces.vision.registers import VISION_REGISTERS
from models.vision import reference
from models.vision.graph import Conv2D, Graph, Tensor
from tests.data import data_file
from tests.models.random_graphs import pictures_of
from tests.models.test_published_networks import NETWORKS, inputs
from tests.small_network import small_network
from tests.system.random_networks import networks

COMPARED = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def engines(rtl_board: Any, functional: Any) -> Iterator[tuple[VisionEngine, VisionEngine]]:
    with VisionEngine(rtl_board) as rtl, VisionEngine(functional) as played:
        yield rtl, played


EXACT_COUNTERS = ("jobs_done", "core_cycles", "array_cycles", "read_beats", "write_beats")


def everything(engine: VisionEngine, program: Program, pictures: np.ndarray) -> dict[str, Any]:
    """All that a user sees of a network on a board, but estimates of cycles."""
    engine.unload()
    engine.load(program)
    result = engine.infer(pictures)
    maps = [engine.probe(pictures[-1], layer) for layer in range(len(program.manifest.layers))]
    before = engine.counters()
    alone = engine.infer(pictures[:1])
    counted = engine.counters()
    return {
        "outputs": result.outputs,
        "logits": result.logits,
        "core_cycles": alone.core_cycles,
        "counters": {name: counted[name] - before[name] for name in EXACT_COUNTERS},
        "job_cycles": int(alone.job_cycles[0]),
        "maps": maps,
        "layers": [astuple(item) for item in engine.layer_counters()],
    }


def compare(engines: tuple[VisionEngine, VisionEngine], graph: Graph, fold: bool) -> None:
    program = compile_graph(graph, SMALL_VISION, fold=fold)
    pictures = pictures_of(graph, 3, seed=5)
    rtl, played = (everything(engine, program, pictures) for engine in engines)
    for name in ("outputs", "logits"):
        np.testing.assert_array_equal(played[name], rtl[name], err_msg=name)
    for entry, mine, hers in zip(program.manifest.layers, played["maps"], rtl["maps"], strict=True):
        np.testing.assert_array_equal(mine, hers, err_msg=f"layer {entry.name}")
    assert played["layers"] == rtl["layers"]
    assert played["counters"] == rtl["counters"]
    assert played["job_cycles"] == pytest.approx(rtl["job_cycles"], rel=0.05, abs=250)
    assert [item[0] for item in played["layers"]] == [
        entry.cycles for entry in program.manifest.layers
    ]
    np.testing.assert_array_equal(played["core_cycles"], rtl["core_cycles"])


@COMPARED
@given(graph=networks(), fold=st.booleans())
def test_random_networks_equal_rtl(engines: Any, graph: Graph, fold: bool) -> None:
    compare(engines, graph, fold)


@COMPARED
@given(graph=networks(kinds=("add", "conv", "depthwise", "requantize", "max", "average", "pad")))
def test_random_residual_networks_equal_rtl(engines: Any, graph: Graph) -> None:
    compare(engines, graph, True)


@COMPARED
@given(graph=networks(most=2, first=("conv", "conv", "pad"), channels=3))
def test_random_pictures_of_few_channels_equal_rtl(engines: Any, graph: Graph) -> None:
    compare(engines, graph, False)


@pytest.mark.parametrize("name", NETWORKS)
def test_published_networks_equal_the_reference(name: str) -> None:
    graph = import_tflite(data_file(NETWORKS[name][0]).read_bytes(), name)
    pictures = inputs(graph, 4, 4)
    for fold in (False, True):
        program = compile_graph(graph, fold=fold)
        with functional_board() as board, VisionEngine(board) as engine:
            engine.load(program)
            result = engine.infer(pictures)
            expected = reference.run_layers(graph, pictures)
            np.testing.assert_array_equal(result.logits, expected[graph.output])
            np.testing.assert_array_equal(
                result.outputs, reference.answers(graph, expected[graph.output])
            )
            for number, entry in enumerate(program.manifest.layers):
                if entry.tensor is None:
                    continue  # the next layers complete the map
                wanted = expected[entry.tensor][-1]
                if entry.channels is not None:
                    wanted = wanted[..., entry.channels]
                found = engine.probe(pictures[-1], number)
                np.testing.assert_array_equal(found, wanted, err_msg=entry.name)
            engine.infer(pictures[:1])
            for entry, counters in zip(
                program.manifest.layers, engine.layer_counters(), strict=True
            ):
                assert counters.cycles == entry.cycles, entry.name


@pytest.mark.parametrize(
    "change",
    [
        {"output_channels": 8, "input_channels": 2, "requantize_channels": 1},
        {"output_channels": 16, "input_channels": 16, "requantize_channels": 4},
        {"pixels": 1},
        {"pixels": 5},
    ],
    ids=str,
)
@settings(COMPARED, max_examples=15)
@given(graph=networks(), fold=st.booleans())
def test_arrays_of_other_shapes_equal_the_reference(change: Any, graph: Graph, fold: bool) -> None:
    config = replace(SMALL_VISION, **change)
    program = compile_graph(graph, config, fold=fold)
    pictures = pictures_of(graph, 2, seed=5)
    with functional_board(config) as board, VisionEngine(board) as engine:
        engine.load(program)
        np.testing.assert_array_equal(
            engine.infer(pictures).logits, reference.run_layers(graph, pictures)[graph.output]
        )
        layers = zip(program.manifest.layers, engine.layer_counters(), strict=True)
        assert all(counters.cycles == entry.cycles for entry, counters in layers)


def test_sums_beyond_float32_are_exact() -> None:
    """An odd sum of 2^26 − 255 is told from its neighbours, which float32 cannot."""
    taps = 8 * 8 * 64
    tensors = {
        "in": Tensor("in", (8, 8, 64), 1.0, 0), "out": Tensor("out", (1, 1, 4), 1.0, 0),
    }  # fmt: skip
    weights = np.full((4, 8, 8, 64), -128)
    weights[:, 0, 0, 0] = -127
    total = 128 * 128 * taps - 255
    node = Conv2D(
        name="conv", input="in", output="out", weights=weights,
        bias=np.arange(4) - total, weight_scales=np.ones(4),
    )  # fmt: skip
    graph = Graph(name="far", tensors=tensors, nodes=(node,), input="in", output="out")
    pictures = np.full((1, 8, 8, 64), -128, np.int8)
    pictures[0, 0, 0, 0] = -127
    with functional_board() as board, VisionEngine(board) as engine:
        engine.load(compile_graph(graph))
        assert engine.infer(pictures).logits.ravel().tolist() == [0, 1, 2, 3]


def test_a_program_without_an_end_runs_until_it_is_aborted() -> None:
    with functional_board(SMALL_VISION) as board, VisionEngine(board) as engine:
        program = compile_graph(small_network(np.random.default_rng(3)), SMALL_VISION)
        engine.load(program)
        # Every instruction is a layer, from the memory's first word to its last.
        board._jobs._memories.instructions[:] = np.tile(
            board._jobs._memories.instructions[:16], SMALL_VISION.instruction_words // 16
        )
        board._jobs._decoded.clear()
        with pytest.raises(BoardTimeout, match="picture 0"):
            engine.infer(np.zeros((1, 8, 9, 3), np.int8))
        engine.unload()
        engine.load(program)
        assert engine.infer(np.zeros((1, 8, 9, 3), np.int8)).logits.shape == (1, 1, 1, 7)


def test_registers_answer_as_those_of_rtl(rtl_board: Board, functional: Board) -> None:
    for board in (rtl_board, functional):
        board.reset()
    for register in VISION_REGISTERS.registers:
        values = []
        for board in (rtl_board, functional):
            first = board.read_register(register.offset)
            if register.name not in ("doorbell", "control"):
                board.write_register(register.offset, 0xFFFF_FFFF)
            values.append((first, board.read_register(register.offset)))
        assert values[1] == values[0], register.name
    for board in (rtl_board, functional):
        for access in (
            lambda board=board: board.read_register(0x800),
            lambda board=board: board.write_register(0x800, 1),
        ):
            with pytest.raises(RegisterError, match="0x800"):
                access()
        board.reset()


def test_open_board_knows_it() -> None:
    with open_board("vision", functional=True) as board:
        assert "functional" in getattr(board, "description", "")
    with pytest.raises(NoBoard, match="only for vision"):
        open_board("switch", functional=True)
    for options in (
        {"functional": True, "simulated": True},
        {"functional": True, "remote": "host"},
        {"simulated": True, "remote": "host"},
    ):
        with pytest.raises(NoBoard, match="functional, simulated or remote; choose one"):
            open_board("vision", **options)
