"""What can be found out about a packet, or a look at a slot, without the slot's record."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.actions import SCAN
from eyas.interfaces.switch.config import WORD_BYTES, SwitchConfig
from eyas.interfaces.switch.packet import MAX_WORKERS, PacketKind
from hdl.switch.decide.decision import ClassifyPacket, GroupKind, packet_class_shape
from hdl.switch.decide.slot_choice import SlotChoice
from hdl.switch.decide.slot_records import key_layout
from hdl.switch.jobs.job_table import TrainingJobTable, TrainingJobWritePort
from hdl.switch.layouts import packet_layout, settings_layout, workers_shape

__all__ = ["PacketLookup", "found_layout", "look_layout"]


def look_layout(config: SwitchConfig) -> data.StructLayout:
    """A look at ``slot``, of a flush or not."""
    return data.StructLayout({"flush": 1, "slot": ceil_log2(config.slots)})


def found_layout(config: SwitchConfig) -> data.StructLayout:
    """A packet, or a look, with what was found out about its job.

    Members
    -------
    packet : packet_layout
        The packet.
    beats
        Beats of its payload; 0 for a look.
    key : key_layout
        The key of the packet.
    own, everyone : MAX_WORKERS
        A bitmap with the sender's bit alone; one with the bits of all workers of the job.
    needed, needed_minus_one : workers_shape
        Contributions that complete a sum; the same minus 1.
    packet_class
        From :class:`hdl.switch.decide.decision.ClassifyPacket`.
    scan, flush : 1
        This is a look, not a packet; it is a look of a flush.
    data : 1
        This is a packet of kind DATA.
    slot
        The slot of the packet's key, or the slot that is looked at.
    """
    return data.StructLayout(
        {
            "packet": packet_layout(config),
            "beats": range(config.payload_beats + 1),
            "key": key_layout(config),
            "own": MAX_WORKERS,
            "everyone": MAX_WORKERS,
            "needed": workers_shape,
            "needed_minus_one": workers_shape,
            "packet_class": packet_class_shape(),
            "scan": 1,
            "flush": 1,
            "data": 1,
            "slot": ceil_log2(config.slots),
        }
    )


class PacketLookup(wiring.Component):
    """Looks up the packet's job, finds its slot, and classifies the packet.

    Has no back-pressure; takes a packet or a look every 3 cycles at most.

    Latency: ``slot`` 1 cycle from ``take``, ``found`` 2 cycles; it stays until the next.

    Parameters
    ----------
    config : SwitchConfig
        Slots, jobs, depths.

    Members
    -------
    settings : In(settings_layout)
        Policy and hash.
    job_write : In(TrainingJobWritePort)
        Sets an entry of the job table.
    take : In(1)
        A packet or a look is here.
    scan : In(1)
        It is a look, not a packet.
    packet : In(packet_layout)
    look : In(look_layout)
    coin : In(1)
        The random bit, a cycle after ``take``.
    slot : Out
        The slot whose record is to be read.
    found : Out(found_layout)
    """

    def __init__(self, config: SwitchConfig):
        self.config = config
        self.jobs = TrainingJobTable(config)
        self.choice = SlotChoice(config)
        super().__init__(
            {
                "settings": In(settings_layout),
                "job_write": In(TrainingJobWritePort(config)),
                "take": In(1),
                "scan": In(1),
                "packet": In(packet_layout(config)),
                "look": In(look_layout(config)),
                "coin": In(1),
                "slot": Out(ceil_log2(config.slots)),
                "found": Out(found_layout(config)),
            }
        )

    def elaborate(self, platform):
        m = Module()
        config = self.config
        m.submodules.jobs = jobs = self.jobs
        m.submodules.choice = choice = self.choice
        m.submodules.group_kind = group_kind = GroupKind()
        m.submodules.classify = classify = ClassifyPacket()
        wiring.connect(m, wiring.flipped(self.job_write), jobs.write)
        m.d.comb += [
            jobs.read.eq(self.take),
            jobs.job.eq(self.packet.header.job),
            choice.policy.eq(self.settings.policy),
            choice.slots_log2.eq(self.settings.slots_log2),
            choice.salt.eq(self.settings.salt),
            choice.take.eq(self.take),
            choice.job.eq(self.packet.header.job),
            choice.seq.eq(self.packet.header.seq),
        ]

        # A cycle later: the job's entry is here.
        was_taken = Signal()
        scans = Signal()
        packet = Signal(packet_layout(config), reset_less=True)
        look = Signal(look_layout(config), reset_less=True)
        m.d.sync += was_taken.eq(self.take)
        with m.If(self.take):
            m.d.sync += [packet.eq(self.packet), look.eq(self.look), scans.eq(self.scan)]
        header, entry = packet.header, jobs.entry
        contributes = (header.kind == PacketKind.DATA) | (header.kind == PacketKind.RESEND)
        slot = Signal.like(self.slot)
        needed_minus_one = Signal(workers_shape)
        m.d.comb += [
            choice.base.eq(entry.base),
            choice.mask.eq(entry.mask),
            group_kind.policy.eq(self.settings.policy),
            group_kind.kind.eq(Mux(scans, SCAN, header.kind)),
            self.slot.eq(slot),
        ]
        m.d.sync += [
            slot.eq(Mux(scans, look.slot, choice.slot)),
            classify.group.eq(group_kind.group),
            classify.known.eq(entry.enabled & (entry.epoch == header.epoch)),
            classify.fits.eq(
                (header.worker < entry.workers) & (~contributes | (header.lanes == entry.lanes))
            ),
            classify.quorum.eq(entry.needed < entry.workers),
            needed_minus_one.eq(entry.needed - 1),
        ]

        # Two cycles later: the packet is classified.
        is_classified = Signal()
        found = Signal(found_layout(config), reset_less=True)
        m.d.sync += is_classified.eq(was_taken)
        m.d.comb += [classify.coin.eq(self.coin), self.found.eq(found)]
        with m.If(is_classified):
            m.d.sync += [
                found.packet.eq(packet),
                found.beats.eq(Mux(scans, 0, (header.length + WORD_BYTES - 1) >> 3)),
                *(found.key[name].eq(header[name]) for name in found.shape()["key"].shape.members),
                found.own.eq(1 << header.worker[:5]),
                found.everyone.eq((1 << entry.workers) - 1),
                found.needed.eq(entry.needed),
                found.needed_minus_one.eq(needed_minus_one),
                found.packet_class.eq(classify.packet_class),
                found.scan.eq(scans),
                found.flush.eq(scans & look.flush),
                found.data.eq(~scans & (header.kind == PacketKind.DATA)),
                found.slot.eq(slot),
            ]

        return m
