"""Checks of the checkers: a stream that breaks the contract is found, by the words for it."""

import cocotb
import pytest

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.common.streams import Stream, StreamContract, StreamSink
from cocotb_tests.common.timing import generator, start

LIMIT = {"timeout_time": 100, "timeout_unit": "us"}


@cocotb.test(**LIMIT)
@cocotb.parametrize(
    (
        ("fault", "stalls", "words"),
        [
            ("dropped", 1.0, "dropped_o: valid fell before .* was taken"),
            ("changed", 0.5, "changed_o: .* became .* while it waited"),
        ],
    )
)
async def broken_promise(dut, fault, stalls, words):
    stream = Stream(dut, f"{fault}_o")
    StreamSink(stream, generator(), stalls)
    contract = StreamContract(stream)
    cocotb.start_soon(start(dut))
    with pytest.raises(AssertionError, match=words):
        await contract.task


@cocotb.test(**LIMIT)
async def valid_depends_on_ready(dut):
    rng = generator()
    stream = Stream(dut, "dependent_o")
    StreamSink(stream, rng, 0.5)
    contract = StreamContract(stream, rng)
    cocotb.start_soon(start(dut))
    with pytest.raises(AssertionError, match="dependent_o__valid depend combinationally"):
        await contract.independence.task


@cocotb.test(**LIMIT)
async def valid_waits_for_ready(dut):
    stream = Stream(dut, "waiting_o")
    sink = StreamSink(stream, generator(), patient=True)
    await start(dut)
    with pytest.raises(AssertionError, match="waited 200 cycles for 1 items of waiting_o"):
        await sink.take(1, 200)


@cocotb.test(**LIMIT)
async def empty_bin(dut):
    coverage = Coverage(["hit", "missed"])
    coverage.hit("hit")
    coverage.hit("missed", False)
    with pytest.raises(AssertionError, match=r"empty coverage bins: missed(?!,)"):
        coverage.check()
    with pytest.raises(KeyError):
        coverage.hit("undeclared")
