"""Hardware configurations: what a user may choose, validated; what follows, derived once."""

from __future__ import annotations

from dataclasses import asdict, dataclass

__all__ = ["DEFAULT_VISION", "DEPTHWISE_KERNEL", "SMALL_VISION", "VisionConfig"]

DEPTHWISE_KERNEL = 3
"""Rows and columns of a DEPTHWISE window; an array of fewer pixels has no such operation."""


def _power_of_two(value: int) -> bool:
    return value > 0 and value & (value - 1) == 0


@dataclass(frozen=True)
class VisionConfig:
    """Shape and depths of the vision engine.

    The array computes ``output_channels × input_channels × pixels`` products a cycle.  A *word* of
    the activation memory holds ``input_channels`` int8 channels of one pixel; the memory has
    ``pixels`` banks.

    Parameters
    ----------
    output_channels : int
        Output channels computed side by side; even (two products share a DSP).
    input_channels : int
        Input channels reduced a cycle; a power of two, 2 to 16.
    pixels : int
        Output pixels computed side by side; odd, 1 to 7 (an even number of banks would collide
        at stride 2).
    requantize_channels : int
        Channels of each pixel that are requantised a cycle; divides ``output_channels`` and at
        most half of ``input_channels`` (so that a word's write-back never starves the banks).
    bank_words : int
        Words in each activation bank, a power of two.
    weight_rows : int
        Rows of ``output_channels × input_channels`` int8 weights.
    parameter_rows : int
        Rows of ``requantize_channels`` sets of (bias, multiplier, shift).
    instruction_words : int
        64-bit words of instruction memory.
    queue_depth : int
        Jobs that can wait behind the running one, at least 4.
    program_slots : int
        Programs that can be resident at once, a power of two.
    """

    output_channels: int = 16
    input_channels: int = 8
    pixels: int = 3
    requantize_channels: int = 4
    bank_words: int = 4096
    weight_rows: int = 2048
    parameter_rows: int = 1024
    instruction_words: int = 2048
    queue_depth: int = 8
    program_slots: int = 8

    def __post_init__(self) -> None:
        for name, value in asdict(self).items():
            if not isinstance(value, int) or isinstance(value, bool):
                raise TypeError(f"{name} must be an integer, not {value!r}")
        if self.output_channels < 2 or self.output_channels % 2 or self.output_channels > 64:
            raise ValueError(
                f"output_channels must be even, 2 to 64 (two products share a DSP), "
                f"not {self.output_channels}"
            )
        if not _power_of_two(self.input_channels) or not 2 <= self.input_channels <= 16:
            raise ValueError(
                f"input_channels must be a power of two from 2 to 16, not {self.input_channels}"
            )
        if self.pixels % 2 == 0 or not 1 <= self.pixels <= 7:
            raise ValueError(f"pixels must be odd, 1 to 7, not {self.pixels}")
        if self.output_channels % self.input_channels:
            raise ValueError(
                f"output_channels must be a multiple of input_channels, "
                f"not {self.output_channels} and {self.input_channels}"
            )
        if (
            self.requantize_channels < 1
            or self.input_channels % self.requantize_channels
            or self.requantize_channels * 2 > self.input_channels
        ):
            raise ValueError(
                f"requantize_channels must divide input_channels and be at most half of it, "
                f"not {self.requantize_channels} of {self.input_channels}"
            )
        for name in ("bank_words", "weight_rows", "parameter_rows", "instruction_words"):
            value = getattr(self, name)
            if not _power_of_two(value) or not 16 <= value <= 32768:
                raise ValueError(f"{name} must be a power of two from 16 to 32768, not {value}")
        if not 4 <= self.queue_depth <= 64 or not _power_of_two(self.queue_depth):
            raise ValueError(
                f"queue_depth must be a power of two from 4 to 64, not {self.queue_depth}"
            )
        if not _power_of_two(self.program_slots) or self.program_slots > 16:
            raise ValueError(
                f"program_slots must be a power of two up to 16, not {self.program_slots}"
            )

    @property
    def word_bits(self) -> int:
        """Bits of one activation word: ``input_channels`` int8 values."""
        return 8 * self.input_channels

    @property
    def beats_per_word(self) -> int:
        """64-bit beats that carry one word of ``input_channels`` int8 values."""
        return max(1, self.input_channels // 8)

    @property
    def lanes(self) -> int:
        """Results requantised a cycle."""
        return self.pixels * self.requantize_channels

    @property
    def words_per_tile(self) -> int:
        """Activation words that one pixel's tile of output channels fills."""
        return self.output_channels // self.input_channels

    @property
    def drains_per_word(self) -> int:
        """Requantisation cycles that fill one activation word."""
        return self.input_channels // self.requantize_channels

    @property
    def macs_per_cycle(self) -> int:
        """Multiply-accumulates a cycle."""
        return self.output_channels * self.input_channels * self.pixels

    @property
    def has_depthwise(self) -> bool:
        """Whether the array has a depthwise unit: it reads a window's three columns at once."""
        return self.pixels >= DEPTHWISE_KERNEL

    @property
    def depthwise_weight_rows(self) -> int:
        """Rows of weight memory that a tile of the depthwise unit takes."""
        return -(-(DEPTHWISE_KERNEL**2) // self.output_channels)

    @property
    def activation_bytes(self) -> int:
        """Bytes of activation memory."""
        return self.pixels * self.bank_words * self.input_channels

    def as_dict(self) -> dict[str, int]:
        """The parameters by name, as they stand in manifests and in JSON."""
        return asdict(self)


DEFAULT_VISION = VisionConfig()
"""The array of the published overlay: 16 × 8 × 3 on 192 DSPs, for the xc7z020."""

SMALL_VISION = VisionConfig(
    output_channels=4,
    input_channels=4,
    pixels=3,
    requantize_channels=2,
    bank_words=1024,
    weight_rows=512,
    parameter_rows=256,
    instruction_words=1024,
    queue_depth=4,
    program_slots=4,
)
"""A small array with the same structure, for quick simulations."""
