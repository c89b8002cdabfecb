"""Average pooling by requantisation: the parameters that turn a window's sum into its average."""

from __future__ import annotations

from eyas.interfaces.vision.limits import POOL_VALUES as MAX_COUNT

__all__ = ["MAX_COUNT", "average_parameters"]


def average_parameters(count: int) -> tuple[int, int, int]:
    """Parameters with which a requantisation lane divides a sum of int8 values by their number.

    The lane then computes ``sum / count`` to nearest, halves away from zero, as TensorFlow Lite's
    average pooling does, for every sum from ``-128 · count`` to ``127 · count`` (the tests try them
    all).  Bias and zero point are 0: the average of quantised values is quantised alike.

    Parameters
    ----------
    count : int
        Values in the window, 1 to 4096; padded places do not count.

    Returns
    -------
    pre_shift, multiplier, shift : int, int, int
        ``multiplier · 2^(pre_shift − shift − 31)`` is 1 / count to 31 significant bits; the sum is
        shifted left as far as 32 bits allow, so that what is lost before the last rounding is too
        little to matter.
    """
    if not isinstance(count, int) or isinstance(count, bool):
        raise TypeError(f"The number of pooled values must be an integer, not {count!r}")
    if not 1 <= count <= MAX_COUNT:
        raise ValueError(f"An average is taken over 1 to {MAX_COUNT} values, not {count}")
    # The least sum is −2^7 · count, at best −2^31 after the shift.
    bits = (count - 1).bit_length()
    pre_shift = min(15, 24 - bits)
    # 2^(bits − 1) / count is one half to one, and the multiplier the nearest to 2^31 times it.
    multiplier = ((1 << (bits + 31)) // count + 1) >> 1
    return pre_shift, multiplier, pre_shift + bits - 1
