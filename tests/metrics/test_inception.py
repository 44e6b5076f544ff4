"""The Inception beside other people's: their features, most kept in golden_inception.npz, and their resizing."""

import importlib.util

import emulated_cupy
import golden_inception
import numpy as np
import pytest

from minigan.engine import devices, thread_pool
from minigan.errors import WrongUse
from minigan.metrics import inception, inception_resize
from minigan.metrics.inception import KINDS, TAPS, Inception

GOLDEN = np.load(golden_inception.FILE)


@pytest.fixture(scope="module")
def weights():
    return golden_inception.seeded(inception.tensors())


@pytest.fixture(scope="module")
def nets(weights):
    return {dtype: Inception(weights, dtype=dtype) for dtype in (np.float32, np.float64)}


def pictures(rng, *shape):
    return rng.integers(0, 256, shape, np.uint8)


def checkerboard(height, width, side):
    """uint8 (1, height, width, 3): black and white squares."""
    y, x = np.indices((height, width)) // side
    return np.repeat(((y + x) % 2 * 255).astype(np.uint8)[None, :, :, None], 3, 3)


# One image each, of kinds that round in their own ways: all pixels alike, the finest of patterns, larger than 299.
KINDS_OF_IMAGES = {
    "grey": lambda rng: np.full((1, 64, 64, 3), 127, np.uint8), "black": lambda rng: np.zeros((1, 32, 32, 3), np.uint8),
    "checkerboard": lambda rng: checkerboard(299, 299, 2), "coarse": lambda rng: checkerboard(256, 256, 64),
    "large checkerboard": lambda rng: checkerboard(400, 320, 1), "noise": lambda rng: pictures(rng, 1, 32, 32, 3),
    "large noise": lambda rng: pictures(rng, 1, 400, 320, 3)}


def everything(net, images):
    """Features at each tap and both kinds of logits, on the host."""
    found = net.features(images, tuple(TAPS))
    found |= {"logits_unbiased": net.logits(found["2048"]), "logits": net.logits(found["2048"], bias=True)}
    return {tap: devices.to_host(y) for tap, y in found.items()}


# ---- beside other people's networks --------------------------------------------------------------------------------

# float64: the golden numbers are rounded to float32, 6e-8; float32: the rounding of 94 layers, torch's own is the same
@pytest.mark.parametrize("kind, dtype, tolerance", [
    *((kind, np.float32, 2e-5) for kind in KINDS), ("inception-2015-12-05", np.float64, 1e-6)])
def test_features_are_those_of_the_original_code(kind, dtype, tolerance, weights):
    shapes = inception.tensors(kind)
    given = {name: weights[name] for name in shapes} | golden_inception.seeded(
        {name: shape for name, shape in shapes.items() if name.startswith("fc")})
    found = everything(Inception(given, kind, dtype=dtype), golden_inception.pictures())
    compared = 0
    for tap, y in found.items():
        if f"{kind}/{tap}" in GOLDEN:
            expected = GOLDEN[f"{kind}/{tap}"]
            assert y.dtype == dtype
            assert abs(y[:, ::golden_inception.STEP[tap]] - expected).max() <= tolerance * abs(expected).max()
            compared += 1
    assert compared >= 5


def test_the_golden_features_tell_pictures_and_kinds_apart():
    for kind in KINDS:
        first, second = GOLDEN[f"{kind}/2048"]
        assert abs(first - second).max() > 0.05 * abs(first).max()
    for tap in TAPS:
        original, chainer = GOLDEN[f"inception-2015-12-05/{tap}"], GOLDEN[f"inception-chainer/{tap}"]
        assert abs(original - chainer).max() > 0.002 * abs(original).max()


# float32: torch's own is off by 3.2e-6 on the large checkerboard, most of it by the resizing
@pytest.mark.skipif(importlib.util.find_spec("torch_fidelity") is None, reason="torch-fidelity is not installed")
@pytest.mark.parametrize("kind", KINDS_OF_IMAGES)
def test_features_are_those_of_torch_fidelity(kind, weights, nets, rng):
    images = KINDS_OF_IMAGES[kind](rng)
    expected = golden_inception.torch_fidelity(weights, images)
    for dtype, tolerance in ((np.float64, 1e-6), (np.float32, 1e-5)):
        for tap, y in everything(nets[dtype], images).items():
            assert abs(y - expected[tap]).max() <= tolerance * abs(expected[tap]).max()


