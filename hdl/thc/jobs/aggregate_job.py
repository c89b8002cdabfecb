"""AGGREGATE: contributions from memory through the lanes, sums to memory."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, stream, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.thc.config import ThcConfig
from eyas.interfaces.thc.registers import DESCRIPTOR, RESULT
from hdl.parts.axi import BYTES_PER_BEAT
from hdl.parts.burst_reader import worse
from hdl.parts.layout import field_shape
from hdl.parts.memory_ports import ReadPort, WritePort, bus_error
from hdl.parts.stream import StreamFifo
from hdl.thc.jobs.job_table import limits_layout
from hdl.thc.lanes.packet_adder import PacketAdder
from hdl.thc.lanes.packets import Emit
from hdl.thc.lanes.row_words import WORD_BITS, RowWords
from hdl.thc.lanes.table_lookup import TableWritePort

__all__ = ["AggregateJob", "aggregation_layout"]

aggregation_layout = data.StructLayout(
    {
        "source": field_shape(DESCRIPTOR, "source"),
        "stride": field_shape(DESCRIPTOR, "stride"),
        "words": field_shape(DESCRIPTOR, "count"),
        "output": field_shape(DESCRIPTOR, "output"),
        "workers": field_shape(DESCRIPTOR, "workers"),
        "job": field_shape(DESCRIPTOR, "job"),
        "wide": limits_layout["wide"].shape,
    }
)
"""What to add: fields of the descriptor, and the training job's width of sums."""


