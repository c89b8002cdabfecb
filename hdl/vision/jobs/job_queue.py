"""The doorbell and the queue behind it."""

from amaranth.hdl import Module
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.records import ErrorCode, Place
from hdl.parts.stream import StreamFifo
from hdl.vision.job_layouts import report_layout

__all__ = ["JobQueue"]


class JobQueue(wiring.Component):
    """Queues the addresses of descriptors.

    An address that is not a multiple of 8, or that comes while the queue is full, is dropped and
    reported; there is room for one report, which is enough as long as reports are taken faster
    than AXI4-Lite writes come (2 cycles).

    Latency: 1 cycle from ``ring`` to ``o``.

    Members
    -------
    ring : In(1)
        High for one cycle: queue ``address``.
    address : In(32)
        Byte address of a descriptor.
    o : Out(stream of 32)
        Addresses in order.
    level : Out
        Addresses queued.
    reports : Out(stream of report_layout)
        Jobs dropped: MISALIGNED or QUEUE_FULL at DOORBELL.
    """

    def __init__(self, config: VisionConfig):
        self.queue = StreamFifo(32, config.queue_depth)
        super().__init__(
            {
                "ring": In(1),
                "address": In(32),
                "o": Out(stream.Signature(32)),
                "level": Out(range(config.queue_depth + 1)),
                "reports": Out(stream.Signature(report_layout)),
            }
        )

    def elaborate(self, platform):
        m = Module()

        m.submodules.queue = queue = self.queue
        wiring.connect(m, queue.o, wiring.flipped(self.o))
        aligned = self.address[:3] == 0
        m.d.comb += [
            queue.i.payload.eq(self.address),
            queue.i.valid.eq(self.ring & aligned),
            self.level.eq(queue.level),
        ]

        report = self.reports
        m.d.sync += report.p.place.eq(Place.DOORBELL)
        with m.If(report.ready):
            m.d.sync += report.valid.eq(0)
        with m.If(self.ring & ~aligned):
            m.d.sync += [report.valid.eq(1), report.p.code.eq(ErrorCode.MISALIGNED)]
        with m.Elif(self.ring & ~queue.i.ready):
            m.d.sync += [report.valid.eq(1), report.p.code.eq(ErrorCode.QUEUE_FULL)]

        return m
