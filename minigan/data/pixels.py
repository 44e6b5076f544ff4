"""Pixels, bytes of 0 to 255, as the numbers in [-1, 1] that networks see and make; and back."""

from __future__ import annotations

from typing import Any

import numpy as np

HALF = 127.5  # of the range of a byte
SCALINGS = {"255": HALF, "128": 128.0}  # x / s - 1: the first in most code, the second in the authors' ResNet's


def to_floats(x: Any, scaling: str = "255") -> Any:
    """Pixels as float32 in [-1, 1]: x / s - 1, s being that of `scaling`; x is not modified.

    x: an array on any device, of any shape, uint8; or float32 in [0, 256): pixels and noise of one grey level.
    """
    x = x.astype(np.float32)
    x /= np.float32(SCALINGS[scaling])
    x -= np.float32(1)
    return x


def to_uint8(x: np.ndarray) -> np.ndarray:
    """Images as bytes: round((x + 1) * 127.5), clipped to 0..255; uint8 passes through.

    x: (N, H, W, C) or any shape, float in [-1, 1] (a tanh generator's range), or uint8.

    The rule undoes `to_floats` exactly, where scaling is "255". It knows nothing of the batch's own minimum and
    maximum, which would make an image's brightness depend on its neighbours. nan is black.
    """
    x = np.asarray(x)
    if x.dtype == np.uint8:
        return x
    if x.dtype.kind != "f":
        raise ValueError(f"to_uint8: x is {x.dtype} {x.shape}; expected float in [-1, 1] or uint8")
    x = np.clip(np.nan_to_num(x.astype(np.float32), nan=-1.0), -1, 1)
    return np.rint((x + 1) * HALF).astype(np.uint8)


def truncated(x: np.ndarray) -> np.ndarray:
    """As to_uint8, but x * 127.5 + 127.5 cut off to a whole number, as the SN-GAN authors' code of scores does.

    Rounded and truncated images differ by half a grey level on average, which FID sees.
    """
    x = np.clip(np.nan_to_num(np.asarray(x, np.float32), nan=-1.0), -1, 1)
    return (x * np.float32(HALF) + np.float32(HALF)).astype(np.uint8)


TO_UINT8 = {"round": to_uint8, "truncate": truncated}
