"""Bench of the front end: jobs through AXI4-Lite and memory, with a stand-in for the engine.

Runs under :mod:`cocotb_tests.vision_frontend.test_frontend`, which says for which configuration.
"""

import json
import logging
import os

import cocotb
import numpy as np
from cocotb.triggers import ClockCycles

from cocotb_tests.common.coverage import Coverage
from cocotb_tests.vision_frontend.environment import Environment, Patching, Program
from cocotb_tests.vision_frontend.stand_in import NEVER
from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.records import ErrorCode, JobKind, Place
from eyas.interfaces.vision.registers import IDENTITY, VERSION_MAJOR
from hdl.vision.frontend import LAYER_COUNTERS

CONFIG = VisionConfig(**json.loads(os.environ["VISION"]))
SLVERR, DECERR = 2, 3
CHANNELS = (1, 3, 4, 5, 8, 11, 16, 20)
logging.getLogger("cocotb.front_end").setLevel(logging.WARNING)  # the buses tell every beat
LIMIT = {"timeout_time": 3, "timeout_unit": "ms"}

ERRORS = {
    (ErrorCode.BUS_SLAVE, Place.DESCRIPTOR),
    (ErrorCode.BUS_DECODE, Place.DESCRIPTOR),
    (ErrorCode.BUS_SLAVE, Place.PROGRAM),
    (ErrorCode.BUS_DECODE, Place.PROGRAM),
    (ErrorCode.BUS_SLAVE, Place.INPUT),
    (ErrorCode.BUS_DECODE, Place.INPUT),
    (ErrorCode.BUS_SLAVE, Place.OUTPUT),
    (ErrorCode.BUS_DECODE, Place.OUTPUT),
    (ErrorCode.BUS_SLAVE, Place.RESULT),
    (ErrorCode.BUS_DECODE, Place.RESULT),
    (ErrorCode.BAD_DESCRIPTOR, Place.DESCRIPTOR),
    (ErrorCode.MISALIGNED, Place.DESCRIPTOR),
    (ErrorCode.EMPTY_SLOT, Place.DESCRIPTOR),
    (ErrorCode.WRONG_SIZE, Place.DESCRIPTOR),
    (ErrorCode.BAD_PROGRAM, Place.PROGRAM),
    (ErrorCode.WRONG_SHAPE, Place.PROGRAM),
    (ErrorCode.PROGRAM_TOO_LARGE, Place.PROGRAM),
    (ErrorCode.WRONG_SIZE, Place.PROGRAM),
    (ErrorCode.BAD_CRC, Place.PROGRAM),
    (ErrorCode.WRONG_SIZE, Place.INPUT),
    (ErrorCode.BAD_INSTRUCTION, Place.COMPUTE),
    (ErrorCode.QUEUE_FULL, Place.DOORBELL),
    (ErrorCode.MISALIGNED, Place.DOORBELL),
    (ErrorCode.ABORTED, Place.DESCRIPTOR),
    (ErrorCode.ABORTED, Place.PROGRAM),
    (ErrorCode.ABORTED, Place.INPUT),
    (ErrorCode.ABORTED, Place.COMPUTE),
    (ErrorCode.ABORTED, Place.OUTPUT),
}
BINS = (
    {f"error {code.name} at {place.name}" for code, place in ERRORS}
    | {f"channels {count}" for count in CHANNELS}
    | {
        "picture loaded while a program runs",
        "picture waits for another slot's program",
        "picture waits for a probe",
        "picture waits for a release",
        "queue full",
        "rows apart",
        "rows dense",
        "patches",
        "patches whose rows are apart",
        "plain picture after patches",
        "several planes stored",
        "reset in a job",
    }
)
coverage = Coverage(BINS)


async def begin(dut, seed, pause=0.0) -> Environment:
    return await Environment.create(dut, CONFIG, seed, pause)


async def loaded(environment, slot=0, **parameters) -> Program:
    """Load a program that is right and return it."""
    program = Program(CONFIG, environment.rng, **parameters)
    job = environment.load_job(program, slot)
    await environment.run(job)
    environment.check_right(job)
    return program


async def check_error(environment, code, place, tag, count=1, layer=0) -> None:
    """The ERROR registers say this; then forget it."""
    coverage.hit(f"error {code.name} at {place.name}")
    error = await environment.read("error")
    expected = {"code": code, "place": place, "layer": layer, "count": count}
    assert error == expected, f"ERROR is {error}, expected {expected}"
    found = (await environment.read("error_tag"))["tag"]
    assert found == tag, f"ERROR_TAG is {found}, expected {tag}"
    assert (await environment.read("interrupt_status"))["error"], "no error interrupt"
    await environment.write("control", clear_error=1)
    await environment.write("interrupt_status", error=1)
    assert not any((await environment.read("error")).values()), "ERROR is not cleared"
    assert not (await environment.read("interrupt_status"))["error"]