@pytest.mark.parametrize("kind", KINDS_OF_IMAGES)
def test_the_mean_over_many_pixels_does_not_add_up_roundings(kind, nets, rng):
    """Tap 64 is the mean of 5,329 pixels: added up in float32 that is off by 7e-5 where they are alike."""
    images, taps = KINDS_OF_IMAGES[kind](rng), ("64", "192")
    expected, found = (nets[dtype].features(images, taps) for dtype in (np.float64, np.float32))
    for tap in taps:
        assert abs(found[tap] - expected[tap]).max() <= 1e-5 * abs(expected[tap]).max()


def test_the_tensors_are_those_of_the_published_file():
    """Counted in it: 472 tensors, 23,885,392 values."""
    shapes = inception.tensors()
    assert len(shapes) == 472
    assert sum(int(np.prod(shape)) for shape in shapes.values()) == 23_885_392
    assert shapes["Mixed_6b.branch7x7dbl_5.conv.weight"] == (192, 128, 1, 7)
    assert shapes["Mixed_7c.branch3x3dbl_3b.conv.weight"] == (384, 384, 3, 1)
    assert shapes["Mixed_6a.branch3x3.bn.running_var"] == (384,)
    names = [name.split(".")[1] for name in shapes if name.startswith("Mixed_7b") and name.endswith("conv.weight")]
    assert names == ["branch1x1", "branch3x3_1", "branch3x3_2a", "branch3x3_2b", "branch3x3dbl_1", "branch3x3dbl_2",
                     "branch3x3dbl_3a", "branch3x3dbl_3b", "branch_pool"]
    assert list(shapes)[-2:] == ["fc.weight", "fc.bias"]


@pytest.mark.parametrize("block, values", [
    ("5b", 256_832), ("5c", 278_464), ("5d", 286_144), ("6a", 1_154_560), ("6b", 1_300_480), ("6c", 1_694_464),
    ("6d", 1_694_464), ("6e", 2_145_792), ("7a", 1_700_864), ("7b", 5_051_136), ("7c", 6_083_328)])
def test_a_block_has_the_published_number_of_values(block, values):
    found = [shape for name, shape in inception.tensors().items() if name.startswith(f"Mixed_{block}")]
    assert sum(int(np.prod(shape)) for shape in found) == values


# ---- independence of what else is asked ----------------------------------------------------------------------------

def test_a_picture_has_the_same_bits_in_any_batch_and_with_any_threads(narrow, rng):
    net = Inception(golden_inception.seeded(inception.tensors(narrow)), narrow)
    images = pictures(rng, 5, 20, 30, 3)
    expected = everything(net, images)
    before = thread_pool.thread_count()
    try:
        for threads in (1, 3):
            thread_pool.set_threads(threads)
            parts = [everything(net, images[part]) for part in (slice(0, 1), slice(1, 4), slice(4, 5))]
            for tap in TAPS:
                assert np.array_equal(np.concatenate([part[tap] for part in parts]), expected[tap])
    finally:
        thread_pool.set_threads(before)


def test_a_grey_picture_is_one_of_three_equal_channels(narrow, rng):
    net = Inception(golden_inception.seeded(inception.tensors(narrow)), narrow)
    grey = pictures(rng, 2, 28, 28, 1)
    assert np.array_equal(net.features(grey)["2048"], net.features(grey.repeat(3, 3))["2048"])


def test_no_pictures_have_no_features(narrow):
    net = Inception(golden_inception.seeded(inception.tensors(narrow)), narrow)
    assert net.features(np.empty((0, 32, 32, 3), np.uint8))["2048"].shape == (0, len(net.last[0].T))


# ---- resizing ------------------------------------------------------------------------------------------------------

SIZES = [(32, 32), (27, 41), (299, 299), (330, 305)]


