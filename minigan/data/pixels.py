"""From a network's numbers in [-1, 1] to pixels."""

from __future__ import annotations

import numpy as np


def to_uint8(x: np.ndarray) -> np.ndarray:
    """Images as bytes: round((x + 1) * 127.5), clipped to 0..255; uint8 passes through.

    x: (N, H, W, C) or any shape, float in [-1, 1] (a tanh generator's range), or uint8.

    The rule undoes uint8 / 127.5 - 1 exactly. It knows nothing of the batch's own minimum and maximum, which
    would make a picture's brightness depend on its neighbours. nan is black.
    """
    x = np.asarray(x)
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind != "f":
        raise ValueError(f"to_uint8: x is {x.dtype} {x.shape}; expected float in [-1, 1] or uint8")
    x = np.clip(np.nan_to_num(x.astype(np.float32), nan=-1.0), -1, 1)
    return np.rint((x + 1) * 127.5).astype(np.uint8)


def truncated(x: np.ndarray) -> np.ndarray:
    """As to_uint8, but x * 127.5 + 127.5 cut off to a whole number, as the SN-GAN authors' code of scores does.

    Rounded and truncated pictures differ by half a grey level on average, which FID sees.
    """
    x = np.clip(np.nan_to_num(np.asarray(x, np.float32), nan=-1.0), -1, 1)
    return (x * np.float32(127.5) + np.float32(127.5)).astype(np.uint8)