async def check_good_job(environment, program, slot=0) -> None:
    """A good job runs right now, and raises no error."""
    job = environment.infer_job(program, slot)
    await environment.run(job)
    environment.check_right(job)
    assert not any((await environment.read("error")).values())
    await environment.check_at_rest()


async def fails(environment, job, code, place, layer=0, record=True, tag=None) -> None:
    """The job ends with this error, in its record if it can have one."""
    done = await environment.counter("jobs_done")
    await environment.ring(job)
    await environment.idle()
    found = environment.record(job)
    expected = {"code": code, "place": place, "layer": layer, "tag": job.descriptor["tag"]}
    if record:
        assert {name: found[name] for name in expected} == expected, f"{found} for {expected}"
    else:
        assert not any(found.values()), f"a record was written: {found}"
    assert await environment.counter("jobs_done") == done + 1
    await check_error(
        environment, code, place, job.descriptor["tag"] if tag is None else tag, layer=layer
    )


@cocotb.test(**LIMIT)
async def capabilities_are_those_of_the_configuration(dut):
    environment = await begin(dut, 1)
    assert (await environment.read("identity"))["value"] == IDENTITY
    assert (await environment.read("version"))["major"] == VERSION_MAJOR
    found = {}
    for name in (
        "shape", "activation_capacity", "weight_capacity", "program_capacity", "queue_capacity",
    ):  # fmt: skip
        found |= await environment.read(name)
    assert found == CONFIG.as_dict()
    for layer in (0, 9, 255):
        await environment.write("layer_select", layer=layer)
        for index, name in enumerate(LAYER_COUNTERS):
            assert await environment.counter(name) == 8 * layer + index
    await environment.check_at_rest()


@cocotb.test(**LIMIT)
@cocotb.parametrize(pause=[0.0, 0.4])
async def load_fills_the_program_memories(dut, pause):
    environment = await begin(dut, 2, pause)
    base = {"instruction_base": 8, "weight_base": 5, "parameter_base": 7}
    first = await loaded(environment, weight_rows=4, parameter_rows=3, **base)
    behind = {"instruction_base": 11, "weight_base": 9, "parameter_base": 10}
    second = await loaded(environment, 1, weight_rows=2, parameter_rows=1, **behind)
    assert (await environment.read("status"))["slots"] == 0b11

    async def peek(name, address):
        dut.peek_address.value = address
        await ClockCycles(dut.aclk, 3)
        return int(getattr(dut, f"peek_{name}").value)

    columns = 1 << (CONFIG.output_channels - 1).bit_length()
    lanes = 1 << (CONFIG.requantize_channels - 1).bit_length()
    for program in (first, second):
        for index, word in enumerate(program.instructions):
            assert await peek("instruction", program.instruction_base + index) == word
        for row in range(program.weight_rows):
            for column in range(CONFIG.output_channels):
                expected = int.from_bytes(program.weights[row, column].tobytes(), "little")
                address = (program.weight_base + row) * columns + column
                found = await peek("weight", address)
                assert found == expected, f"weight {row}, {column}: {found:x} not {expected:x}"
        for index, values in enumerate(program.parameters):
            row, column = divmod(index, CONFIG.requantize_channels)
            expected = (
                values["bias"] & 0xFFFF_FFFF
                | values["multiplier"] << 32
                | values["shift"] << 63
                | values["pre_shift"] << 68
            )
            found = await peek("parameter", (program.parameter_base + row) * lanes + column)
            assert found == expected, f"parameter {index}: {found:x} not {expected:x}"
    # Neither program wrote outside of its rows.
    for name, address in (
        ("instruction", 7), ("instruction", 14),
        ("weight", 5 * columns - 1), ("weight", 11 * columns),
        ("parameter", 7 * lanes - 1), ("parameter", 11 * lanes),
    ):  # fmt: skip
        assert await peek(name, address) == 0, f"{name} {address} was written"
    await environment.check_at_rest()


@cocotb.test(**LIMIT)
@cocotb.parametrize(channels=CHANNELS, pause=[0.0, 0.4])
async def pictures_go_through(dut, channels, pause):
    environment = await begin(dut, 100 + channels, pause)
    for height, width, gap in ((1, 1, 0), (3, 5, 0), (5, 3, 4), (2, 9, 1)):
        program = await loaded(
            environment, height=height, width=width, channels=channels, pitch=width + gap
        )
        jobs = [environment.infer_job(program) for _ in range(2)]
        await environment.run(*jobs)
        for job in jobs:
            environment.check_right(job)
        coverage.hit("rows apart" if gap else "rows dense")
        if program.output_blocks > 1:
            coverage.hit("several planes stored")
    coverage.hit(f"channels {channels}")
    await environment.check_at_rest()


BEHIND = {"instruction_base": 3, "weight_base": 3, "parameter_base": 2}
"""Where a second program of the usual size stands."""
PATCHINGS = (
    Patching(6, 8, 3),
    Patching(7, 9, 1, (5, 4), (2, 2), (2, 3, 1, 1)),
    Patching(9, 5, 2, (2, 3), (3, 1), (0, 0, 2, 0), zero_point=5),
)


