"""Registers of the switch overlay, and its rings in DRAM.

Software configures jobs (workers, quorum, lanes, table, own slots), writes frames and their
descriptors, and rings the ingress doorbell with the number of descriptors written so far.  The
switch takes the frames in order; the packets that leave stand in the egress ring until software
acknowledges them.

Ring indices count descriptors and packets from the rings' start, 16 bits, and wrap; a ring's entry
is the index modulo its size.  Ingress: descriptors of 8 bytes, frames anywhere in the window.
Egress: entries of ``EGRESS_STRIDE`` bytes, each a packet (``PACKET`` and its payload), zero up to
the next multiple of 8 bytes; what lies behind is undefined, and so is an entry whose writing met a
bus error.  A full egress ring stops the switch until software acknowledges; nothing is lost.

A change of a job: disable it, flush it (the sums that its slots hold leave as PARTIAL; under
SWITCHML they are dropped), wait until JOB_STATUS is no longer busy, enable it with the next epoch.
"""

from __future__ import annotations

import enum

from eyas.interfaces.fields import Access, Field, Record, Register, RegisterBlock, Role
from eyas.interfaces.register_parts import ExplainedCode, counter, identification, table_entries
from eyas.interfaces.switch.packet import HEADER_BYTES, MAX_PAYLOAD_BYTES, PacketFault

__all__ = [
    "DESCRIPTOR_BYTES",
    "EGRESS_STRIDE",
    "FAULT_COUNTERS",
    "IDENTITY",
    "INGRESS_DESCRIPTOR",
    "MAX_FRAME_BYTES",
    "RING_LOG2",
    "SWITCH_REGISTERS",
    "VERSION_MAJOR",
    "VERSION_MINOR",
    "SwitchCode",
    "SwitchPlace",
]

IDENTITY = 0x53415945
"""``EYAS``: an Eyas switch overlay."""
VERSION_MAJOR = 1
"""Raised at any change that a driver must know of."""
VERSION_MINOR = 0
"""Raised at any addition that older drivers can ignore."""
DESCRIPTOR_BYTES = 8
"""An entry of the ingress ring."""
EGRESS_STRIDE = 1088
"""Bytes from one entry of the egress ring to the next."""
MAX_FRAME_BYTES = 1088
"""The longest frame that a descriptor may name: a packet, and what a network pads it with."""
RING_LOG2 = (2, 12)
"""log2 of the fewest and of the most entries of a ring."""

assert min(EGRESS_STRIDE, MAX_FRAME_BYTES) >= HEADER_BYTES + MAX_PAYLOAD_BYTES


class SwitchCode(ExplainedCode):
    """Error codes; ``text`` is what a user reads, ``remedy`` what to do."""

    NONE = 0, "no error", "nothing is to be done"
    BUS_SLAVE = 1, "the memory answered a burst with SLVERR", "check the rings' buffers"
    BUS_DECODE = 2, "there is no memory at an address", "check the rings' buffers"
    DESCRIPTOR_OUTSIDE = (
        3,
        "a descriptor names bytes outside the frame window; the frame was skipped",
        "put frames into the allocated buffer",
    )
    MISALIGNED = (
        4,
        "a descriptor's address is not a multiple of 8; the frame was skipped",
        "start every frame at a multiple of 8 bytes",
    )
    WRONG_SIZE = (
        5,
        f"a descriptor's size is not 1 to {MAX_FRAME_BYTES} bytes; the frame was skipped",
        "send a packet a frame",
    )
    RING_MISALIGNED = (
        6,
        "a ring or the frame window does not start at a multiple of 8; the rings stand still",
        "take buffers from the board's allocate",
    )
    RING_SIZE = (
        7,
        f"a ring has not {1 << RING_LOG2[0]} to {1 << RING_LOG2[1]} entries; the rings stand still",
        "choose another size",
    )
    RINGS_RUNNING = (
        8,
        "the rings were to start while they ran or packets were under way",
        "stop them and wait until the switch is idle",
    )
    RING_OVERRUN = (
        9,
        "an index is further ahead than its ring allows, or goes back; it was not taken",
        "post no more than the ring has room for, acknowledge no more than has come",
    )
    JOB_ENABLED = 10, "the job is enabled", "disable it first"
    JOB_DISABLED = 11, "the job is not enabled", "enable it first"
    WRONG_JOB = 12, "the switch has no job of that number", "choose a smaller one"
    WRONG_WORKERS = 13, "a job has 1 to 32 workers", "split the job"
    WRONG_QUORUM = 14, "a job needs 1 to all of its workers", "choose another quorum"
    WRONG_LANES = 15, "there is no such lane format", "use the driver that belongs to this overlay"
    JOB_BUSY = 16, "a job is being flushed", "wait for its end"


class SwitchPlace(enum.IntEnum):
    """Where an error happened."""

    NONE = 0
    DESCRIPTORS = 1
    """Reading or checking a descriptor; the index is its."""
    FRAMES = 2
    """Reading a frame; the index is its descriptor's."""
    PACKETS = 3
    """Writing a packet; the index is its entry's."""
    RINGS = 4
    """Starting the rings, or taking an index; the index is the one refused."""


