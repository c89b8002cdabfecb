"""Limits of networks on the default array, from the interfaces: a part of ``docs/tflite.md``.

``python -m eyas.pages.limits`` writes the part between its marks; with ``--check`` it writes
nothing and fails where the part is not what would be written.
"""

import argparse
import sys
from collections.abc import Iterator
from pathlib import Path

from eyas.interfaces.vision import limits
from eyas.interfaces.vision.config import DEFAULT_VISION, DEPTHWISE_KERNEL, VisionConfig
from eyas.pages.sections import table

__all__ = ["BEGIN", "END", "PAGE", "limits_part", "with_part"]

PAGE = Path(__file__).parents[2] / "docs" / "tflite.md"
"""The page in a checkout."""

BEGIN = "<!-- limits: written by python -m eyas.pages.limits -->"
END = "<!-- end of limits -->"


def limits_part(config: VisionConfig = DEFAULT_VISION) -> str:
    """The text between the marks: two tables, for the array ``config``."""
    shape = f"{config.output_channels} × {config.input_channels} × {config.pixels}"
    introduction = (
        f"The default array multiplies {shape} values a cycle. `eyas compile` says, layer by "
        "layer, what of a network is beyond its limits."
    )
    memories = table(["memory", "has", "how it is filled"], _memories(config))
    return "\n".join([introduction, "", *memories, "", *table(["form", "at most"], _forms(config))])


def _memories(config: VisionConfig) -> Iterator[tuple[str, str, str]]:
    inputs, outputs, taps = config.input_channels, config.output_channels, DEPTHWISE_KERNEL
    weights = (
        f"a row holds {outputs} output × {inputs} input channels of one tap: input channels are "
        f"padded to {inputs}, output channels to {outputs}. A depthwise kernel up to {taps} × "
        f"{taps} mostly takes {config.depthwise_weight_rows} row for {inputs} channels"
    )
    maps = (
        f"channels are padded to {inputs}, the pixels of a map to {config.pixels}; an operator's "
        "inputs and output live at once, and so does a map that a later one reads"
    )
    parameters = (
        f"a row for {config.requantize_channels} output channels of each layer, which are padded "
        f"to {outputs} (to {inputs} where there are no more); a layer without weights takes "
        f"{config.drains_per_word} rows"
    )
    layers = "an operator is one; an average pool with SAME padding up to nine"
    row = limits.weight_row_bytes(config)
    yield "weights of all layers", _memory(config.weight_rows, row), weights
    yield "maps that live at once", _kib(config.activation_bytes), maps
    row = limits.parameter_row_bytes(config)
    yield "requantisation parameters", _memory(config.parameter_rows, row), parameters
    yield "layers", f"{limits.layers(config):,}", layers


def _forms(config: VisionConfig) -> Iterator[tuple[str, str]]:
    field = limits.field_limit
    blocks = min(field("in_blocks"), field("out_blocks"))
    sides = min(field("in_height"), field("in_width"), field("out_height"), field("out_width"))
    window = (
        f"{field('kernel_height'):,} and {field('kernel_width'):,}; the whole map is the window "
        "of a MEAN and of a fully connected layer"
    )
    yield "rows and columns of a map", f"{sides:,} each"
    yield (
        "channels of a map; inputs of a fully connected layer that reads a vector",
        (f"{blocks * config.input_channels:,}"),
    )
    yield "rows and columns of a window", window
    yield "vertical and horizontal stride", f"{field('stride_y'):,} and {field('stride_x'):,}"
    yield "padding at the top and on the left", f"{field('start_y'):,} and {field('start_x'):,}"
    yield (
        "taps of a window times padded input channels",
        (f"{field('passes') * config.input_channels:,}"),
    )
    yield "values a window of a pool or of a MEAN", f"{limits.POOL_VALUES:,}"
    yield "classes of a softmax", f"{limits.SOFTMAX_CLASSES:,}"
    yield "input scale × weight scale / output scale", f"less than 2^{limits.MULTIPLIER_BITS}"
    yield (
        "greater input scale / output scale of an ADD",
        (f"less than 2^{limits.ADD_FRACTION_BITS - 1}"),
    )


def _memory(rows: int, row_bytes: int) -> str:
    return f"{_kib(rows * row_bytes)} ({rows:,} rows)"


def with_part(text: str) -> str:
    """The page ``text`` with the part as it would be written; ValueError without its marks."""
    if text.count(BEGIN) != 1 or text.count(END) != 1 or text.index(BEGIN) > text.index(END):
        raise ValueError(f"The page must have {BEGIN!r} and, behind it, {END!r}, once each")
    before, rest = text.split(BEGIN)
    return f"{before}{BEGIN}\n\n{limits_part()}\n\n{END}{rest.split(END)[1]}"


def _kib(size: int) -> str:
    return f"{size / 1024:g} KiB"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m eyas.pages.limits", description=__doc__)
    parser.add_argument("--check", action="store_true", help="compare only; fail on a difference")
    parser.add_argument("--page", type=Path, default=PAGE, help="the page with the marks")
    options = parser.parse_args(arguments)
    text = options.page.read_text(encoding="utf-8")
    wanted = with_part(text)
    if options.check and text != wanted:
        print(f"{options.page} is out of date: run python -m eyas.pages.limits", file=sys.stderr)
        return 1
    if not options.check:
        options.page.write_text(wanted, encoding="utf-8")
        print(options.page)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
