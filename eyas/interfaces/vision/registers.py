"""Registers of the vision overlay."""

from __future__ import annotations

from eyas.interfaces.fields import Access, Field, Register, RegisterBlock, Role
from eyas.interfaces.register_parts import counter, identification

__all__ = ["IDENTITY", "VERSION_MAJOR", "VERSION_MINOR", "VISION_REGISTERS"]

IDENTITY = 0x56415945
"""``EYAV``: an Eyas vision overlay."""
VERSION_MAJOR = 1
"""Raised at any change that a driver must know of."""
VERSION_MINOR = 0
"""Raised at any addition that older drivers can ignore."""


VISION_REGISTERS = RegisterBlock(
    "vision",
    0x1000,
    "Identity, control, job queue, errors and counters of the vision overlay.",
    (
        *identification("vision", IDENTITY, VERSION_MAJOR, VERSION_MINOR),
        Register(
            "shape", 0x08, Access.R, "Shape of the array; a program fits exactly one.",
            (
                Field("output_channels", 8, "output channels computed side by side"),
                Field("input_channels", 8, "input channels reduced a cycle"),
                Field("pixels", 8, "output pixels computed side by side"),
                Field("requantize_channels", 8, "channels of each pixel requantised a cycle"),
            ),
            Role.CONFIGURATION,
        ),
        Register(
            "activation_capacity", 0x0C, Access.R, "Activation memory.",
            (Field("bank_words", 32, "words in each bank"),),
            Role.CONFIGURATION,
        ),
        Register(
            "weight_capacity", 0x10, Access.R, "Weight memory.",
            (Field("weight_rows", 32, "rows of output_channels × input_channels weights"),),
            Role.CONFIGURATION,
        ),
        Register(
            "program_capacity", 0x14, Access.R, "Parameter and instruction memory.",
            (
                Field("parameter_rows", 16, "rows of requantize_channels parameters"),
                Field("instruction_words", 16, "64-bit words of instructions"),
            ),
            Role.CONFIGURATION,
        ),
        Register(
            "queue_capacity", 0x18, Access.R, "Jobs and programs.",
            (
                Field("queue_depth", 8, "jobs that wait behind the running ones"),
                Field("program_slots", 8, "programs resident at once"),
            ),
            Role.CONFIGURATION,
        ),
        Register(
            "control", 0x20, Access.W, "One-shot commands; reads as 0.",
            (
                Field("abort", 1, "1: end the running jobs with ABORTED, empty the queue, become idle"),
                Field("clear_error", 1, "1: clear ERROR and ERROR_TAG"),
                Field("clear_counters", 1, "1: set every counter to 0"),
            ),
        ),
        Register(
            "status", 0x24, Access.R, "What the overlay is doing.",
            (
                Field("idle", 1, "no job is queued or running"),
                Field("aborting", 1, "an abort waits for bursts under way"),
                Field("queued", 8, "jobs in the queue", offset=8),
                Field("slots", 16, "bit i: program slot i holds a valid program"),
            ),
        ),
        Register(
            "doorbell", 0x28, Access.W, "Writing a descriptor's byte address queues its job.",
            (Field("address", 32, "a multiple of 8"),),
        ),
        Register(
            "interrupt_status", 0x2C, Access.RW1C, "Causes of the interrupt.",
            (
                Field("done", 1, "a job whose descriptor asks for an interrupt has ended"),
                Field("error", 1, "ERROR was set"),
            ),
        ),
        Register(
            "interrupt_enable", 0x30, Access.RW, "Which causes raise the interrupt line.",
            (Field("done", 1, "INTERRUPT_STATUS.done"), Field("error", 1, "INTERRUPT_STATUS.error")),
        ),
        Register(
            "error", 0x34, Access.R, "The first error since it was last cleared; sticky.",
            (
                Field("code", 8, "ErrorCode, 0 when there was none"),
                Field("place", 8, "Place"),
                Field("layer", 8, "layer that was running"),
                Field("count", 8, "errors since it was cleared, stops at 255"),
            ),
        ),
        Register(
            "error_tag", 0x38, Access.R, "Which job met the first error.",
            (Field("tag", 16, "the job's tag"),),
        ),
        counter("jobs_done", 0x3C, "Jobs ended, with or without an error."),
        counter("busy_cycles", 0x40, "Cycles with a job queued or running."),
        counter("core_cycles", 0x44, "Cycles in which the sequencer ran a program."),
        counter("array_cycles", 0x48, "Cycles in which the array took a pass."),
        counter("input_wait_cycles", 0x4C, "Cycles in which a program waited for its picture."),
        counter("read_beats", 0x50, "64-bit beats read from DRAM."),
        counter("read_wait_cycles", 0x54, "Cycles in which a read was open and no beat came."),
        counter("write_beats", 0x58, "64-bit beats written to DRAM."),
        counter("write_wait_cycles", 0x5C, "Cycles in which a beat to write was held up."),
        Register(
            "layer_select", 0x80, Access.RW, "Layer whose counters (of the last run) are read below.",
            (Field("layer", 8, "layer number"),),
        ),
        counter("layer_cycles", 0x84, "From the layer's start to its last result written."),
        counter("layer_array_cycles", 0x88, "Cycles in which the array took a pass."),
        counter("layer_requantize_cycles", 0x8C, "Cycles in which the array waited for requantisation."),
        counter("layer_drain_cycles", 0x90, "Cycles after the last pass until the last result was written."),
        counter("layer_table_cycles", 0x94, "Cycles before its start in which an ADD waited for its tables."),
    ),
)