def _word(name: str, offset: int, doc: str, text: str) -> Register:
    return Register(name, offset, Access.RW, doc, (Field("address", 32, text),))


FAULT_COUNTERS = (*(f"faults_{fault.name.lower()}" for fault in PacketFault), "faults_job")
"""Counters of frames that were no packet, in the order of the ingress's fault codes."""

_FAULTS = tuple(
    counter(name, 0xC0 + 4 * i, f"Frames dropped: {text}.")
    for i, (name, text) in enumerate(
        zip(
            FAULT_COUNTERS,
            (*(fault.value for fault in PacketFault), "a job number beyond the jobs built"),
            strict=True,
        )
    )
)

_CAUSES = ("packets", "drained", "error")
_CAUSE_TEXTS = (
    "packets wait, as many or as long as MODERATION says; set again while they do",
    "the switch has become idle after taking a descriptor",
    "an error of the rings happened",
)

SWITCH_REGISTERS = RegisterBlock(
    "switch",
    0x1000,
    "Identity, policy, rings, interrupts, jobs, errors and counters of the switch overlay.",
    (
        *identification("switch", IDENTITY, VERSION_MAJOR, VERSION_MINOR),
        Register(
            "shape",
            0x08,
            Access.R,
            "What was built.",
            (
                Field("slots", 16, "aggregator slots"),
                Field("slot_bytes", 16, "bytes of sums in a slot, and of the longest payload"),
            ),
            Role.CONFIGURATION,
        ),
        Register(
            "depths",
            0x0C,
            Access.R,
            "More of what was built.",
            (
                Field("ingress_beats", 13, "64-bit beats of payload that wait"),
                Field("egress_rows", 13, "256-bit rows that wait"),
                Field("jobs", 6, "jobs at a time"),
            ),
            Role.CONFIGURATION,
        ),
        Register(
            "control",
            0x20,
            Access.W,
            "One-shot commands; reads as 0.",
            (
                Field("clear_error", 1, "1: clear ERROR and ERROR_ADDRESS"),
                Field("clear_counters", 1, "1: set every counter to 0"),
                Field("start", 1, "1: start the rings, indices at 0"),
                Field("stop", 1, "1: take no further descriptor; what is under way ends"),
                Field("abort", 1, "1: the same, and drop whatever leaves until the next START"),
            ),
        ),
        Register(
            "status",
            0x24,
            Access.R,
            "What the overlay is doing.",
            (
                Field("idle", 1, "no frame waits to be taken, and every packet is in memory"),
                Field("running", 1, "the rings are started"),
                Field("full", 1, "a packet waits for room in the egress ring"),
                Field("clearing", 1, "the counters of outcomes are being cleared"),
            ),
        ),
        Register(
            "interrupt_status",
            0x28,
            Access.RW1C,
            "Causes of the interrupt.",
            tuple(Field(n, 1, text) for n, text in zip(_CAUSES, _CAUSE_TEXTS, strict=True)),
        ),
        Register(
            "interrupt_enable",
            0x2C,
            Access.RW,
            "Which causes raise the interrupt line.",
            tuple(Field(name, 1, f"INTERRUPT_STATUS.{name}") for name in _CAUSES),
        ),
        Register(
            "moderation",
            0x30,
            Access.RW,
            "When packets in the egress ring raise their interrupt: at the first of the two.",
            (
                Field("count", 12, "packets that have to wait; 0 counts as 1", reset=1),
                Field(
                    "cycles",
                    20,
                    "cycles since the first of them came, or since the last acknowledgement",
                ),
            ),
        ),
        Register(
            "error",
            0x34,
            Access.R,
            "The first error of the rings since it was last cleared; sticky.",
            (
                Field("code", 8, "SwitchCode, 0 when there was none"),
                Field("place", 8, "SwitchPlace"),
                Field("index", 16, "ring index of the error"),
            ),
        ),
        Register(
            "error_address",
            0x38,
            Access.R,
            "The address of that error.",
            (Field("address", 32, "byte address"),),
        ),
        _word("ingress_base", 0x40, "The ingress ring.", "byte address, a multiple of 8"),
        _word("egress_base", 0x44, "The egress ring.", "byte address, a multiple of 8"),
        _word("window_base", 0x48, "Where frames may lie.", "first byte address, a multiple of 8"),
        _word("window_end", 0x4C, "Where frames may lie.", "byte address behind the last"),
        Register(
            "ring_sizes",
            0x50,
            Access.RW,
            "Sizes of the rings; like the addresses above taken at START.",
            (
                Field("ingress_log2", 4, "log2 of the ingress ring's entries, 2 to 12", reset=2),
                Field("egress_log2", 4, "log2 of the egress ring's entries, 2 to 12", reset=2),
            ),
        ),
        Register(
            "ingress_doorbell",
            0x54,
            Access.W,
            "Descriptors that software has written since START.",
            (
                Field(
                    "producer",
                    16,
                    "at most the ring's entries ahead of INGRESS.consumer, and never back",
                ),
            ),
        ),
        Register(
            "ingress",
            0x58,
            Access.R,
            "Where the ingress ring stands.",
            (
                Field(
                    "consumer",
                    16,
                    "descriptors that are done with: software may use their memory again",
                ),
                Field("producer", 16, "the last doorbell that was accepted"),
            ),
        ),
        Register(
            "egress_acknowledge",
            0x5C,
            Access.W,
            "Packets that software has taken out since START.",
            (Field("consumer", 16, "at most EGRESS.producer"),),
        ),
        Register(
            "egress",
            0x60,
            Access.R,
            "Where the egress ring stands.",
            (
                Field("producer", 16, "packets written to memory since START"),
                Field("consumer", 16, "the last acknowledgement that was accepted"),
            ),
        ),
        Register(
            "policy",
            0x64,
            Access.RW,
            "Which packets may take a slot; change it only while no job is enabled.",
            (
                Field("policy", 3, "Policy"),
                Field("slots_log2", 4, "log2 of the slots used", offset=8, reset=1),
                Field("decay_after", 8, "collisions that halve a slot's priority; 0: never"),
                Field("age_limit", 8, "looks that age an untouched slot; 0: never", offset=24),
            ),
        ),
        Register(
            "scan",
            0x68,
            Access.RW,
            "The ageing scan, and the hash.",
            (
                Field("period", 16, "cycles from one look at a slot to the next; 0: off"),
                Field("salt", 16, "salt of the hash"),
            ),
        ),
        Register(
            "job_select",
            0x80,
            Access.RW,
            "The job that the registers below describe.",
            (Field("job", 8, "the job's number"),),
        ),
        Register(
            "job_setup",
            0x84,
            Access.RW,
            "Settings with which the job is enabled.",
            (
                Field("workers", 8, "workers, 1 to 32"),
                Field("needed", 8, "contributions that complete a sum: workers, or the quorum"),
                Field("epoch", 8, "the epoch of its packets"),
                Field("lanes", 2, "Lanes"),
            ),
        ),
        Register(
            "job_partition",
            0x88,
            Access.RW,
            "The job's own slots, which only SWITCHML uses.",
            (
                Field("base", 16, "the first, a multiple of their number"),
                Field("mask", 16, "their number minus 1; the number is a power of two"),
            ),
        ),
        table_entries(0, 0x8C, "Entries of the job's table."),
        table_entries(1, 0x90, "Entries of the job's table."),
        table_entries(2, 0x94, "Entries of the job's table."),
        table_entries(3, 0x98, "Entries of the job's table."),
        Register(
            "job_command",
            0x9C,
            Access.W,
            "Enables, disables or flushes the selected job; JOB_STATUS says how it ended.",
            (
                Field("enable", 1, "1: check the setup, and take packets of the job's epoch"),
                Field("disable", 1, "1: take no further packet of the job"),
                Field("flush", 1, "1: empty every slot that a disabled job holds"),
            ),
        ),
        Register(
            "job_status",
            0xA0,
            Access.R,
            "How the last command ended.",
            (
                Field("busy", 1, "the command is being worked on"),
                Field("code", 8, "SwitchCode, 0 when it was done", offset=8),
            ),
        ),
        Register(
            "jobs_enabled",
            0xA4,
            Access.R,
            "Jobs that are enabled.",
            (Field("enabled", 32, "bit i: job i"),),
        ),
        Register(
            "outcome_select",
            0xA8,
            Access.RW,
            "Which counter OUTCOME_COUNT shows.",
            (Field("outcome", 8, "Outcome, 0 to 15"), Field("job", 8, "the job's number")),
        ),
        counter("outcome_count", 0xAC, "Packets of the job with this outcome."),
        *_FAULTS,
        counter("cycles", 0xE0, "Cycles since the counters were cleared."),
        counter("frames_in", 0xE4, "Frames handed to the core, good or not."),
        counter("packets_out", 0xE8, "Packets written to the egress ring."),
        counter("packets_lost", 0xEC, "Frames and packets lost to a bus error."),
        counter("offered_beats", 0xF0, "Cycles in which the core was offered a beat."),
        counter("taken_beats", 0xF4, "Beats that the core took."),
        counter("read_beats", 0xF8, "Beats read from memory."),
        counter("write_beats", 0xFC, "Beats written to memory."),
        counter("errors", 0x100, "Errors of the rings."),
    ),
)

INGRESS_DESCRIPTOR = Record(
    "switch ingress descriptor",
    8 * DESCRIPTOR_BYTES,
    (
        Field("address", 32, "byte address of the frame, a multiple of 8, in the window"),
        Field("size", 16, f"bytes of the frame, 1 to {MAX_FRAME_BYTES}"),
    ),
    "One frame. Software writes it, then the doorbell. Reserved bits are zero.",
)