@cocotb.test(**LIMIT)
@cocotb.parametrize(pause=[0.0, 0.4])
async def patches_go_through(dut, pause):
    environment = await begin(dut, 21, pause)
    for patching in PATCHINGS:
        width = patching.size["width"]
        for pitch in (width, width + 2):
            program = await loaded(environment, patching=patching, pitch=pitch)
            jobs = [environment.infer_job(program) for _ in range(2)]
            await environment.run(*jobs)
            for job in jobs:
                environment.check_right(job)
            coverage.hit("patches" if pitch == width else "patches whose rows are apart")
    await check_good_job(environment, await loaded(environment, 1, **BEHIND), 1)
    coverage.hit("plain picture after patches")
    await environment.check_at_rest()


@cocotb.test(**LIMIT)
async def faults_in_patches_end_the_job_and_the_next_one_is_right(dut):
    environment = await begin(dut, 22, 0.2)
    patching = PATCHINGS[0]
    program = await loaded(environment, patching=patching)
    for where in (0, 8 * (program.source_words // 2), 8 * (program.source_words - 1)):
        job = environment.infer_job(program)
        environment.memory.fail(job.descriptor["source"] + where, 8, SLVERR)
        await fails(environment, job, ErrorCode.BUS_SLAVE, Place.INPUT)
        environment.memory.heal()
        await check_good_job(environment, program)

    for header in (
        {"patch_picture_bytes": 6 * 8 * 3 - 8},
        {"patch_picture_bytes": 6 * 8 * 3 + 8},
        {"patch_kernel_rows": 2},
        {"patch_row_bytes": 0},
        {"patch_row_step": 8 * 8 * 3},
        {"input_height": 0},
        {"input_width": 0},
        {"input_channels_count": 24},
        # The kernel's rows are more than the loader's lines hold.
        {
            "patch_kernel_rows": 4, "patch_row_bytes": 2720, "patch_start": -2720,
            "patch_picture_bytes": 8160, "source_words": 1020,
        },
    ):  # fmt: skip
        wrong = program.at(header=header, **BEHIND)
        job = environment.load_job(wrong, 1)
        await environment.run(job)
        environment.check_right(job)
        words = header.get("source_words", program.source_words)
        job = environment.infer_job(wrong, 1, source_words=words)
        await fails(environment, job, ErrorCode.WRONG_SIZE, Place.INPUT)
        await check_good_job(environment, program)
    await environment.check_at_rest()


@cocotb.test(**LIMIT)
async def abort_in_patches_leaves_nothing_behind(dut):
    environment = await begin(dut, 23, 0.3)
    patching = Patching(9, 16, 3, stride=(1, 2))
    program = await loaded(environment, patching=patching)
    plain = await loaded(environment, 1, **BEHIND)
    for wait in (40, 90, 200, 400):
        job = environment.infer_job(program)
        await environment.ring(job)
        await ClockCycles(dut.aclk, wait)
        await environment.write("control", abort=1)
        await environment.idle()
        await environment.write("control", clear_error=1)
        await environment.write("interrupt_status", error=1, done=1)
        await check_good_job(environment, program)
        await check_good_job(environment, plain, 1)
    await environment.check_at_rest()


@cocotb.test(**LIMIT)
async def probe_stops_at_its_layer_and_writes_its_map(dut):
    environment = await begin(dut, 3, 0.2)
    program = await loaded(environment, channels=2 * CONFIG.input_channels, output_blocks=2)
    jobs = [environment.probe_job(program, layer) for layer in (0, 7)]
    jobs.append(environment.infer_job(program))
    await environment.run(*jobs)
    for job in jobs:
        environment.check_right(job)
    one_plane = program.at(output_blocks=1)
    one_plane.weights, one_plane.parameters = program.weights, program.parameters
    job = environment.probe_job(one_plane, 3)
    await environment.run(job)
    environment.check_right(job)
    await environment.check_at_rest()


@cocotb.test(**LIMIT)
async def jobs_end_in_order_with_outputs_before_records(dut):
    environment = await begin(dut, 4, 0.3)
    first = Program(CONFIG, environment.rng, cycles=300, release=4)
    second = Program(
        CONFIG, environment.rng, channels=CONFIG.input_channels + 1,
        instruction_base=3, weight_base=3, parameter_base=2,
    )  # fmt: skip
    jobs = [
        environment.load_job(first),
        environment.infer_job(first),
        environment.infer_job(first, slot=3),  # empty
        environment.load_job(second, 1),
        environment.infer_job(second, 1),
        environment.infer_job(first),
        environment.infer_job(first),
    ]
    await environment.write("interrupt_enable", done=1)
    for job in jobs:
        full = CONFIG.queue_depth
        while (await environment.read("status"))["queued"] == full:
            pass
        await environment.ring(job)
    assert len(jobs) > 4
    await environment.idle()
    for job in jobs:
        if job is not jobs[2]:
            environment.check_right(job)
    await check_error(
        environment, ErrorCode.EMPTY_SLOT, Place.DESCRIPTOR, jobs[2].descriptor["tag"]
    )

    order = [environment.memory.writes.index(job.descriptor["result"]) for job in jobs]
    assert order == sorted(order), f"records were written in the order {np.argsort(order)}"
    for job in jobs:
        record = job.descriptor["result"]
        for part in (record, record + 8):
            unanswered = environment.unanswered[part]
            assert unanswered == 0, f"{unanswered} bursts unanswered when a record was written"
        place = environment.memory.writes.index(record)
        words = [address - record for address in environment.memory.writes[place - 7 : place + 1]]
        assert words == [8, 16, 24, 32, 40, 48, 56, 0], f"the record's words came as {words}"
        if job.picture is not None and job is not jobs[2]:
            start = job.descriptor["output"]
            writes = [
                index
                for index, address in enumerate(environment.memory.writes)
                if start <= address < start + job.program.output_bytes
            ]
            assert len(writes) == job.program.output_bytes // 8, "an output word written twice"
            assert writes[-1] < environment.memory.writes.index(record)
    assert await environment.counter("jobs_done") == len(jobs)
    await environment.check_at_rest()


@cocotb.test(**LIMIT)
@cocotb.parametrize(pause=[0.0, 0.3])
async def next_picture_comes_while_this_one_is_computed(dut, pause):
    environment = await begin(dut, 5, pause)
    program = await loaded(environment, height=6, width=8, release=10, cycles=2500)
    jobs = [environment.infer_job(program) for _ in range(4)]
    await environment.run(*jobs)
    for job in jobs:
        environment.check_right(job)
    words = program.height * program.width * program.blocks
    overlap = int(dut.overlap.value)
    assert overlap == 3 * words, f"{overlap} words came during a run, expected {3 * words}"
    coverage.hit("picture loaded while a program runs")
    waited = await environment.counter("input_wait_cycles")
    busy = await environment.counter("busy_cycles")
    core = await environment.counter("core_cycles")
    assert core < busy < 1.25 * core, f"{busy} cycles busy for {core} computing"
    assert waited < busy - core, f"waited {waited} cycles for pictures, of {busy - core} not run"
    await environment.check_at_rest()


@cocotb.test(**LIMIT)
async def next_picture_waits_where_it_must(dut):
    environment = await begin(dut, 6)
    never = await loaded(environment, 0, release=NEVER, cycles=1500)
    base = {"instruction_base": 3, "weight_base": 3, "parameter_base": 2}
    early = await loaded(environment, 1, release=10, cycles=1500, **base)
    for bin_name, jobs in (
        ("picture waits for a release", [(never, 0, False), (never, 0, False)]),
        ("picture waits for another slot's program", [(early, 1, False), (never, 0, False)]),
        ("picture waits for a probe", [(early, 1, True), (early, 1, False)]),
    ):
        queue = [
            environment.probe_job(program, 2, slot)
            if probe
            else environment.infer_job(program, slot)
            for program, slot, probe in jobs
        ]
        await environment.run(*queue)
        for job in queue:
            environment.check_right(job)
        assert dut.overlap.value == 0, f"{bin_name}: a picture came too early"
        coverage.hit(bin_name)
    await environment.check_at_rest()


@cocotb.test(**LIMIT)
@cocotb.parametrize(response=[SLVERR, DECERR])
async def bus_errors_end_the_job_in_every_phase(dut, response):
    environment = await begin(dut, 7 + response, 0.2)
    code = {SLVERR: ErrorCode.BUS_SLAVE, DECERR: ErrorCode.BUS_DECODE}[response]
    program = await loaded(environment, channels=2 * CONFIG.input_channels, height=6, width=8)
    fail, heal = environment.memory.fail, environment.memory.heal

    job = environment.infer_job(program)
    fail(job.address + 24, 8, response)
    await fails(environment, job, code, Place.DESCRIPTOR, record=False, tag=0)
    heal()
    await check_good_job(environment, program)

    size = len(program.image())
    for where in (0, 56, 120, 128, size // 2, size - 8):
        job = environment.load_job(program, 1)
        fail(job.descriptor["source"] + where, 8, response)
        await fails(environment, job, code, Place.PROGRAM)
        assert (await environment.read("status"))["slots"] == 0b01
        heal()
        await check_good_job(environment, program)

    for where in (0, 8 * (program.source_words - 1)):
        job = environment.infer_job(program)
        fail(job.descriptor["source"] + where, 8, response)
        await fails(environment, job, code, Place.INPUT)
        heal()
        await check_good_job(environment, program)

    for where in (0, program.output_bytes - 8):
        job = environment.infer_job(program)
        fail(job.descriptor["output"] + where, 8, response)
        await fails(environment, job, code, Place.OUTPUT, layer=program.layer)
        heal()
        await check_good_job(environment, program)

    job = environment.infer_job(program)
    fail(job.descriptor["result"], 64, response)
    done = await environment.counter("jobs_done")
    await environment.ring(job)
    await environment.idle()
    heal()
    assert await environment.counter("jobs_done") == done + 1
    await check_error(environment, code, Place.RESULT, job.descriptor["tag"], layer=program.layer)
    await check_good_job(environment, program)


@cocotb.test(**LIMIT)
async def bad_descriptors_are_refused(dut):
    environment = await begin(dut, 11)
    program = await loaded(environment)
    bad, off = ErrorCode.BAD_DESCRIPTOR, ErrorCode.MISALIGNED
    capacity = CONFIG.pixels * CONFIG.bank_words
    for values in ({"magic": 0x4A44}, {"version": 2}, {"magic": 0, "kind": 0}):
        job = environment.infer_job(program, **values)
        await fails(environment, job, bad, Place.DESCRIPTOR, record=False, tag=0)
        await check_good_job(environment, program)
    for values in (
        {"kind": 0},
        {"kind": 3},
        {"kind": 0x82},
        {"slot": CONFIG.program_slots},
        {"slot": 255},
        {"kind": JobKind.LOAD, "slot": CONFIG.program_slots},
        {"probe": 1, "probe_count": capacity + 1, "probe_blocks": 1},
    ):
        job = environment.infer_job(program, **values)
        await fails(environment, job, bad, Place.DESCRIPTOR)
    for values in ({"source": 0x1004}, {"output": 0x1001}):
        job = environment.infer_job(program, **values)
        await fails(environment, job, off, Place.DESCRIPTOR)
    job = environment.infer_job(program)
    job = environment.job(job.descriptor | {"result": job.descriptor["result"] + 4}, program)
    await fails(environment, job, off, Place.DESCRIPTOR, record=False)
    # A LOAD writes nothing: its output address does not matter.
    job = environment.load_job(program, output=0x1003)
    await environment.run(job)
    environment.check_right(job)

    job = environment.infer_job(program, slot=1)
    await fails(environment, job, ErrorCode.EMPTY_SLOT, Place.DESCRIPTOR)
    for words in (0, program.source_words - 1, program.source_words + 1, 0xFFFF_FFFF):
        job = environment.infer_job(program, source_words=words)
        await fails(environment, job, ErrorCode.WRONG_SIZE, Place.DESCRIPTOR)
    await check_good_job(environment, program)


@cocotb.test(**LIMIT)
async def bad_programs_are_refused(dut):
    environment = await begin(dut, 12, 0.1)
    program = await loaded(environment)
    instructions = len(program.instructions)
    shape = {
        name: getattr(CONFIG, name) + 1
        for name in ("output_channels", "input_channels", "pixels", "requantize_channels")
    }
    words = len(program.image()) // 8
    too_large, size = ErrorCode.PROGRAM_TOO_LARGE, ErrorCode.WRONG_SIZE

    async def refused(code, header=None, image=None, **values):
        wrong = program.at(header=header or {})
        job = environment.load_job(wrong, 1, image, **values)
        await fails(environment, job, code, Place.PROGRAM)
        assert (await environment.read("status"))["slots"] == 0b01

    for header in ({"magic": 0x56415944}, {"version": 1}, {"version": 3}):
        await refused(ErrorCode.BAD_PROGRAM, header)
    for name, value in shape.items():
        await refused(ErrorCode.WRONG_SHAPE, {name: value})
    await refused(ErrorCode.WRONG_SHAPE, {"input_skip_r": CONFIG.pixels})
    await check_good_job(environment, program)

    for values in (
        {"instruction_base": CONFIG.instruction_words - instructions + 1},
        {"weight_base": CONFIG.weight_rows - program.weight_rows + 1},
        {"parameter_base": CONFIG.parameter_rows - program.parameter_rows + 1},
        {"parameter_base": 0xFFFF},
    ):
        await refused(too_large, **values)
    for header in (
        {"weight_rows": 0xFFFF},
        {"source_words": CONFIG.activation_bytes // 8 + 1},
        {"output_count": CONFIG.pixels * CONFIG.bank_words + 1},
    ):
        await refused(too_large, header)
    for header in (
        {"image_words": words + 1},
        {"image_words": 0},
        {"instruction_words": instructions + 1},
        {"weight_rows": program.weight_rows + 1},
        {"parameter_rows": program.parameter_rows - 1},
        {"source_words": 0},
    ):
        await refused(size, header)
    await refused(size, source_words=words - 1)
    await refused(size, {"image_words": words + 1}, source_words=words + 1)
    await check_good_job(environment, program)

    image = program.image()
    for byte in (40, 64, 128, len(image) // 2, len(image) - 9, len(image) - 8, len(image) - 5):
        damaged = bytearray(image)
        damaged[byte] ^= 0x10
        await refused(ErrorCode.BAD_CRC, image=bytes(damaged))
    await check_good_job(environment, program)

    # The image may end where the memories do, and a failed load leaves no program behind.
    last = {
        "instruction_base": CONFIG.instruction_words - instructions,
        "weight_base": CONFIG.weight_rows - program.weight_rows,
        "parameter_base": CONFIG.parameter_rows - program.parameter_rows,
    }
    at_end = await loaded(environment, 1, **last)
    await check_good_job(environment, at_end, 1)
    await refused_reload(environment, at_end)
    await check_good_job(environment, program)


async def refused_reload(environment, program):
    damaged = bytearray(program.image())
    damaged[-1 - 8] ^= 1
    job = environment.load_job(program, 1, bytes(damaged))
    await fails(environment, job, ErrorCode.BAD_CRC, Place.PROGRAM)
    job = environment.infer_job(program, 1)
    await fails(environment, job, ErrorCode.EMPTY_SLOT, Place.DESCRIPTOR)


@cocotb.test(**LIMIT)
async def empty_sections_and_empty_maps_do_not_hang(dut):
    environment = await begin(dut, 13)
    program = await loaded(environment)
    nothing = program.at(weight_rows=0, parameter_rows=0)
    job = environment.load_job(nothing, 1)
    await environment.run(job)
    environment.check_right(job)
    for header in ({"output_count": 0}, {"output_blocks": 0}):
        silent = program.at(header=header)
        job = environment.load_job(silent, 1)
        await environment.run(job)
        environment.check_right(job)
        job = environment.infer_job(silent, 1)
        await environment.run(job)
        output = job.descriptor["output"]
        data = environment.memory.data[output : output + silent.output_bytes]
        assert data == b"\xee" * silent.output_bytes, "an empty map was written"
        assert environment.record(job)["code"] == 0
    await check_good_job(environment, await loaded(environment))


@cocotb.test(**LIMIT)
@cocotb.parametrize(
    header=[
        {"input_height": 4},
        {"input_height": 6},
        {"input_width": 3},
        {"input_channels_count": 4},
        {"input_channels_count": 2},
        {"input_height": 0},
        {"input_width": 0},
        {"input_channels_count": 0},
    ]
)
async def picture_of_another_size_is_noticed(dut, header):
    environment = await begin(dut, 14, 0.2)
    program = Program(CONFIG, environment.rng, height=5, width=7, channels=3)
    wrong = program.at(header=header)
    job = environment.load_job(wrong)
    await environment.run(job)
    environment.check_right(job)
    await fails(environment, environment.infer_job(wrong), ErrorCode.WRONG_SIZE, Place.INPUT)
    await check_good_job(environment, await loaded(environment))


@cocotb.test(**LIMIT)
async def engine_errors_are_passed_on(dut):
    environment = await begin(dut, 15)
    broken = await loaded(environment, code=ErrorCode.BAD_INSTRUCTION, layer=9)
    job = environment.infer_job(broken)
    await fails(environment, job, ErrorCode.BAD_INSTRUCTION, Place.COMPUTE, layer=9)
    output = job.descriptor["output"]
    data = environment.memory.data[output : output + broken.output_bytes]
    assert data == b"\xee" * broken.output_bytes, "the output of a failed program was written"
    await check_good_job(environment, await loaded(environment))


@cocotb.test(**LIMIT)
async def doorbell_drops_what_it_cannot_queue(dut):
    environment = await begin(dut, 16)
    program = await loaded(environment, cycles=2000)
    jobs = [environment.infer_job(program, interrupt=0) for _ in range(CONFIG.queue_depth + 5)]
    kept = CONFIG.queue_depth + 2  # one runs, one is read
    await environment.ring(jobs[0])
    await ClockCycles(dut.aclk, 500)
    await environment.ring(jobs[1])
    await ClockCycles(dut.aclk, 500)
    await environment.ring(*jobs[2:])
    assert (await environment.read("status"))["queued"] == CONFIG.queue_depth
    await check_error(environment, ErrorCode.QUEUE_FULL, Place.DOORBELL, 0, count=len(jobs) - kept)
    coverage.hit("queue full")
    done = await environment.counter("jobs_done")
    for job in jobs[:kept]:
        await environment.ended(job)
        environment.check_right(job)
    await environment.idle()
    assert done == 1
    assert await environment.counter("jobs_done") == kept + 1
    for job in jobs[kept:]:
        assert not any(environment.record(job).values()), "a dropped job was run"

    await environment.write("doorbell", address=jobs[0].address + 4)
    await check_error(environment, ErrorCode.MISALIGNED, Place.DOORBELL, 0)
    assert await environment.counter("jobs_done") == kept + 1
    await environment.check_at_rest()


@cocotb.test(**LIMIT)
async def first_error_stays_and_the_count_saturates(dut):
    environment = await begin(dut, 17)
    first, second = (
        environment.infer_job(Program(CONFIG, environment.rng), slot) for slot in (1, 2)
    )
    await environment.run(first, second)
    error = await environment.read("error")
    assert (error["code"], error["count"]) == (ErrorCode.EMPTY_SLOT, 2), error
    assert (await environment.read("error_tag"))["tag"] == first.descriptor["tag"]
    for _ in range(260):
        await environment.write("doorbell", address=1)
    await check_error(
        environment, ErrorCode.EMPTY_SLOT, Place.DESCRIPTOR, first.descriptor["tag"], count=255
    )
    await environment.check_at_rest()


@cocotb.test(**LIMIT)
async def interrupts_follow_their_causes(dut):
    environment = await begin(dut, 18)
    program = await loaded(environment)
    assert await environment.read("interrupt_status") == {"done": 1, "error": 0}
    assert not dut.interrupt.value
    await environment.write("interrupt_enable", done=1, error=1)
    await ClockCycles(dut.aclk, 3)
    assert dut.interrupt.value
    await environment.write("interrupt_status", done=1)
    await ClockCycles(dut.aclk, 3)
    assert not dut.interrupt.value

    await environment.run(environment.infer_job(program, interrupt=0))
    assert not dut.interrupt.value, "an interrupt that nobody asked for"
    job = environment.infer_job(program)
    await environment.ring(job)
    while not dut.interrupt.value:
        await ClockCycles(dut.aclk, 1)
    environment.check_right(job)  # the record is there before the interrupt
    await environment.write("interrupt_status", done=1)

    await environment.run(environment.infer_job(program, slot=1, interrupt=0))
    await ClockCycles(dut.aclk, 3)
    assert dut.interrupt.value
    assert await environment.read("interrupt_status") == {"done": 0, "error": 1}
    await environment.write("interrupt_status", error=1)
    await environment.check_at_rest()
    assert not dut.interrupt.value


@cocotb.test(**LIMIT)
async def counters_count(dut):
    environment = await begin(dut, 19)
    program = await loaded(environment, cycles=700)
    await environment.write("control", clear_counters=1)
    names = (
        "jobs_done", "busy_cycles", "core_cycles", "array_cycles", "input_wait_cycles",
        "read_beats", "read_wait_cycles", "write_beats", "write_wait_cycles",
    )  # fmt: skip
    assert [await environment.counter(name) for name in names] == [0] * len(names)
    jobs = [environment.infer_job(program) for _ in range(2)]
    records = [(await environment.run(job))[0] for job in jobs]
    found = {name: await environment.counter(name) for name in names}
    assert found["jobs_done"] == 2
    assert found["read_beats"] == 2 * (8 + program.source_words)
    assert found["write_beats"] == 2 * (8 + program.output_bytes // 8)
    assert found["core_cycles"] == sum(record["core_cycles"] for record in records)
    assert records[0]["core_cycles"] == records[1]["core_cycles"] > program.cycles
    assert found["array_cycles"] == 2 * 2 * program.count * program.output_blocks
    for record in records:
        assert record["core_cycles"] < record["job_cycles"]
    assert found["core_cycles"] < sum(r["job_cycles"] for r in records) < found["busy_cycles"]
    assert 0 < found["input_wait_cycles"] < found["busy_cycles"] - found["core_cycles"]
    assert 0 < found["read_wait_cycles"] < found["busy_cycles"]
    environment.memory.pause(0.8)
    await environment.run(environment.infer_job(program))
    slow = await environment.counter("read_wait_cycles") - found["read_wait_cycles"]
    assert slow > 3 * found["read_wait_cycles"] // 2
    held = await environment.counter("write_wait_cycles") - found["write_wait_cycles"]
    assert held > program.output_bytes // 8, f"{held} cycles held up at one beat in five"
    await environment.check_at_rest()


def burst(environment, channel, start, size=8):
    """A task that ends when a burst begins in this range."""
    dut = environment.dut
    valid, address = getattr(dut, f"m_axi_{channel}valid"), getattr(dut, f"m_axi_{channel}addr")
    return cocotb.start_soon(
        environment.wait_until(
            lambda: valid.value and start <= int(address.value) < start + size,
            f"{channel} burst at {start:#x}",
        )
    )


PHASES = (
    "descriptor", "header", "image", "wait for runner", "wait for region", "picture", "compute",
    "output",
)  # fmt: skip


class Scene:
    """A program that is loaded, and jobs on their way into one of the ``PHASES``."""

    async def set_up(self, environment):
        self.environment = environment
        sizes = {"height": 6, "width": 8, "channels": 2 * CONFIG.input_channels}
        self.program = await loaded(environment, cycles=2000, **sizes)
        base = {"instruction_base": 3, "weight_base": 3, "parameter_base": 2}
        self.other = Program(CONFIG, environment.rng, weight_rows=9, **base)
        self.infer = environment.infer_job(self.program)
        self.load = environment.load_job(self.other, 1)
        self.behind = [environment.infer_job(self.program) for _ in range(3)]

    async def play(self, phase):
        """Ring four jobs and wait until they are in ``phase``; return the first one, and where an
        abort finds it."""
        environment = self.environment
        infer, load, behind = self.infer, self.load, self.behind
        image = load.descriptor["source"]
        sign, job, place = {
            "descriptor": (("ar", infer.address), infer, Place.DESCRIPTOR),
            "header": (("ar", image), load, Place.PROGRAM),
            "image": (("ar", image + 64, len(self.other.image()) - 64), load, Place.PROGRAM),
            "picture": (("ar", infer.descriptor["source"]), infer, Place.INPUT),
            "wait for runner": (("ar", load.address), infer, Place.COMPUTE),
            "wait for region": (("ar", behind[0].address), infer, Place.COMPUTE),
            "compute": (("ar", behind[0].address), infer, Place.COMPUTE),
            "output": (("aw", infer.descriptor["output"]), infer, Place.OUTPUT),
        }[phase]
        met = burst(environment, *sign)
        queue = [infer, load, *behind[:2]] if phase == "wait for runner" else [job, *behind]
        await environment.ring(*queue)
        await met
        if phase.startswith("wait"):
            await ClockCycles(environment.dut.aclk, 300)
        elif phase == "compute":
            await environment.wait_until(lambda: environment.dut.running.value, "the engine")
        return job, place

    async def check_afterwards(self, slots):
        """Slots hold what they should; what is loaded still runs, the rest can be loaded."""
        environment = self.environment
        assert (await environment.read("status"))["slots"] == slots
        environment.memory.pause(0.0)
        if not slots:
            await environment.run(environment.load_job(self.program))
        await check_good_job(environment, self.program)
        job = environment.load_job(self.other, 1)
        await environment.run(job)
        environment.check_right(job)
        await check_good_job(environment, self.other, 1)


@cocotb.test(**LIMIT)
@cocotb.parametrize(phase=PHASES)
async def abort_ends_everything_in_every_phase(dut, phase):
    environment = await begin(dut, 20, 0.5)
    scene = Scene()
    await scene.set_up(environment)
    done = await environment.counter("jobs_done")
    job, place = await scene.play(phase)
    await environment.write("control", abort=1)
    await environment.idle()
    layer = scene.program.layer if place == Place.OUTPUT else 0
    await check_error(environment, ErrorCode.ABORTED, place, job.descriptor["tag"], layer=layer)
    assert await environment.counter("jobs_done") == done + 4, "each job rung ends once"
    for given_up in (scene.infer, scene.load, *scene.behind):
        assert not any(environment.record(given_up).values()), "an aborted job has a record"
    await environment.check_at_rest()
    await scene.check_afterwards(slots=0b01)


@cocotb.test(**LIMIT)
@cocotb.parametrize(phase=PHASES)
async def reset_in_a_job_leaves_nothing_behind(dut, phase):
    environment = await begin(dut, 21, 0.5)
    scene = Scene()
    await scene.set_up(environment)
    await scene.play(phase)
    dut.aresetn.value = 0
    await ClockCycles(dut.aclk, 5)
    dut.aresetn.value = 1
    await ClockCycles(dut.aclk, 5)
    coverage.hit("reset in a job")
    assert await environment.read("status") == {"idle": 1, "aborting": 0, "queued": 0, "slots": 0}
    for name in ("jobs_done", "busy_cycles", "read_beats", "write_beats"):
        assert await environment.counter(name) == 0, f"{name} after the reset"
    assert not any((await environment.read("error")).values())
    await scene.check_afterwards(slots=0)


@cocotb.test(**LIMIT)
async def abort_at_any_moment(dut):
    environment = await begin(dut, 22, 0.1)
    program = await loaded(environment, cycles=60, release=3)
    whole = given_up = 0
    for _ in range(25):
        jobs = [environment.infer_job(program) for _ in range(3)]
        jobs.insert(1, environment.load_job(program, 1))
        await environment.ring(*jobs)
        await ClockCycles(dut.aclk, int(environment.rng.integers(1, 900)))
        await environment.write("control", abort=1)
        await environment.idle()
        records = [bool(environment.record(job)["magic"]) for job in jobs]
        assert records == sorted(records, reverse=True), f"jobs ended out of order: {records}"
        for job, written in zip(jobs, records, strict=True):
            if written:
                environment.check_right(job)
        error = await environment.read("error")
        expected = (0, 0) if all(records) else (ErrorCode.ABORTED, 1)
        assert (error["code"], error["count"]) == expected, f"{error} with records {records}"
        await environment.write("control", clear_error=1)
        whole += sum(records)
        given_up += len(records) - sum(records)
    assert min(whole, given_up) > 10, f"{whole} jobs ended, {given_up} were given up"
    done = await environment.counter("jobs_done")
    assert done == 1 + whole + given_up, f"{done} jobs done"
    await environment.write("interrupt_status", error=1, done=1)
    await check_good_job(environment, program)


@cocotb.test(**LIMIT)
async def abort_of_nothing_is_nothing(dut):
    environment = await begin(dut, 23)
    program = await loaded(environment)
    await environment.write("control", abort=1)
    assert not any((await environment.read("error")).values())
    await check_good_job(environment, program)


@cocotb.test()
async def every_bin_was_met(dut):
    coverage.check()
