"""The engine's memories: programs, and the activation memory as one linear array."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from eyas.interfaces.vision.config import VisionConfig
from eyas.interfaces.vision.isa import PARAMETER

__all__ = ["Memories"]

_WORDS = {2: "<u2", 4: "<u4", 8: "<u8", 16: "V16"}


class Memories:
    """Instructions, weights, parameters and activations.

    Word q of bank r of the activation memory is word ``q · P + r`` here, so that a map's pixel is
    its linear number plus ``base · P``.

    Parameters
    ----------
    config : VisionConfig
        Their sizes.

    Attributes
    ----------
    instructions : uint64 array [instruction_words]
    weights : int8 array [weight_rows, output_channels, input_channels]
    parameters : dict of str to int64 array [parameter_rows, requantize_channels]
        By the name of the field.
    words : array [capacity + 1]
        Activation words; the last one is what padded taps read.
    capacity, padding : int
        Words of the activation memory; the number of the word behind them.
    word : dtype
        Of an activation word.
    """

    def __init__(self, config: VisionConfig) -> None:
        self.config = config
        self.instructions = np.zeros(config.instruction_words, np.uint64)
        self.weights = np.zeros(
            (config.weight_rows, config.output_channels, config.input_channels), np.int8
        )
        shape = config.parameter_rows, config.requantize_channels
        self.parameters = {name: np.zeros(shape, np.int64) for name in PARAMETER.by_name}
        self.capacity = self.padding = config.pixels * config.bank_words
        self.word = np.dtype(_WORDS[config.input_channels])
        self._bytes = np.zeros((self.capacity + 1, config.input_channels), np.int8)
        self.words = self._bytes.view(self.word).reshape(-1)

    def set_padding(self, value: npt.NDArray[np.int8]) -> None:
        """Set the word that padded taps read."""
        self._bytes[self.padding] = value

    def read(self, words: npt.NDArray[np.intp]) -> npt.NDArray[np.int8]:
        """The channels of activation words, in the shape of ``words`` with one more axis."""
        found = self.words.take(words)
        return found.view(np.int8).reshape(*words.shape, self.config.input_channels)
