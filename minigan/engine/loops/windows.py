"""Windows of images as the rows of a matrix, and back: kernels/windows.cu."""

from __future__ import annotations

import math
import threading
from functools import lru_cache

import numpy as np

from minigan.engine.cuda import THREADS, check, kernels_take, launch, one_each, table
from minigan.engine.devices import BF16, FLOAT32, Array, array_module
from minigan.engine.loops.activation import bias_leaky, scale_and_bias, slope_of
from minigan.engine.loops.rounding import launch_to_bf16, to_bf16
from minigan.engine.thread_pool import scratch

FILE = "windows.cu"
Pair = tuple[int, int]

_last = threading.local()  # .border: of the frame that this thread made last


def im2col(x: Array, kernel: Pair, stride: int, pad: Pair, size: Pair, out: Array | None = None) -> Array:
    """Windows of x (N, H, W, C) as rows: (N * oh * ow, kh * kw * C), in the order (n, i, j) x (dy, dx, c).

    Window (i, j) begins at pixel (i * stride - top, j * stride - left); outside x there are zeros. pad is (top, left)
    and may be negative. size: (oh, ow), how many windows an image has. out: where to write, if not into a fresh array.
    """
    if kernels_take(x, out):
        return launch_im2col(x, kernel, stride, pad, size, out)
    (N, H, W, C), (kh, kw), (top, left), (oh, ow), xp = x.shape, kernel, pad, size, array_module(x)
    columns = xp.empty((N * oh * ow, kh * kw * C), x.dtype) if out is None else out
    height, width = (oh - 1) * stride + kh, (ow - 1) * stride + kw
    if top > 0 or left > 0 or height - top > H or width - left > W:
        x = framed(x, top, left, height, width)
    else:
        x = x[:, -top:height - top, -left:width - left]
    sn, sy, sx, sc = x.strides
    windows = _strided(x, (N, oh, ow, kh, kw, C), (sn, sy * stride, sx * stride, sy, sx, sc))
    xp.copyto(columns.reshape(windows.shape), windows)
    return columns


