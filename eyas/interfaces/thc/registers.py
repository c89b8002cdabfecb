"""Registers of the THC overlay, and what it reads and writes in DRAM.

Software opens a job (table, workers, width of the sums), then rings descriptors: AGGREGATE adds
the packed indices of a job's workers, ENCODE makes packed indices of gradients.

AGGREGATE: ``workers`` contributions of ``count`` 64-bit words of packed indices each (``PACKING``
of ``eyas.interfaces.thc.formats``), one every ``stride`` bytes from ``source``.  The sums leave in
the order of the coordinates, little-endian, 1 or 2 bytes each, as whole rows: 32 bytes (64 with
2-bit indices), which are the sums of one word at 2 bytes or of two words at 1 byte.

ENCODE: ``count`` blocks from ``source``, each a word that holds the block's multiplier and 256
words of four 16-bit mantissas (``models.thc.fixed_point``); the packed indices leave block after
block.
"""

from __future__ import annotations

import enum

from eyas.interfaces.fields import Access, Field, Record, Register, RegisterBlock, Role
from eyas.interfaces.register_parts import ExplainedCode, counter, identification, table_entries

__all__ = [
    "DESCRIPTOR",
    "DESCRIPTOR_MAGIC",
    "DESCRIPTOR_VERSION",
    "ENCODE_LIMIT",
    "ENCODE_WORDS",
    "IDENTITY",
    "RESULT",
    "RESULT_MAGIC",
    "THC_REGISTERS",
    "VERSION_MAJOR",
    "VERSION_MINOR",
    "JobKind",
    "ThcCode",
]

IDENTITY = 0x54415945
"""``EYAT``: an Eyas THC overlay."""
VERSION_MAJOR = 1
"""Raised at any change that a driver must know of."""
VERSION_MINOR = 0
"""Raised at any addition that older drivers can ignore."""
DESCRIPTOR_MAGIC = 0x4454
"""``TD``"""
DESCRIPTOR_VERSION = 1
RESULT_MAGIC = 0x5254
"""``TR``"""
ENCODE_WORDS = 257
"""Words of a block at ENCODE's source: its multiplier, then its mantissas."""
ENCODE_LIMIT = 65_000
"""Blocks of an ENCODE."""


class JobKind(enum.IntEnum):
    """What a descriptor asks for."""

    AGGREGATE = 1
    """Look up and add the contributions of an open job's workers."""
    ENCODE = 2
    """Make indices of gradients."""


class ThcCode(ExplainedCode):
    """Error codes; ``text`` is what a user reads, ``remedy`` what to do."""

    NONE = 0, "no error", "nothing is to be done"
    BUS_SLAVE = 1, "the memory answered a burst with SLVERR", "check the job's buffers"
    BUS_DECODE = 2, "there is no memory at an address", "check the job's buffers"
    BAD_DESCRIPTOR = (
        3,
        "the descriptor's magic, version or kind is wrong",
        "use the driver that belongs to this overlay",
    )
    MISALIGNED = 4, "an address is not a multiple of 8", "take buffers from the board's allocate"
    WRONG_SIZE = 5, "the descriptor asks for no words, or too many", "split the job"
    JOB_CLOSED = 6, "the job is not open", "open the job first"
    JOB_OPEN = 7, "the job is open, and its table in use", "close the job first"
    JOB_RUNNING = 8, "the job is being worked on", "wait until it has ended"
    WRONG_WORKERS = (
        9,
        "there are no contributions, or more than the job has workers",
        "open the job with as many workers",
    )
    ENTRY_ABOVE = (
        10,
        "a table entry is above the granularity",
        "solve the table for this granularity",
    )
    LANE_OVERFLOW = (
        11,
        "workers times granularity is more than a lane holds",
        "use 16-bit lanes, fewer workers or a smaller granularity",
    )
    BAD_GRANULARITY = (
        12,
        "the granularity is 0, or more than the encoder's 63",
        "choose another one",
    )
    BUSY = 13, "the doorbell was rung while a job ran; the job was dropped", "wait for its end"


