"""Brings images to another size, in the ways of the papers' code."""

from __future__ import annotations

import numpy as np
from PIL import Image

# lanczos and bilinear are Pillow's, which widen their filter when they make an image smaller (antialiasing).
# mimicry (torchvision) and the SN-GAN authors' ImageNet code (scipy.misc.imresize) use bilinear, the BSSN authors'
# code plain: OpenCV's bilinear, which looks at four pixels whatever the size.
RESIZES = ("lanczos", "bilinear", "plain")


def resized(images: np.ndarray, size: int, how: str = "lanczos") -> np.ndarray:
    """Images uint8 (N, H, W, C), C = 1 or 3, brought to (N, size, size, C) in the way `how`, one of RESIZES."""
    if how == "plain":
        return _plain(images, size)
    method = {"lanczos": Image.Resampling.LANCZOS, "bilinear": Image.Resampling.BILINEAR}[how]
    made = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for image, target in zip(images, made, strict=True):
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else np.ascontiguousarray(image))
        target[...] = np.asarray(picture.resize((size, size), method)).reshape(target.shape)
    return made


def _plain(images: np.ndarray, size: int) -> np.ndarray:
    """Bilinear between the four nearest pixels, pixels' middles at half numbers, no antialiasing.

    As OpenCV's INTER_LINEAR: at half the size exactly its rule, the rounded mean of 2 x 2 pixels; elsewhere the
    rounding of a result may differ by one grey level, since OpenCV computes with weights of 11 bits.
    """
    height, width = images.shape[1:3]
    if (height, width) == (2 * size, 2 * size):
        wide = images.astype(np.uint16)
        wide = wide[:, ::2] + wide[:, 1::2]
        return ((wide[:, :, ::2] + wide[:, :, 1::2] + 2) >> 2).astype(np.uint8)
    top, bottom, down = _neighbours(height, size)
    left, right, across = _neighbours(width, size)
    down, across = down[:, None, None], across[:, None]
    made = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for image, target in zip(images, made, strict=True):
        rows = image[top] * (1 - down) + image[bottom] * down
        target[...] = rows[:, left] * (1 - across) + rows[:, right] * across + np.float32(0.5)
    return made


def _neighbours(length: int, size: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """For each new pixel the two old ones it lies between, and how far it is on its way to the second."""
    at = np.clip((np.arange(size) + 0.5) * length / size - 0.5, 0, length - 1)
    first = np.floor(at).astype(np.int64)
    return first, np.minimum(first + 1, length - 1), (at - first).astype(np.float32)
