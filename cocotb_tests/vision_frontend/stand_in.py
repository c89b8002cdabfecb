"""A small engine that behaves as :class:`hdl.vision.interfaces.EnginePort` says, and tells when the
front end does not."""

from amaranth.hdl import Cat, Module, Mux, Signal
from amaranth.lib import data, memory, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.registers import VISION_REGISTERS
from hdl.parts.axi import Axi4, AxiLite
from hdl.vision.frontend import LAYER_COUNTERS, FrontEnd
from hdl.vision.interfaces import EnginePort, parameter_layout
from hdl.vision.linear import bank_bits

__all__ = ["NEVER", "FrontEndWithStandIn", "StandInEngine", "instruction_layout"]

NEVER = 0xFFFF
"""Value of ``release`` with which the input region is not released."""

IDLE, FETCH, COPY, WAIT, FINISH = range(5)

instruction_layout = data.StructLayout(
    {
        "in_base": 16,
        "in_plane": 16,
        "out_base": 16,
        "out_plane": 16,
        "count": 24,
        "blocks": 8,
        "cycles": 16,
        "release": 16,
        "code": 8,
        "layer": 8,
        "_reserved": 48,
    }
)
"""The stand-in's whole program, three words: copy ``count`` words of each of ``blocks`` planes,
adding to every byte a constant made of the first weight, the first bias and the probed layer;
then release the input after ``release`` cycles, and finish after ``cycles`` with ``code`` and
``layer``."""