def launch_im2col(x: Array, kernel: Pair, stride: int, pad: Pair, size: Pair, out: Array | None = None) -> Array:
    N, _, _, C = x.shape
    count, length = N * size[0] * size[1], kernel[0] * kernel[1] * C
    xp = check("im2col", {"out": (count, length)}, x=x, out=out)
    columns = xp.empty((count, length), np.float32) if out is None else out
    if columns.size:
        windows = _windows("im2col", x.shape, kernel, stride, pad, size, count=count)
        wide = C % 4 == 0 and x.data.ptr % 16 == 0 and columns.data.ptr % 16 == 0
        launch(FILE, "im2col4" if wide else "im2col", (-(-count // 8),), (32, 8), (windows, x, columns))
    return columns


def im2col_bf16(x: Array, kernel: Pair, stride: int, pad: Pair, size: Pair) -> Array:
    """im2col in bfloat16; x float32 or bfloat16."""
    if kernels_take(activations=(x,)):
        return launch_im2col_bf16(x, kernel, stride, pad, size)
    return to_bf16(im2col(x.astype(np.float32) if x.dtype == BF16 else x, kernel, stride, pad, size))[0]


def launch_im2col_bf16(x: Array, kernel: Pair, stride: int, pad: Pair, size: Pair) -> Array:
    """In one launch; in two of float32 if its channels cannot be read four at a time."""
    (N, _, _, C), same = x.shape, x.dtype == BF16
    wide = C % (8 if same else 4) == 0 and x.data.ptr % 16 == 0
    if not (same or wide):
        return launch_to_bf16(launch_im2col(x, kernel, stride, pad, size))[0]
    xp, count = check("im2col_bf16", {}, {"x": x}), N * size[0] * size[1]
    columns = xp.empty((count, kernel[0] * kernel[1] * C), BF16)
    if columns.size:
        name, moved = "im2col_of_bf16" if same else "im2col4_bf16", columns
        if same and C % 2 == 0 and x.data.ptr % 4 == 0:  # two numbers that are only moved are as good as one of float32
            name, x, moved = "im2col4" if wide else "im2col", x.view(np.float32), columns.view(np.float32)
        windows = _windows("im2col_bf16", x.shape, kernel, stride, pad, size, count=count)
        launch(FILE, name, (-(-count // 8),), (32, 8), (windows, x, moved))
    return columns


def col2im(columns: Array, x_shape: tuple[int, ...], kernel: Pair, stride: int, pad: Pair, size: Pair,
           scale: Array | None = None, bias: Array | None = None, slope: float = 1.0,
           out: Array | None = None) -> Array:
    """The adjoint of im2col, every window added back where it was taken, then leaky(sum * scale + bias): (N, H, W, C).

    columns: (N * oh * ow, kh * kw * C), or the same as windows (N, oh, ow, kh, kw, C). scale: one number, an array;
    bias (C,). out: where to write, if not into a fresh array.
    """
    if kernels_take(columns, scale, bias, out):
        return launch_col2im(columns, x_shape, kernel, stride, pad, size, scale, bias, slope, out)
    (N, H, W, C), (kh, kw), (top, left), (oh, ow) = x_shape, kernel, pad, size
    windows, y0, x0 = columns.reshape(N, oh, ow, kh, kw, C), max(0, top), max(0, left)
    height, width = y0 + max(H, (oh - 1) * stride + kh - top), x0 + max(W, (ow - 1) * stride + kw - left)
    frame = array_module(columns).zeros((N, height, width, C), columns.dtype)  # its pixel (y0, x0) is x's first
    for dy in range(kh):
        for dx in range(kw):
            y, x = y0 - top + dy, x0 - left + dx
            frame[:, y:y + oh * stride:stride, x:x + ow * stride:stride] += windows[:, :, :, dy, dx]
    x = bias_leaky(frame[:, y0:y0 + H, x0:x0 + W], bias, slope, scale)
    if out is None:
        return x
    out[...] = x
    return out


def launch_col2im(columns: Array, x_shape: tuple[int, ...], kernel: Pair, stride: int, pad: Pair, size: Pair,
                  scale: Array | None = None, bias: Array | None = None, slope: float = 1.0,
                  out: Array | None = None) -> Array:
    check("col2im", {}, columns=columns)
    return _collect("col2im", columns, x_shape, kernel, stride, pad, size, scale, bias, slope, out)


def col2im_bf16(columns: Array, x_shape: tuple[int, ...], kernel: Pair, stride: int, pad: Pair, size: Pair,
                scale: Array | None = None, bias: Array | None = None, slope: float = 1.0,
                out: Array | None = None) -> Array:
    """col2im of columns in bfloat16. Sums are float32, and so is x, but for an `out` in bfloat16."""
    if array_module(columns) is not np:
        return launch_col2im_bf16(columns, x_shape, kernel, stride, pad, size, scale, bias, slope, out)
    return col2im(columns.astype(np.float32), x_shape, kernel, stride, pad, size, scale, bias, slope, out)


def launch_col2im_bf16(columns: Array, x_shape: tuple[int, ...], kernel: Pair, stride: int, pad: Pair, size: Pair,
                       scale: Array | None = None, bias: Array | None = None, slope: float = 1.0,
                       out: Array | None = None) -> Array:
    if columns.dtype != BF16 or not columns.flags.c_contiguous:
        raise TypeError(f"col2im_bf16: expected columns in bfloat16, C-contiguous, got {columns.dtype}")
    return _collect("col2im_bf16", columns, x_shape, kernel, stride, pad, size, scale, bias, slope, out)


def framed(x: Array, top: int, left: int, height: int, width: int) -> Array:
    """The (height, width) cut of x that begins at (-top, -left), zeros where x has no pixels (a work array)."""
    y0, x0 = max(0, top), max(0, left)  # where x's pixels begin in the frame
    source = x[:, max(0, -top):max(0, height - top), max(0, -left):max(0, width - left)]
    y1, x1 = y0 + source.shape[1], x0 + source.shape[2]
    xp = array_module(x)
    frame = scratch("frame", (x.shape[0], height, width, x.shape[3]), x.dtype, xp)
    border = (frame.ctypes.data, frame.shape, frame.dtype, y0, y1, x0, x1) if xp is np else None
    if border is None or getattr(_last, "border", None) != border:  # else the zeros are still there
        frame[:, :y0] = 0
        frame[:, y1:] = 0
        frame[:, y0:y1, :x0] = 0
        frame[:, y0:y1, x1:] = 0
        _last.border = border
    frame[:, y0:y1, x0:x1] = source
    return frame


def _collect(kernel_name: str, columns: Array, x_shape: tuple[int, ...], kernel: Pair, stride: int, pad: Pair,
             size: Pair, scale: Array | None, bias: Array | None, slope: float, out: Array | None) -> Array:
    """The launch of either kernel that adds windows up."""
    N, _, _, C = x_shape
    rows = N * size[0] * size[1], kernel[0] * kernel[1] * C
    if columns.size != math.prod(rows):
        raise ValueError(f"{kernel_name}: expected columns of shape {rows}, got {columns.shape}")
    if columns.dtype == FLOAT32:
        check(kernel_name, {}, out=out)
    check(kernel_name, {"bias": (C,), "out": tuple(x_shape)}, {"out": out}, scale=scale, bias=bias)
    x = array_module(columns).empty(tuple(x_shape), np.float32) if out is None else out
    windows = _windows(kernel_name, x_shape, kernel, stride, pad, size, count=x.size)
    launch(FILE, kernel_name + ("_to_bf16" if x.dtype == BF16 else ""), one_each(x.size), (THREADS,),
           (windows, columns, x, *scale_and_bias(kernel_name, scale, bias), slope_of(kernel_name, slope)))
    return x


def _strided(x: Array, shape: tuple[int, ...], strides: tuple[int, ...]) -> Array:
    """as_strided; several times as fast where x, as a frame is, is one piece of NumPy's memory."""
    if array_module(x) is np and x.flags.c_contiguous:
        return np.ndarray(shape, x.dtype, x, 0, strides)
    return array_module(x).lib.stride_tricks.as_strided(x, shape, strides)


@lru_cache(1024)  # one for each place of a network where it is needed
def _windows(launcher: str, x_shape: tuple[int, ...], kernel: Pair, stride: int, pad: Pair, size: Pair,
             count: int) -> np.ndarray:
    """The struct Windows, to be read alone."""
    if len(x_shape) != 4 or min(*kernel, stride) < 1 or min(size) < 0:
        raise ValueError(f"{launcher}: expected images (N, H, W, C), kernel >= 1, stride >= 1, size >= 0, "
                         f"got {x_shape}, kernel {kernel}, stride {stride}, size {size}")
    (_, H, W, C), (kh, kw), (top, left), (oh, ow) = x_shape, kernel, pad, size
    reach = max((oh - 1) * stride + kh + abs(top), (ow - 1) * stride + kw + abs(left), H + abs(top), W + abs(left))
    if max(math.prod((kh, kw, C)), reach) >= 1 << 31:
        raise ValueError(f"{launcher}: expected places within an image below 2^31, got {x_shape}, kernel {kernel}")
    return table(FILE, "Windows", H=H, W=W, C=C, kh=kh, kw=kw, stride=stride, top=top, left=left, oh=oh, ow=ow,
                 count=count)
