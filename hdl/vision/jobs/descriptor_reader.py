"""Reads a job's descriptor and checks what can be checked without a program."""

from amaranth.hdl import Array, Cat, Module, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.records import (
    DESCRIPTOR,
    DESCRIPTOR_MAGIC,
    DESCRIPTOR_VERSION,
    ErrorCode,
    JobKind,
)
from hdl.parts.layout import record_layout
from hdl.parts.memory_ports import ReadPort, bus_error
from hdl.vision.job_layouts import RECORD_BEATS, plane_capacity

__all__ = ["DescriptorReader", "described_layout"]

described_layout = data.StructLayout(
    {"descriptor": record_layout(DESCRIPTOR), "code": 8, "recognised": 1, "has_record": 1}
)
"""Payload of :attr:`DescriptorReader.done`: the descriptor and the verdict on it.

Unless ``recognised`` (read without a bus error, magic and version right) no field means anything.
``has_record``: recognised, and the result record's address is aligned.
"""


class DescriptorReader(wiring.Component):
    """Reads a descriptor of 64 bytes and checks it.

    One ``done`` for each ``start``, with code BUS_SLAVE, BUS_DECODE, BAD_DESCRIPTOR (magic,
    version, kind, slot, or a probe larger than a plane can be), MISALIGNED (source, result, or an
    INFER's output) or 0.

    Latency: 5 cycles beside the memory's.

    Members
    -------
    start : In(stream of 32)
        Address of a descriptor.
    bus : Out(ReadPort)
        Memory.
    done : Out(stream of described_layout)
        The descriptor; held until taken, so that its user need not copy it.
    """

    def __init__(self, config: VisionConfig):
        self.config = config
        super().__init__(
            {
                "start": In(stream.Signature(32)),
                "bus": Out(ReadPort()),
                "done": Out(stream.Signature(described_layout)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        bus = self.bus

        words = Array(Signal(64, name=f"word{i}", reset_less=True) for i in range(RECORD_BEATS))
        index = Signal(range(RECORD_BEATS))
        descriptor = self.done.p.descriptor
        code = Signal(8)
        trusted = Signal()
        has_record = Signal()
        m.d.comb += [
            descriptor.as_value().eq(Cat(words)),
            self.done.p.code.eq(code),
            self.done.p.recognised.eq(trusted),
            self.done.p.has_record.eq(has_record),
        ]

        # One property a register, checked a cycle later.
        recognised = Signal()
        known_kind = Signal()
        probe_fits = Signal()
        inputs_aligned = Signal()
        result_aligned = Signal()
        is_infer = descriptor.kind == JobKind.INFER
        m.d.sync += [
            recognised.eq(
                (descriptor.magic == DESCRIPTOR_MAGIC) & (descriptor.version == DESCRIPTOR_VERSION)
            ),
            known_kind.eq(
                (is_infer | (descriptor.kind == JobKind.LOAD))
                & (descriptor.slot < self.config.program_slots)
            ),
            probe_fits.eq(
                ~(is_infer & descriptor.probe)
                | (descriptor.probe_count <= plane_capacity(self.config))
            ),
            inputs_aligned.eq(
                (descriptor.source[:3] == 0) & (~is_infer | (descriptor.output[:3] == 0))
            ),
            result_aligned.eq(descriptor.result[:3] == 0),
        ]

        with m.FSM():
            with m.State("IDLE"):
                m.d.comb += [
                    bus.request.valid.eq(self.start.valid),
                    bus.request.p.address.eq(self.start.payload),
                    bus.request.p.beats.eq(RECORD_BEATS),
                    self.start.ready.eq(bus.request.ready),
                ]
                m.d.sync += index.eq(0)
                with m.If(self.start.valid & self.start.ready):
                    m.next = "BEATS"
            with m.State("BEATS"):
                m.d.comb += bus.beats.ready.eq(1)
                with m.If(bus.beats.valid):
                    m.d.sync += [words[index].eq(bus.beats.p.data), index.eq(index + 1)]
                    with m.If(bus.beats.p.last):
                        m.next = "RESPONSE"
            with m.State("RESPONSE"):
                m.d.comb += bus.response.ready.eq(1)
                m.d.sync += [
                    code.eq(bus_error(bus.response.p.code)),
                    trusted.eq(0),
                    has_record.eq(0),
                ]
                with m.If(bus.response.valid):
                    m.next = "DONE"
                    with m.If(bus.response.p.code == 0):
                        m.next = "JUDGE"
            with m.State("JUDGE"):
                m.d.sync += [trusted.eq(recognised), has_record.eq(recognised & result_aligned)]
                with m.If(~recognised | ~known_kind | ~probe_fits):
                    m.d.sync += code.eq(ErrorCode.BAD_DESCRIPTOR)
                with m.Elif(~inputs_aligned | ~result_aligned):
                    m.d.sync += code.eq(ErrorCode.MISALIGNED)
                m.next = "DONE"
            with m.State("DONE"):
                m.d.comb += self.done.valid.eq(1)
                with m.If(self.done.ready):
                    m.next = "IDLE"

        return m