class StandInEngine(wiring.Component):
    """Memories behind the port, and a state machine that copies.

    Members
    -------
    port : In(EnginePort)
        As the engine's.
    violation : Out(1)
        Sticky: the front end broke a rule of the port.
    running : Out(1)
        A program runs.
    overlap : Out(32)
        Words of pictures taken while a program ran.
    peek_address : In(20)
        Address in ``peek_*``, three cycles before.
    peek_instruction, peek_weight, peek_parameter : Out
        Program memories: words, rows × columns.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "port": In(EnginePort(config)),
                "violation": Out(1),
                "running": Out(1),
                "overlap": Out(32),
                "peek_address": In(20),
                "peek_instruction": Out(64),
                "peek_weight": Out(config.word_bits),
                "peek_parameter": Out(parameter_layout.size),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        port = self.port

        def storage(name, width, depth):
            part = memory.Memory(shape=width, depth=depth, init=[])
            m.submodules[name] = part
            return part.write_port(), part.read_port(domain="sync"), part.read_port(domain="sync")

        columns = 1 << ceil_log2(config.output_channels)
        lanes = 1 << ceil_log2(config.requantize_channels)
        banks = 1 << bank_bits(config)
        word_write, word_read, store_read = storage(
            "words", config.word_bits, config.bank_words * banks
        )
        instruction_write, instruction_read, instruction_peek = storage(
            "instructions", 64, config.instruction_words
        )
        weight_write, weight_read, weight_peek = storage(
            "weights", config.word_bits, config.weight_rows * columns
        )
        parameter_write, parameter_read, parameter_peek = storage(
            "parameters", parameter_layout.size, config.parameter_rows * lanes
        )

        m.d.comb += [
            instruction_write.en.eq(port.instruction_write.enable),
            instruction_write.addr.eq(port.instruction_write.address),
            instruction_write.data.eq(port.instruction_write.data),
            weight_write.en.eq(port.weight_write.enable),
            weight_write.addr.eq(port.weight_write.row * columns + port.weight_write.column),
            weight_write.data.eq(port.weight_write.data),
            parameter_write.en.eq(port.parameter_write.enable),
            parameter_write.addr.eq(port.parameter_write.row * lanes + port.parameter_write.column),
            parameter_write.data.eq(port.parameter_write.data.as_value()),
        ]
        for read, value in (
            (instruction_peek, self.peek_instruction),
            (weight_peek, self.peek_weight),
            (parameter_peek, self.peek_parameter),
        ):
            m.d.comb += [read.addr.eq(self.peek_address), value.eq(read.data), read.en.eq(1)]

        # The map's way out: address, memory, two more registers.
        second = Signal(config.word_bits)
        m.d.comb += [
            store_read.addr.eq(Cat(port.store.address, port.store.bank)),
            store_read.en.eq(1),
        ]
        m.d.sync += [second.eq(store_read.data), port.store.data.eq(second)]

        for index, name in enumerate(LAYER_COUNTERS):
            m.d.comb += getattr(port, name).eq(port.layer_select * 8 + index)

        # One phase after the other; an abort goes back to the first.
        phase = Signal(range(FINISH + 1))
        time = Signal(16)
        request = Signal.like(port.start.p)
        instruction = Signal(instruction_layout)
        addend = Signal(8)
        block = Signal(8)
        left = Signal(24)
        bank = Signal(bank_bits(config))
        q = Signal(16)
        in_base = Signal(16)
        out_base = Signal(16)
        released = Signal()

        def in_bank(address):
            return Cat((address)[: ceil_log2(config.bank_words)], bank)

        copied = Signal(config.word_bits)
        for i in range(config.input_channels):
            byte = word_read.data[8 * i : 8 * (i + 1)]
            m.d.comb += copied[8 * i : 8 * (i + 1)].eq(byte + addend)

        # Copying has the write port before pictures have; now and then nobody has it.
        noise = Signal(16, init=0xACE1)
        m.d.sync += noise.eq(Cat(noise[15] ^ noise[13] ^ noise[12] ^ noise[10], noise))
        copies = (phase == COPY) & (time == 1)
        m.d.comb += [
            port.load.ready.eq((phase != COPY) & (noise[:2] != 0)),
            word_write.en.eq(copies | (port.load.valid & port.load.ready)),
            word_write.addr.eq(
                Mux(
                    copies,
                    in_bank(out_base + q),
                    Cat(port.load.p.address, port.load.p.bank),
                )
            ),
            word_write.data.eq(Mux(copies, copied, port.load.p.data)),
            word_read.en.eq(1),
            word_read.addr.eq(in_bank(in_base + q)),
            instruction_read.en.eq(1),
            instruction_read.addr.eq(request.instruction_base + time),
            weight_read.en.eq(1),
            weight_read.addr.eq(request.weight_base * columns),
            parameter_read.en.eq(1),
            parameter_read.addr.eq(request.parameter_base * lanes),
            port.start.ready.eq((phase == IDLE) & noise[3]),
            port.running.eq((phase != IDLE) & (phase != FINISH)),
            self.running.eq(port.running),
            port.array_active.eq(phase == COPY),
            port.finish.valid.eq(phase == FINISH),
            port.finish.p.code.eq(instruction.code),
            port.finish.p.layer.eq(instruction.layer),
        ]
        m.d.sync += time.eq(time + 1)
        with m.Switch(phase):
            with m.Case(IDLE):
                m.d.sync += [request.eq(port.start.p), time.eq(0), released.eq(0)]
                with m.If(port.start.valid & port.start.ready):
                    m.d.sync += phase.eq(FETCH)
            with m.Case(FETCH):
                for word in range(3):
                    with m.If(time == word + 1):
                        m.d.sync += instruction.as_value()[64 * word : 64 * (word + 1)].eq(
                            instruction_read.data
                        )
                m.d.sync += [
                    addend.eq(
                        1
                        + weight_read.data[:8]
                        + parameter_read.data[:8]
                        + Mux(request.probe, request.probe_layer + 1, 0)
                    ),
                    in_base.eq(instruction.in_base),
                    out_base.eq(instruction.out_base),
                    left.eq(instruction.count),
                    block.eq(0),
                    q.eq(0),
                    bank.eq(0),
                ]
                with m.If(time == 5):
                    m.d.sync += [phase.eq(COPY), time.eq(0)]
            with m.Case(COPY), m.If(time == 1):
                m.d.sync += [time.eq(0), left.eq(left - 1), bank.eq(bank + 1)]
                with m.If(bank == config.pixels - 1):
                    m.d.sync += [bank.eq(0), q.eq(q + 1)]
                with m.If(left == 1):
                    m.d.sync += [
                        left.eq(instruction.count),
                        block.eq(block + 1),
                        bank.eq(0),
                        q.eq(0),
                        in_base.eq(in_base + instruction.in_plane),
                        out_base.eq(out_base + instruction.out_plane),
                    ]
                    with m.If(block == instruction.blocks - 1):
                        m.d.sync += phase.eq(WAIT)
            with m.Case(WAIT):
                with m.If((time == instruction.release) & (instruction.release != NEVER)):
                    m.d.comb += port.release_input.eq(1)
                    m.d.sync += released.eq(1)
                with m.If(time == instruction.cycles):
                    m.d.sync += phase.eq(FINISH)
            with m.Case(FINISH), m.If(port.finish.ready):
                m.d.sync += phase.eq(IDLE)
        with m.If(port.abort):
            m.d.sync += phase.eq(IDLE)

        taken = port.load.valid & port.load.ready
        writing = (
            port.instruction_write.enable | port.weight_write.enable | port.parameter_write.enable
        )
        with m.If(taken & port.running):
            m.d.sync += self.overlap.eq(self.overlap + 1)
        with m.If(
            (taken & port.running & ~released)
            | (writing & port.running)
            | (taken & (port.load.p.bank >= config.pixels))
        ):
            m.d.sync += self.violation.eq(1)

        return m


class FrontEndWithStandIn(wiring.Component):
    """The design under test: the front end with the stand-in behind it."""

    def __init__(self, config: VisionConfig):
        self.front_end = FrontEnd(config)
        self.engine = StandInEngine(config)
        peeks = {
            name: member for name, member in self.engine.signature.members.items() if name != "port"
        }
        super().__init__(
            {
                "s_axi": In(AxiLite(ceil_log2(VISION_REGISTERS.size))),
                "m_axi": Out(Axi4()),
                "interrupt": Out(1),
                **peeks,
            }
        )

    def elaborate(self, platform):
        m = Module()
        m.submodules.front_end = front_end = self.front_end
        m.submodules.engine = engine = self.engine
        wiring.connect(m, front_end.engine, engine.port)
        wiring.connect(m, wiring.flipped(self.s_axi), front_end.s_axi)
        wiring.connect(m, front_end.m_axi, wiring.flipped(self.m_axi))
        m.d.comb += [
            self.interrupt.eq(front_end.interrupt),
            engine.peek_address.eq(self.peek_address),
        ]
        for name in (
            "violation", "running", "overlap", "peek_instruction", "peek_weight", "peek_parameter",
        ):  # fmt: skip
            m.d.comb += getattr(self, name).eq(getattr(engine, name))
        return m