class AggregateJob(wiring.Component):
    """Adds the contributions of all workers, packet by packet.

    A contribution is cut into packets that fill a slot.  Each packet is read from worker after
    worker, the first stored, the others added, the sums let out with the last: contributions lie
    apart in memory, sums leave in order.  Slots are used in turn.

    Parameters
    ----------
    config : ThcConfig
        Widths and depths; the width is that of the bus, 64.

    Members
    -------
    start : In(stream of aggregation_layout)
        What to add: at least a word of at least a worker; held until it is taken, at the end.
    done : Out
        With ``start.ready``: ThcCode, BUS_SLAVE or BUS_DECODE, the worst answer.
    table : In(TableWritePort)
        Sets a job's table.
    read, write : Out(ReadPort), Out(WritePort)
        Memory.
    offered, taken : Out(1)
        The lanes are offered a beat, and take it.
    """

    def __init__(self, config: ThcConfig):
        if config.width != WORD_BITS:
            raise ValueError(f"Lanes behind a 64-bit bus are 64 bits wide, not {config.width}")
        self.config = config
        self.adder = PacketAdder(config)
        self.row_words = RowWords(config)
        super().__init__(
            {
                "start": In(stream.Signature(aggregation_layout)),
                "done": Out(field_shape(RESULT, "code")),
                "table": In(TableWritePort(config)),
                "read": Out(ReadPort()),
                "write": Out(WritePort()),
                "offered": Out(1),
                "taken": Out(1),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config

        m.submodules.adder = adder = self.adder
        m.submodules.row_words = row_words = self.row_words
        wiring.connect(m, wiring.flipped(self.table), adder.table)
        wiring.connect(m, adder.o, row_words.i)
        job = self.start.p
        longest = Mux(job.wide, config.packet_beats(True), config.packet_beats(False))

        # Packets on their way through the lanes whose sums have yet to be asked room for.
        emitted = StreamFifo(range(config.packet_beats(False) + 1), 4)
        m.submodules.emitted = emitted
        asked = Signal()
        fed = Signal()
        self._ask(m, job, longest, asked)
        self._feed(m, job, emitted.i, fed)
        unanswered = self._write(m, job, emitted.o)

        # Answers.
        unread = Signal(4)
        worst = Signal(2)
        request = self.read.request
        m.d.sync += unread.eq(unread + (request.valid & request.ready) - self.read.response.valid)
        m.d.comb += [self.read.response.ready.eq(1), self.write.response.ready.eq(1)]
        read_worst, write_worst = (
            Mux(port.response.valid, port.response.p.code, 0) for port in (self.read, self.write)
        )
        m.d.comb += [
            self.done.eq(bus_error(worst)),
            self.start.ready.eq(
                asked & fed & adder.idle & ~emitted.o.valid & (unread == 0) & (unanswered == 0)
            ),
            self.offered.eq(adder.i.valid),
            self.taken.eq(adder.i.valid & adder.i.ready),
        ]
        with m.If(self.start.valid & self.start.ready):
            m.d.sync += [worst.eq(0), asked.eq(0), fed.eq(0)]
        with m.Else():
            m.d.sync += worst.eq(worse(worse(worst, read_worst), write_worst))

        return m

    def _ask(self, m, job, longest, asked):
        """Ask the memory for packet after packet, each from all workers."""
        request = self.read.request
        base = Signal(32, reset_less=True)
        address = Signal(32, reset_less=True)
        left = Signal(32, reset_less=True)
        worker = Signal(8, reset_less=True)
        beats = Signal(range(self.config.packet_beats(False) + 1))
        m.d.comb += [
            beats.eq(Mux(left < longest, left, longest)),
            request.p.address.eq(address),
            request.p.beats.eq(beats),
        ]
        with m.FSM(name="ask"):
            with m.State("IDLE"):
                m.d.sync += [
                    base.eq(job.source),
                    address.eq(job.source),
                    left.eq(job.words),
                    worker.eq(1),
                ]
                with m.If(self.start.valid & ~asked):
                    m.next = "ASK"
            with m.State("ASK"):
                m.d.comb += request.valid.eq(1)
                with m.If(request.ready):
                    m.d.sync += [worker.eq(worker + 1), address.eq(address + job.stride)]
                    with m.If(worker == job.workers):
                        m.d.sync += [
                            worker.eq(1),
                            base.eq(base + longest * BYTES_PER_BEAT),
                            address.eq(base + longest * BYTES_PER_BEAT),
                            left.eq(left - beats),
                        ]
                        with m.If(left == beats):
                            m.d.sync += asked.eq(1)
                            m.next = "IDLE"

    def _feed(self, m, job, emitted, fed):
        """Put headers to the packets that come, in the order in which they were asked for."""
        config = self.config
        beats, i = self.read.beats, self.adder.i
        worker = Signal(8, init=1)
        slot = Signal(ceil_log2(config.slots))
        first = Signal(init=1)
        count = Signal(range(config.packet_beats(False) + 1), init=1)
        fed_words = Signal.like(self.start.p.words)
        final = worker == job.workers
        m.d.comb += [
            i.p.header.slot.eq(slot),
            i.p.header.job.eq(job.job),
            i.p.header.wide.eq(job.wide),
            i.p.header.store.eq(worker == 1),
            i.p.header.emit.eq(Mux(final, Emit.SUM, Emit.NONE)),
            i.p.first.eq(first),
            i.p.last.eq(beats.p.last),
            i.p.data.eq(beats.p.data),
            # The last beat waits for room to tell of the packet's end.
            i.valid.eq(beats.valid & (~beats.p.last | emitted.ready)),
            beats.ready.eq(i.ready & (~beats.p.last | emitted.ready)),
            emitted.payload.eq(count),
        ]
        with m.If(~self.start.valid):
            m.d.sync += fed_words.eq(0)
        with m.Elif(i.valid & i.ready):
            m.d.sync += [first.eq(beats.p.last), count.eq(count + 1)]
            with m.If(beats.p.last):
                m.d.sync += [count.eq(1), worker.eq(worker + 1)]
                with m.If(final):
                    m.d.comb += emitted.valid.eq(1)
                    m.d.sync += [worker.eq(1), slot.eq(slot + 1), fed_words.eq(fed_words + count)]
                    with m.If(fed_words + count == job.words):
                        m.d.sync += fed.eq(1)

    def _write(self, m, job, emitted):
        """Write each packet's rows; returns how many requests are not answered."""
        config = self.config
        request = self.write.request
        row_bytes = config.row_bits // 8
        target = Signal(32, reset_less=True)
        begun = Signal()
        unanswered = Signal(8)
        rows = Mux(job.wide, emitted.payload, (emitted.payload + 1) >> 1)
        asks = request.valid & request.ready
        m.d.comb += [
            request.p.address.eq(Mux(begun, target, job.output)),
            request.p.beats.eq(rows * (row_bytes // BYTES_PER_BEAT)),
            request.valid.eq(emitted.valid & ~unanswered.all()),
            emitted.ready.eq(asks),
            self.write.beats.valid.eq(self.row_words.o.valid),
            self.write.beats.p.data.eq(self.row_words.o.payload),
            self.row_words.o.ready.eq(self.write.beats.ready),
        ]
        m.d.sync += unanswered.eq(unanswered + asks - self.write.response.valid)
        with m.If(asks):
            m.d.sync += [begun.eq(1), target.eq(request.p.address + config.slot_bytes)]
        with m.Elif(self.start.ready):
            m.d.sync += begun.eq(0)
        return unanswered
