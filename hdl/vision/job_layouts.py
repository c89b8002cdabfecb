"""What the stages of the front end pass to each other."""

from amaranth.lib import data
from amaranth.utils import ceil_log2

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.records import DESCRIPTOR, HEADER, RESULT
from hdl.parts.layout import field_shape
from hdl.vision.interfaces import start_layout
from hdl.vision.linear import address_bits, bank_bits

__all__ = [
    "RECORD_BEATS",
    "fault_layout",
    "input_map_layout",
    "job_layout",
    "output_map_layout",
    "patch_layout",
    "plane_capacity",
    "report_layout",
    "slot_layout",
]

RECORD_BEATS = 8
"""Beats of a descriptor and of a result record."""

fault_layout = data.StructLayout({name: field_shape(RESULT, name) for name in ("code", "place")})
"""What went wrong and where: ErrorCode and Place. ``code`` 0 means that nothing did."""

report_layout = data.StructLayout(
    {name: field_shape(RESULT, name) for name in ("code", "place", "layer", "tag")}
)
"""An error on its way to the ERROR registers."""


def plane_capacity(config: VisionConfig) -> int:
    """Words of the activation memory, the most that one plane can have."""
    return config.pixels * config.bank_words


def input_map_layout(config: VisionConfig) -> data.StructLayout:
    """Where the words of a picture go, and its size."""
    return data.StructLayout(
        {
            "base": address_bits(config),
            "plane": address_bits(config),
            "height": field_shape(HEADER, "input_height"),
            "width": field_shape(HEADER, "input_width"),
            "channels": field_shape(HEADER, "input_channels_count"),
            "skip_q": address_bits(config),
            "skip_r": bank_bits(config),
        }
    )


def _patch_layout() -> data.StructLayout:
    prefix = "patch_"
    return data.StructLayout(
        {
            field.name.removeprefix(prefix): field_shape(HEADER, field.name)
            for field in HEADER.fields
            if field.name.startswith(prefix)
        }
    )


patch_layout = _patch_layout()
"""How patches are cut out of a picture: the header's fields ``patch_…`` without that prefix."""


def output_map_layout(config: VisionConfig) -> data.StructLayout:
    """Where the words of a map lie: ``count`` of each of ``blocks`` planes."""
    return data.StructLayout(
        {
            "base": address_bits(config),
            "plane": address_bits(config),
            "count": ceil_log2(plane_capacity(config) + 1),
            "blocks": field_shape(HEADER, "output_blocks"),
        }
    )


def slot_layout(config: VisionConfig) -> data.StructLayout:
    """What the front end remembers of a resident program."""
    return data.StructLayout(
        {
            "instruction_base": ceil_log2(config.instruction_words),
            "weight_base": ceil_log2(config.weight_rows),
            "parameter_base": ceil_log2(config.parameter_rows),
            "input": input_map_layout(config),
            "patches": patch_layout,
            "output": output_map_layout(config),
            "source_words": ceil_log2(config.activation_bytes // 8 + 1),
        }
    )


def job_layout(config: VisionConfig) -> data.StructLayout:
    """A job whose reading has ended: what is left is to run it, to write, and to report.

    Members
    -------
    infer : 1
        Run the engine and write a map; else only report (a LOAD).
    fault : fault_layout
        What reading met. A job with a fault is only reported.
    has_record : 1
        A result record can be written at ``result``.
    interrupt, tag, slot, output, result
        As in the descriptor; interrupt and tag are 0 when it could not be read.
    program : start_layout
        Starts the engine.
    map : output_map_layout
        The map to write at ``output``.
    fetched_at : 32
        Time at which the descriptor's fetch began, in cycles.
    """
    return data.StructLayout(
        {
            "infer": 1,
            "fault": fault_layout,
            "has_record": 1,
            "interrupt": 1,
            **{name: field_shape(DESCRIPTOR, name) for name in ("tag", "slot", "output", "result")},
            "program": start_layout(config),
            "map": output_map_layout(config),
            "fetched_at": 32,
        }
    )
