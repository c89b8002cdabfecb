"""Instructions as NumPy calls: each is decoded once, and then runs on the activation memory.

A layer reads its whole input before it writes: what the compiler emits never depends on the order
within a layer.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import numpy as np
import numpy.typing as npt

from drivers.functional.memories import Memories
from drivers.functional.requantize import Requantizer
from drivers.functional.walks import Indices, input_walk, output_walk
from eyas.interfaces.vision.config import DEPTHWISE_KERNEL, VisionConfig
from eyas.interfaces.vision.isa import PARAMETER, TABLE_FRACTION, Op

__all__ = ["Layer", "operations"]

Fields = Mapping[str, int]
Sums = npt.NDArray[np.generic]
EXACT = 1 << 24
"""Whole numbers up to here are exact in float32, and so is a sum all of whose parts stay below."""


def operations(config: VisionConfig) -> tuple[Op, ...]:
    """What a layer can be on an array of this shape."""
    known = Op.CONV, Op.MAX_POOL, Op.SUM_POOL, Op.ADD
    return (*known, Op.DEPTHWISE) if config.has_depthwise else known


class Layer:
    """One instruction, decoded.

    Parameters
    ----------
    fields : mapping of str to int
        The instruction; its operation is one of :func:`operations`.
    memories : Memories
        Weights and parameters, copied here; activations, on which :meth:`run` works.
    weight_base, parameter_base : int
        First rows of the program.

    """

    def __init__(
        self, fields: Fields, memories: Memories, weight_base: int, parameter_base: int
    ) -> None:
        self.fields = fields
        self._config = config = memories.config
        self._memories = memories
        prepare: Callable[[int], Callable[[], Sums]] = {
            Op.CONV: self._convolution,
            Op.MAX_POOL: self._pool,
            Op.SUM_POOL: self._pool,
            Op.ADD: self._add,
            Op.DEPTHWISE: self._depthwise,
        }[Op(fields["op"])]
        self._lanes, self._written = self._output()
        self._requantize = Requantizer(self._parameters(parameter_base), fields)
        self._padding = np.full(config.input_channels, fields["in_zero_point"], np.int8)
        self._sums = prepare(weight_base)

    def run(self) -> None:
        """Read the input map, compute, write the output map."""
        self._memories.set_padding(self._padding)
        values = self._requantize(self._sums())  # [tiles, pixels, channels]
        values = np.ascontiguousarray(values.transpose(1, 0, 2)).reshape(len(self._written), -1)
        words = values.view(self._memories.word)
        self._memories.words[self._written] = words[:, : self._written.shape[1]]

    def _output(self) -> tuple[Indices, Indices]:
        """The lanes (of all groups, in order) that are written; their words, [pixels, planes]."""
        fields, config = self.fields, self._config
        walk = output_walk(fields, fields["groups"], config.pixels)
        lanes = np.flatnonzero(walk.inside)
        words = fields["drain"] // config.drains_per_word
        plane = np.arange(fields["tiles"] * words)[: fields["out_blocks"]]
        tile, word = np.divmod(plane, max(1, words))
        base = fields["out_base"] + tile * fields["out_tile_step"] + word * fields["out_plane"]
        position = walk.position.reshape(-1)[lanes]
        written = position[:, np.newaxis] + base * config.pixels
        return lanes, written % self._memories.capacity

    def _parameters(self, base: int) -> dict[str, npt.NDArray[np.int64]]:
        """Each parameter of each channel, [tiles, 1, channels of a tile]."""
        fields, config = self.fields, self._config
        row = (
            base
            + fields["parameter_base"]
            + np.arange(fields["tiles"])[:, np.newaxis] * fields["parameter_step"]
            + np.arange(fields["drain"])
        ) % config.parameter_rows
        shape = fields["tiles"], 1, fields["drain"] * config.requantize_channels
        return {
            name: self._memories.parameters[name][row].reshape(shape) for name in PARAMETER.by_name
        }

    # Reading ------------------------------------------------------------------------------------

    def _taps(self) -> tuple[Indices, Indices, Indices]:
        """Distance, row and column of each pass of a group."""
        fields, pixels = self.fields, self._config.pixels
        width = fields["kernel_width"]
        tap_x = fields["tap_x_q"] * pixels + fields["tap_x_r"]
        tap_y = fields["tap_y_q"] * pixels + fields["tap_y_r"]
        passes = np.arange(fields["passes"])
        tap, block = np.divmod(passes, max(1, fields["in_blocks"]))
        y, x = np.divmod(tap, max(1, width))
        row = (width - 1) * tap_x + tap_y  # from a row's first tap to the next one's
        distance = y * row + x * tap_x + block * fields["in_plane"] * pixels
        columns = x * (pixels if fields["merge_lanes"] else 1)
        return distance, y, columns

    def _words(self, lanes: Indices) -> Indices:
        """Words that the passes of ``lanes`` read, [tiles, lanes, passes]; one tile where all tiles
        read the same."""
        fields, memories = self.fields, self._memories
        pixels = self._config.pixels
        walk = input_walk(fields, fields["groups"], pixels)
        position, first_y, first_x = (item.reshape(-1)[lanes, np.newaxis] for item in walk)
        distance, tap_y, tap_x = self._taps()
        y, x = first_y + tap_y, first_x + tap_x
        inside = (y >= 0) & (y < fields["in_height"]) & (x >= 0) & (x < fields["in_width"])
        tiles = fields["tiles"] if fields["in_tile_step"] else 1
        origin = (fields["in_base"] + np.arange(tiles) * fields["in_tile_step"]) * pixels
        words = (origin[:, np.newaxis, np.newaxis] + position + distance) % memories.capacity
        return np.where(inside, words, memories.padding)

    # Operations ---------------------------------------------------------------------------------

    def _convolution(self, weight_base: int) -> Callable[[], Sums]:
        fields, config, memories = self.fields, self._config, self._memories
        channels = fields["drain"] * config.requantize_channels
        row = (
            weight_base
            + fields["weight_base"]
            + np.arange(fields["tiles"])[:, np.newaxis] * fields["weight_step"]
            + np.arange(fields["passes"])
        ) % config.weight_rows
        weights = memories.weights[row][:, :, :channels]  # [tiles, passes, outputs, inputs]
        # No partial sum, in whatever order, is more than this.
        bound = 128 * int(np.abs(weights.astype(np.int64)).sum((1, 3)).max(initial=0))
        kind: type[np.float32 | np.float64] = np.float32 if bound <= EXACT else np.float64
        words = self._words(self._lanes)
        inputs = fields["passes"] * config.input_channels
        if len(words) == 1:
            flat = weights.transpose(1, 3, 0, 2).reshape(inputs, -1).astype(kind)
            shape = len(self._lanes), fields["tiles"], channels

            def shared() -> Sums:
                values = memories.read(words[0]).reshape(len(self._lanes), inputs)
                return (values.astype(kind) @ flat).reshape(shape).transpose(1, 0, 2)

            return shared
        own = weights.transpose(0, 1, 3, 2).reshape(len(words), inputs, channels).astype(kind)

        def separate() -> Sums:
            values = memories.read(words).reshape(len(words), len(self._lanes), inputs)
            return np.matmul(values.astype(kind), own)

        return separate

    def _pool(self, _: int) -> Callable[[], Sums]:
        fields, config, memories = self.fields, self._config, self._memories
        lanes = self._lanes
        if fields["merge_lanes"]:
            lanes = (lanes[:, np.newaxis] + np.arange(config.pixels)).reshape(-1)
        words = self._words(lanes)
        maximum = fields["op"] == Op.MAX_POOL

        def pooled() -> Sums:
            values = memories.read(words)  # [tiles, lanes, passes, channels]
            if maximum:
                result = values.max(2).astype(np.int32)
            else:
                result = values.sum(2, dtype=np.int32)
            if fields["merge_lanes"]:
                result = result.reshape(len(words), -1, config.pixels, config.input_channels).sum(2)
            return result

        return pooled

    def _add(self, _: int) -> Callable[[], Sums]:
        fields, memories = self.fields, self._memories
        words = self._words(self._lanes)
        first, second = (
            np.ascontiguousarray(words[:, :, number]) for number in (0, fields["passes"] - 1)
        )
        tables = [
            _table(*(fields[f"table_{name}_{part}"] for part in ("start", "step", "shift")))
            for name in "ab"
        ]

        def added() -> Sums:
            a, b = (
                table.take(memories.read(item).view(np.uint8))
                for table, item in zip(tables, (first, second), strict=True)
            )
            return a + b  # int32: wraps

        return added

    def _depthwise(self, weight_base: int) -> Callable[[], Sums]:
        fields, config, memories = self.fields, self._config, self._memories
        rows = config.depthwise_weight_rows
        taps = DEPTHWISE_KERNEL**2
        row = (
            weight_base
            + fields["weight_base"]
            + np.arange(fields["tiles"])[:, np.newaxis] * fields["weight_step"]
            + np.arange(rows)
        ) % config.weight_rows
        weights = memories.weights[row].reshape(fields["tiles"], -1, config.input_channels)
        weights = weights[:, :taps].astype(np.int16)[:, np.newaxis]  # [tiles, 1, taps, channels]
        words = self._columns()

        def weighed() -> Sums:
            total = np.zeros((len(words[0]), len(self._lanes), config.input_channels), np.int32)
            for tap, item in enumerate(words):
                total += memories.read(item) * weights[:, :, tap]
            return total

        return weighed

    def _columns(self) -> list[Indices]:
        """For each of the nine taps the words read, [tiles, pixels]."""
        fields, config, memories = self.fields, self._config, self._memories
        pixels = config.pixels
        group, lane = np.divmod(self._lanes, pixels)
        row, group = np.divmod(group, max(1, fields["row_groups"]))
        # The column that completes each pixel of a row, by group and lane.
        completing = _completing_columns(fields, pixels)[group, lane]
        walk = input_walk(fields, fields["groups"] // max(1, fields["row_groups"]), pixels)
        origin = (fields["in_base"] + np.arange(fields["tiles"]) * fields["in_tile_step"]) * pixels
        words = []
        for ky in range(DEPTHWISE_KERNEL):
            position, y, first_x = (item[row, ky] for item in walk)
            for kx in range(DEPTHWISE_KERNEL):
                column = completing + kx - (DEPTHWISE_KERNEL - 1)
                x = first_x + column
                inside = (
                    (column >= 0)
                    & (y >= 0)
                    & (y < fields["in_height"])
                    & (x >= 0)
                    & (x < fields["in_width"])
                )
                place = (origin[:, np.newaxis] + position + column) % memories.capacity
                words.append(np.where(inside, place, memories.padding))
        return words


def _completing_columns(fields: Fields, pixels: int) -> Indices:
    """The column that completes each pixel of a row's groups, [row groups, lanes].

    Lanes that no column completes have the last one; nobody writes them.
    """
    groups = max(1, fields["row_groups"])
    lengths = [fields["group_cycles"]] * groups
    lengths[-1] = fields["last_cycles"]
    lengths[0] = fields["first_cycles"]
    columns = np.zeros((groups, pixels), np.intp)
    begin = 0
    for number, length in enumerate(lengths):
        end = begin + length
        done = [
            x
            for x in range(begin, end)
            if x + 1 >= fields["first_fill"]
            and (x + 1 - fields["first_fill"]) % max(1, fields["stride_x"]) == 0
        ][:pixels]
        columns[number, : len(done)] = done
        begin = end
    return columns


def _table(start: int, step: int, shift: int) -> npt.NDArray[np.int32]:
    """An ADD's table, its entries by the value as an unsigned byte."""
    entries = []
    for byte in range(256):
        number = (byte + 128) % 256  # the int8 value plus 128
        rounded = (start + number * step + (1 << (TABLE_FRACTION - 1))) >> TABLE_FRACTION
        if shift:
            rounded = (rounded + (1 << (shift - 1)) - (rounded < 0)) >> shift
        entries.append((rounded + (1 << 31)) % (1 << 32) - (1 << 31))
    return np.array(entries, np.int64).astype(np.int32)