@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("how, align", [("half-pixel", False), ("align-corners", True)])
def test_bilinear_resizing_is_torchs(size, how, align, rng):
    torch = pytest.importorskip("torch")
    images = pictures(rng, 2, *size, 3)
    expected = torch.nn.functional.interpolate(torch.from_numpy(images).permute(0, 3, 1, 2).double(), (299, 299),
                                               mode="bilinear", align_corners=align).permute(0, 2, 3, 1).numpy()
    assert abs(inception_resize.resized(images, 299, how, np.float64) - expected).max() < 1e-9
    # float32: a place near 330 is off by up to 6e-5, and grey levels by 255 times that
    assert abs(inception_resize.resized(images, 299, how) - expected).max() < 2e-2


@pytest.mark.parametrize("size", SIZES)
def test_tensorflows_resizing_is_its_definition(size, rng):
    """Each pixel on its own, in float32 as image_resizer_state.h and resize_bilinear_op.cc have it."""
    image = pictures(rng, *size, 1)
    found = inception_resize.resized(image[None], 299, "tf")[0]
    one = np.float32
    x = image[..., 0].astype(one)
    for i, j in rng.integers(0, 299, (200, 2)).tolist() + [[298, 298], [0, 0]]:
        y, across = (one(n) * one(length / 299) for n, length in zip((i, j), size, strict=True))
        top, left = int(y), int(across)
        bottom, right = min(top + 1, size[0] - 1), min(left + 1, size[1] - 1)
        t, b = (x[row, left] + (x[row, right] - x[row, left]) * (across - one(left)) for row in (top, bottom))
        assert found[i, j, 0] == t + (b - t) * (y - one(top))


@pytest.mark.skipif(importlib.util.find_spec("torch_fidelity") is None, reason="torch-fidelity is not installed")
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("size", SIZES)
def test_tensorflows_resizing_has_torch_fidelitys_bits(size, dtype, rng):
    torch = pytest.importorskip("torch")
    golden_inception.bare("torch_fidelity")
    from torch_fidelity.interpolate_compat_tensorflow import interpolate_bilinear_2d_like_tensorflow1x as theirs
    images = pictures(rng, 2, *size, 3)
    x = torch.from_numpy(images).permute(0, 3, 1, 2).to(getattr(torch, dtype))
    expected = theirs(x, (299, 299), align_corners=False).permute(0, 2, 3, 1).numpy()
    assert np.array_equal(inception_resize.resized(images, 299, "tf", dtype), expected)


def bicubic(length, size):
    """(size, length): the weights of an antialiased bicubic (Keys 1981, a = -0.5), as many as fall on the image."""
    scale = max(1.0, length / size)
    middle = (np.arange(size)[:, None] + 0.5) * length / size
    t = abs(np.arange(length) + 0.5 - middle) / scale
    weights = np.where(t < 1, (1.5 * t - 2.5) * t * t + 1, np.where(t < 2, ((-0.5 * t + 2.5) * t - 4) * t + 2, 0))
    return weights / weights.sum(1, keepdims=True)


@pytest.mark.parametrize("size", SIZES)
def test_bicubic_resizing_is_antialiased_and_not_rounded(size, rng):
    images = pictures(rng, 1, *size, 3)
    expected = np.einsum("ih,nhwc,jw->nijc", bicubic(size[0], 299), images.astype(np.float64), bicubic(size[1], 299),
                         optimize=True)
    found = inception_resize.resized(images, 299, "pil-bicubic")
    assert abs(found - np.clip(expected, 0, 255)).max() < 1e-3  # Pillow rounds to float32 between the two directions


# ---- wrong use -----------------------------------------------------------------------------------------------------

def test_weights_that_are_missing_or_of_another_shape_are_named(narrow):
    weights = golden_inception.seeded(inception.tensors(narrow))
    Inception({**weights, "AuxLogits.fc.weight": np.zeros(3)}, narrow)  # what is not needed is ignored
    name = "Mixed_5b.branch1x1.conv.weight"
    with pytest.raises(WrongUse, match=r"Mixed_5b.branch1x1.conv.weight.* is \(2, 6, 1, 1\), got \(2, 6, 3, 3\)"):
        Inception({**weights, name: np.zeros((2, 6, 3, 3), np.float32)}, narrow)
    del weights[name]
    with pytest.raises(WrongUse, match="missing: Mixed_5b.branch1x1.conv.weight"):
        Inception(weights, narrow)


