"""What the stages of the switch pass to each other."""

import enum

from amaranth.hdl import Shape
from amaranth.lib import data
from amaranth.utils import ceil_log2

from eyas.interfaces.switch.config import ROW_BYTES, WORD_BYTES, SwitchConfig
from eyas.interfaces.switch.packet import MAX_WORKERS, PACKET, Lanes
from eyas.interfaces.switch.registers import SWITCH_REGISTERS
from eyas.interfaces.switch.states import Outcome
from hdl.parts.layout import field_shape, record_layout

__all__ = [
    "ROW_BITS",
    "RowAction",
    "egress_layout",
    "event_layout",
    "frame_layout",
    "header_layout",
    "lanes_shape",
    "operation_layout",
    "packet_layout",
    "settings_layout",
    "training_job_layout",
    "workers_shape",
]

ROW_BITS = 8 * ROW_BYTES

workers_shape = Shape.cast(range(MAX_WORKERS + 1))
"""A number of workers, or of contributions to a sum."""

lanes_shape = Shape.cast(range(len(Lanes)))
"""A :class:`eyas.interfaces.switch.packet.Lanes`; the packet's field is wider."""

header_layout = record_layout(PACKET)
"""A packet's header, which is one row."""

frame_layout = data.StructLayout({"data": 64, "bytes": range(WORD_BYTES + 1), "last": 1})
"""A beat of a frame as it came: the lowest ``bytes`` bytes of ``data`` belong to the frame, 1 to 8,
and all 8 before the last beat; ``last`` ends the frame."""

egress_layout = data.StructLayout({"data": ROW_BITS, "first": 1, "last": 1})
"""A row that leaves: the header, checksum 0, with ``first``; then the payload's.  What the last row
holds beyond the header's ``length`` is undefined."""


def packet_layout(config: SwitchConfig) -> data.StructLayout:
    """A good packet: its header, and where its payload starts in the packet buffer."""
    return data.StructLayout(
        {"header": header_layout, "start": ceil_log2(config.ingress_beats)},
    )


def training_job_layout(config: SwitchConfig) -> data.StructLayout:
    """An entry of the job table.

    Members
    -------
    enabled : 1
        Packets of the job's epoch are taken.
    epoch
        The job's epoch.
    workers, needed : workers_shape
        Workers, 1 to 32; contributions that complete a sum, 1 to that.
    lanes : lanes_shape
        A :class:`eyas.interfaces.switch.packet.Lanes`.
    base, mask
        The job's own slots under SWITCHML: the first one, a multiple of their number; and their
        number minus 1, which is a mask because the number is a power of two.
    """
    slot = ceil_log2(config.slots)
    return data.StructLayout(
        {
            "enabled": 1,
            "epoch": field_shape(PACKET, "epoch"),
            "workers": workers_shape,
            "needed": workers_shape,
            "lanes": lanes_shape,
            "base": slot,
            "mask": slot,
        }
    )


_POLICY, _SCAN = SWITCH_REGISTERS["policy"], SWITCH_REGISTERS["scan"]
settings_layout = data.StructLayout(
    {
        "policy": field_shape(_POLICY, "policy"),
        "decay_after": field_shape(_POLICY, "decay_after"),
        "slots_log2": field_shape(_POLICY, "slots_log2"),
        "salt": field_shape(_SCAN, "salt"),
        "age_limit": field_shape(_POLICY, "age_limit"),
        "scan_period": field_shape(_SCAN, "period"),
    }
)
"""What software sets while no job is enabled: the fields of POLICY and SCAN."""


def event_layout(config: SwitchConfig) -> data.StructLayout:
    """The outcome of a packet, or of a look at a slot, for counters, benches and traces.

    Members
    -------
    scan : 1
        It was a look, not a packet.
    flush : 1
        It was a look of a flush.
    slot, job
        The slot; the packet's job, or that of the slot looked at.
    outcome
        An :class:`eyas.interfaces.switch.states.Outcome`.
    """
    return data.StructLayout(
        {
            "scan": 1,
            "flush": 1,
            "slot": ceil_log2(config.slots),
            "job": ceil_log2(config.jobs),
            "outcome": range(len(Outcome)),
        }
    )


class RowAction(enum.IntEnum):
    """What the slot memory does for an operation."""

    NONE = 0
    """Nothing: the payload is dropped."""
    PASS = 1
    """The payload leaves as it is."""
    CLAIM = 2
    """The contribution is stored."""
    SWAP = 3
    """The contribution is stored, and the rows that stood there leave."""
    ADD = 4
    """The contribution is added."""
    READ = 5
    """The slot's rows leave, and stay."""


def operation_layout(config: SwitchConfig) -> data.StructLayout:
    """What is to be done for a packet, or for a look at a slot.

    Members
    -------
    action : RowAction
        To the slot's rows.
    emits : 1
        A packet leaves: ``header``, then rows as ``action`` says (CLAIM and ADD: the new sums).
    header
        The header that leaves; its ``lanes``, ``coordinates`` and ``length`` are those of the rows
        that leave.
    slot
        The slot.
    job
        Whose table is used.
    lanes, coordinates
        Of the contribution, for CLAIM, SWAP and ADD.
    start, beats
        Where the payload stands in the packet buffer, and how many beats it has; 0 for a look. All
        of them are free again when the operation has ended, whether it used them or not.
    """
    return data.StructLayout(
        {
            "action": range(len(RowAction)),
            "emits": 1,
            "header": header_layout,
            "slot": ceil_log2(config.slots),
            "job": ceil_log2(config.jobs),
            "lanes": lanes_shape,
            "coordinates": field_shape(PACKET, "coordinates"),
            "start": ceil_log2(config.ingress_beats),
            "beats": range(config.payload_beats + 1),
        }
    )