THC_REGISTERS = RegisterBlock(
    "thc",
    0x1000,
    "Identity, jobs and their tables, doorbell, errors and counters of the THC overlay.",
    (
        *identification("THC", IDENTITY, VERSION_MAJOR, VERSION_MINOR),
        Register(
            "shape",
            0x08,
            Access.R,
            "What was built.",
            (
                Field("index_bits", 8, "bits of an index"),
                Field("jobs", 8, "tables kept"),
                Field("slots", 16, "aggregator slots"),
            ),
            Role.CONFIGURATION,
        ),
        Register(
            "slot_capacity",
            0x0C,
            Access.R,
            "What a slot holds.",
            (Field("slot_bytes", 16, "bytes of sums"),),
            Role.CONFIGURATION,
        ),
        Register(
            "control",
            0x20,
            Access.W,
            "One-shot commands; reads as 0.",
            (
                Field("clear_error", 1, "1: clear ERROR"),
                Field("clear_counters", 1, "1: set every counter to 0"),
            ),
        ),
        Register(
            "status",
            0x24,
            Access.R,
            "What the overlay is doing.",
            (Field("idle", 1, "no descriptor is being worked on"),),
        ),
        Register(
            "doorbell",
            0x28,
            Access.W,
            "Writing a descriptor's byte address starts its job.",
            (Field("address", 32, "a multiple of 8"),),
        ),
        Register(
            "interrupt_status",
            0x2C,
            Access.RW1C,
            "Causes of the interrupt.",
            (
                Field("done", 1, "a job whose descriptor asks for an interrupt has ended"),
                Field("error", 1, "ERROR was set"),
            ),
        ),
        Register(
            "interrupt_enable",
            0x30,
            Access.RW,
            "Which causes raise the interrupt line.",
            (
                Field("done", 1, "INTERRUPT_STATUS.done"),
                Field("error", 1, "INTERRUPT_STATUS.error"),
            ),
        ),
        Register(
            "error",
            0x34,
            Access.R,
            "The first error of a descriptor since it was last cleared; sticky.",
            (
                Field("code", 8, "ThcCode, 0 when there was none"),
                Field("count", 8, "errors since it was cleared, stops at 255"),
                Field("tag", 16, "the tag of the job with the error"),
            ),
        ),
        counter("jobs_done", 0x40, "Descriptors ended, with or without an error."),
        counter("busy_cycles", 0x44, "Cycles with a descriptor at work."),
        counter("offered_beats", 0x48, "Cycles in which the lanes were offered a beat."),
        counter("taken_beats", 0x4C, "Beats that the lanes took."),
        counter("read_beats", 0x50, "Beats read from memory."),
        counter("write_beats", 0x54, "Beats written to memory."),
        Register(
            "job_select",
            0x60,
            Access.RW,
            "The job that the registers below describe.",
            (Field("job", 8, "the job's number"),),
        ),
        Register(
            "job_limits",
            0x64,
            Access.RW,
            "Settings with which the job is opened.",
            (
                Field("workers", 8, "the most contributions to a sum, 1 to 255"),
                Field("granularity", 8, "the greatest table entry, 1 to 255"),
                Field("wide", 1, "16-bit sums, else 8-bit"),
            ),
        ),
        table_entries(0, 0x68, "Entries of the table to open."),
        table_entries(1, 0x6C, "Entries of the table to open."),
        table_entries(2, 0x70, "Entries of the table to open."),
        table_entries(3, 0x74, "Entries of the table to open."),
        Register(
            "job_command",
            0x78,
            Access.W,
            "Opens or closes the selected job; JOB_STATUS says how it ended.",
            (
                Field("open", 1, "1: check the limits and the table, and take them"),
                Field("close", 1, "1: give the job's number free"),
            ),
        ),
        Register(
            "job_status",
            0x7C,
            Access.R,
            "How the last command ended.",
            (
                Field("busy", 1, "the command is being worked on"),
                Field("code", 8, "ThcCode, 0 when it was done", offset=8),
            ),
        ),
        Register(
            "jobs_open",
            0x80,
            Access.R,
            "Jobs that are open.",
            (Field("open", 32, "bit i: job i"),),
        ),
    ),
)

DESCRIPTOR = Record(
    "THC job descriptor",
    640,
    (
        Field("magic", 16, "DESCRIPTOR_MAGIC"),
        Field("version", 8, "DESCRIPTOR_VERSION"),
        Field("kind", 8, "JobKind"),
        Field("job", 8, "AGGREGATE: the open job"),
        Field("interrupt", 1, "raise the done interrupt when the job has ended"),
        Field("tag", 16, "copied into the result record and the ERROR register", offset=48),
        Field("source", 32, "byte address, a multiple of 8", offset=64),
        Field("count", 32, "AGGREGATE: words of a contribution; ENCODE: blocks"),
        Field("output", 32, "byte address, a multiple of 8", offset=128),
        Field("result", 32, "byte address of the 16-byte result record, a multiple of 8"),
        Field("stride", 32, "AGGREGATE: bytes between contributions, a multiple of 8", offset=192),
        Field("workers", 8, "AGGREGATE: contributions"),
        Field("granularity", 8, "ENCODE: the table's last entry, 1 to 63"),
        Field("seed", 64, "ENCODE: key of the random bits", offset=256),
        Field("step", 32, "ENCODE: step of the training", offset=320),
        Field("worker", 32, "ENCODE: the worker's number plus 1"),
        Field("stream", 32, "ENCODE: which gradient of the step", offset=384),
        Field("first", 32, "ENCODE: number of the first block in the stream, 25 bits"),
        Field("table_low", 64, "ENCODE: T[0] to T[7], a byte each, the first lowest", offset=512),
        Field("table_high", 64, "ENCODE: T[8] to T[15]"),
    ),
    "One job. Software writes it, then its address to DOORBELL. Reserved bits are zero.",
)

RESULT = Record(
    "THC result record",
    128,
    (
        Field("magic", 16, "RESULT_MAGIC; this word is written last of all the job writes"),
        Field("code", 8, "ThcCode"),
        Field("tag", 16, "the descriptor's tag", offset=48),
        Field("cycles", 32, "cycles from the descriptor's arrival to the last answer", offset=64),
    ),
    "How a job ended: 16 bytes. Reserved bits are zero.",
)