def test_without_the_last_layer_there_are_features_and_no_logits(narrow, rng):
    weights = golden_inception.seeded(inception.tensors(narrow))
    images = pictures(rng, 2, 32, 32, 3)
    whole = Inception(weights, narrow)
    part = Inception({name: array for name, array in weights.items() if not name.startswith("fc.")}, narrow)
    found = part.features(images)["2048"]
    assert np.array_equal(found, whole.features(images)["2048"])
    with pytest.raises(WrongUse, match="no last layer"):
        part.logits(found)
    with pytest.raises(WrongUse, match=r"missing: fc\.bias"):
        Inception({name: array for name, array in weights.items() if name != "fc.bias"}, narrow)


def test_what_is_not_a_batch_of_pictures_is_refused(narrow):
    net = Inception(golden_inception.seeded(inception.tensors(narrow)), narrow)
    for images in (np.zeros((2, 8, 8, 3)), np.zeros((8, 8, 3), np.uint8), np.zeros((2, 3, 8, 8), np.uint8)):
        with pytest.raises(WrongUse, match="expected images uint8"):
            net.features(images)
    with pytest.raises(WrongUse, match="unknown feature '1024'; choose from: 192, 2048, 64, 768"):
        net.features(np.zeros((1, 8, 8, 3), np.uint8), ("1024",))
    for arguments, message in (({"kind": "v4"}, "unknown Inception 'v4'"), ({"resize": "nearest"}, "unknown resize")):
        with pytest.raises(WrongUse, match=message):
            Inception({}, **arguments)


# ---- on CuPy's arrays ----------------------------------------------------------------------------------------------

@pytest.mark.parametrize("dtype, tolerance", [(np.float64, 1e-12), (np.float32, 1e-5)])
def test_a_gpu_computes_the_same_features(dtype, tolerance, narrow, rng, monkeypatch):
    weights = golden_inception.seeded(inception.tensors(narrow))
    images = pictures(rng, 3, 11, 14, 3)
    expected = everything(Inception(weights, narrow, dtype=dtype), images)
    monkeypatch.setattr(inception, "GROUP", 2)
    with emulated_cupy.installed() as cupy:
        net = Inception(weights, narrow, xp=cupy, dtype=dtype)
        for given in (images, cupy.asarray(images)):
            for tap, y in everything(net, given).items():
                assert y.dtype == dtype
                assert abs(y - expected[tap]).max() <= tolerance * abs(expected[tap]).max()


@pytest.mark.parametrize("resize", inception_resize.RESIZES)
def test_on_a_gpu_a_group_of_images_is_a_graph_and_gives_the_same_bytes(resize, narrow, rng, monkeypatch, capfd):
    """Emulated. The first two groups run as they are, the others are one launch and one copy each."""
    weights = golden_inception.seeded(inception.tensors(narrow))
    images = pictures(rng, 9, 11, 14, 3)
    monkeypatch.setattr(inception, "GROUP", 2)
    with emulated_cupy.installed() as cupy:
        net = Inception(weights, narrow, resize, cupy)
        with emulated_cupy.counted() as counts:
            found = net.features(images, ("64", "2048"))
        assert (counts.graphs, counts.to_host) == (3, 0)
        with emulated_cupy.counted() as counts:
            again = net.features(images, ("64", "2048"))
        assert (counts.graphs, counts.to_device, counts.to_host) == (5, 5, 0)
        plain = Inception(weights, narrow, resize, cupy)
        for start in range(0, 9, 2):
            plain.graphs = None  # each group is the first, which runs as it is
            for tap, y in plain.features(images[start:start + 2], ("64", "2048")).items():
                assert y.get().tobytes() == found[tap][start:start + 2].get().tobytes()
                assert y.get().tobytes() == again[tap][start:start + 2].get().tobytes()
    assert capfd.readouterr().err == ""


@pytest.mark.gpu
def test_a_real_gpu_gives_the_golden_features(real_cupy, weights):
    for tap, y in everything(Inception(weights, xp=real_cupy), golden_inception.pictures()).items():
        expected = GOLDEN[f"inception-2015-12-05/{tap}"]
        assert abs(y[:, ::golden_inception.STEP[tap]] - expected).max() <= 1e-4 * abs(expected).max()
