"""Layers: PyTorch's, the plain compositions, what is saved and what is refused."""

import numpy as np
import pytest
from checks import check_grads
from twins import to_float64

from minigan.engine import conv_ops, ops, pool_ops
from minigan.engine.autograd import Tensor, grad
from minigan.errors import FailedWork
from minigan.nn.feature_norms import BatchNorm, BatchNormalize, LayerNorm
from minigan.nn.initializers import normal
from minigan.nn.layers import Conv2d, ConvTranspose2d, Layer, Linear, Sequential
from minigan.nn.spectral_norms import SpectralNorm
from minigan.nn.weight_norms import NoNorm


@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


def drawn(layer, rng):
    """The layer in float64, with random numbers for what starts at 0 or 1."""
    for _, part in to_float64(layer).walk():
        for name in part.params.keys() & {"b", "beta", "gamma"}:
            part.params[name].data = rng.standard_normal(part.params[name].shape)
    return layer


def agree(layer, x, by_torch, rng, channels_first=True):
    """Output and all gradients (x, then the parameters in their order) against PyTorch's, in float64.

    by_torch(x, *parameters) works on PyTorch tensors, images and convolution weights channels first.
    """
    torch = pytest.importorskip("torch")

    def there(a):
        return torch.tensor(a.transpose(0, 3, 1, 2) if a.ndim == 4 else a, requires_grad=True)

    def back(t):
        a = t.detach().numpy()
        return a.transpose(0, 2, 3, 1) if a.ndim == 4 else a
    xs = [Tensor(x, requires_grad=True), *layer.parameters().values()]
    y = layer(xs[0])
    ts = [there(t.data) for t in xs]
    yt = by_torch(*ts)
    weights = rng.standard_normal(y.shape)
    np.testing.assert_allclose(y.data, back(yt), rtol=1e-10, atol=1e-10)
    gradients = torch.autograd.grad((yt * there(weights)).sum(), ts)
    for create_graph in (False, True):
        found = grad(y, xs, create_graph=create_graph, gy=Tensor(weights))
        for name, g, gt in zip(("x", *layer.parameters()), found, gradients, strict=True):
            np.testing.assert_allclose(g.data, back(gt), rtol=1e-9, atol=1e-9, err_msg=name)


# ---- dense and convolution -----------------------------------------------------------------------------------------

@pytest.mark.parametrize("bias", [True, False])
def test_linear_is_pytorchs(bias, rng, torch):
    layer = drawn(Linear(rng, 5, 3, normal(), bias), rng)
    agree(layer, rng.standard_normal((4, 5)), torch.nn.functional.linear, rng)


@pytest.mark.parametrize("kernel, stride, pad", [(3, 1, 1), (4, 2, 1), (1, 1, 0), (3, 2, 0), (2, 3, 2)])
@pytest.mark.parametrize("slope", [1, 0.1, 0])
def test_conv2d_is_pytorchs(kernel, stride, pad, slope, rng, torch):
    layer = drawn(Conv2d(rng, 3, 5, kernel, stride, pad, slope=slope), rng)

    def by_torch(x, W, b):
        return torch.nn.functional.leaky_relu(torch.nn.functional.conv2d(x, W, b, stride, pad), slope)
    agree(layer, rng.standard_normal((2, 7, 8, 3)), by_torch, rng)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("slope", [1, 0.1, 0])
def test_resample_up_is_nearest_upsampling_before_the_convolution(kernel, slope, rng, torch):
    layer = drawn(Conv2d(rng, 3, 5, kernel, pad=kernel // 2, slope=slope, resample="up"), rng)

    def by_torch(x, W, b):
        x = torch.nn.functional.interpolate(x, scale_factor=2, mode="nearest")
        return torch.nn.functional.leaky_relu(torch.nn.functional.conv2d(x, W, b, padding="same"), slope)
    agree(layer, rng.standard_normal((2, 5, 4, 3)), by_torch, rng)


@pytest.mark.parametrize("kernel", [1, 3])
@pytest.mark.parametrize("size", [(6, 4), (5, 7)], ids=["even", "odd"])
def test_resample_down_is_mean_pooling_after_the_convolution(kernel, size, rng, torch):
    layer = drawn(Conv2d(rng, 3, 5, kernel, pad=kernel // 2, resample="down"), rng)

    def by_torch(x, W, b):
        return torch.nn.functional.avg_pool2d(torch.nn.functional.conv2d(x, W, b, padding="same"), 2)
    agree(layer, rng.standard_normal((2, *size, 3)), by_torch, rng)


@pytest.mark.parametrize("resample, kernel", [(r, k) for r in ("up", "down") for k in (1, 3)])
def test_resampling_has_the_second_derivatives_of_the_plain_composition(resample, kernel, rng):
    layer = drawn(Conv2d(rng, 2, 3, kernel, pad=kernel // 2, resample=resample), rng)
    x = Tensor(rng.standard_normal((2, 4, 6, 2)), requires_grad=True)
    W, b = layer.params["W"], layer.params["b"]
    plain = conv_ops.conv2d(pool_ops.upsample2d(x) if resample == "up" else x, W, b, pad=kernel // 2)
    plain = pool_ops.mean_pool2d(plain) if resample == "down" else plain
    found = []
    for y in (layer(x), plain):
        gradients = grad(ops.sum(ops.tanh(y)), [x, W, b], create_graph=True)
        found.append(grad(sum(ops.sum(g * g) for g in gradients), [x, W, b]))
    for name, g, expected in zip("xWb", *found, strict=True):
        assert np.abs(expected.data).max() > 1e-6
        np.testing.assert_allclose(g.data, expected.data, rtol=1e-9, atol=1e-12, err_msg=name)


@pytest.mark.parametrize("kernel, stride, pad, output_pad", [(4, 2, 1, 0), (4, 2, 1, 1), (3, 1, 1, 0), (2, 3, 0, 2)])
def test_conv_transpose2d_is_pytorchs(kernel, stride, pad, output_pad, rng, torch):
    layer = drawn(ConvTranspose2d(rng, 3, 5, kernel, stride, pad, output_pad), rng)

    def by_torch(x, W, b):
        return torch.nn.functional.conv_transpose2d(x, W, b, stride, pad, output_pad)
    agree(layer, rng.standard_normal((2, 3, 4, 3)), by_torch, rng)


@pytest.mark.parametrize("arguments, message", [
    (dict(kernel=4, pad=1, resample="down"), "needs a kernel of 1 or 3, stride 1 and pad kernel // 2, got kernel 4"),
    (dict(kernel=3, pad=0, resample="up"), "got kernel 3, stride 1, pad 0"),
    (dict(kernel=3, pad=1, stride=2, resample="up"), "got kernel 3, stride 2, pad 1"),
    (dict(kernel=3, pad=1, resample="sideways"), "resample 'sideways' needs"),
    (dict(kernel=3, pad=1, resample="down", slope=0.1), "an activation between a convolution and its mean"),
])
def test_conv2d_refuses_what_it_cannot_fold(arguments, message, rng):
    with pytest.raises(ValueError, match=message):
        Conv2d(rng, 2, 3, **arguments)


# ---- batch normalization -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(8, 3), (4, 5, 6, 3)])
@pytest.mark.parametrize("slope", [1, 0.1, 0])
def test_batch_norm_is_pytorchs_in_training_and_evaluation(shape, slope, rng, torch):
    """Outputs, gradients and running statistics over three batches, then all again with the running ones."""
    ours = drawn(BatchNorm(3, slope), rng)
    theirs = torch.nn.BatchNorm1d(3, eps=2e-5, momentum=0.1).double()
    with torch.no_grad():
        theirs.weight.copy_(torch.tensor(ours.params["gamma"].data))
        theirs.bias.copy_(torch.tensor(ours.params["beta"].data))
    for train in (True, True, True, False):
        x = rng.standard_normal(shape) * [1, 2, 3] + [5, -1, 0]
        weights = rng.standard_normal(shape)
        xs = [Tensor(x, requires_grad=True), *ours.parameters().values()]
        theirs.train(train)
        xt = torch.tensor(x, requires_grad=True)
        y = ours(xs[0], train)
        yt = torch.nn.functional.leaky_relu(theirs(xt.reshape(-1, 3)), slope).reshape(shape)
        np.testing.assert_allclose(y.data, yt.detach(), rtol=1e-9, atol=1e-9)
        expected = torch.autograd.grad(yt, [xt, theirs.weight, theirs.bias], torch.tensor(weights))
        for create_graph in (False, True):
            for g, gt in zip(grad(y, xs, create_graph, Tensor(weights)), expected, strict=True):
                np.testing.assert_allclose(g.data, gt, rtol=1e-9, atol=1e-9)
        np.testing.assert_allclose(ours.state["mean"], theirs.running_mean, rtol=1e-9)
        np.testing.assert_allclose(ours.state["variance"], theirs.running_var, rtol=1e-9)


def test_running_statistics_start_at_0_and_1_and_move_by_a_tenth(rng):
    layer = BatchNorm(3)
    assert not layer.state["mean"].any() and np.all(layer.state["variance"] == 1)
    x = rng.standard_normal((5, 2, 2, 3)) * [1, 2, 3] + [5, -1, 0]
    layer(Tensor(x.astype(np.float32)))
    np.testing.assert_allclose(layer.state["mean"], 0.1 * x.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(layer.state["variance"], 0.9 + 0.1 * x.var((0, 1, 2), ddof=1), rtol=1e-5)
    assert {a.dtype for a in layer.state.values()} == {np.dtype(np.float32)}


def test_evaluation_moves_nothing_and_does_not_see_the_rest_of_the_batch(rng):
    layer = BatchNorm(3, slope=0.1)
    x = rng.standard_normal((5, 2, 2, 3)).astype(np.float32) + 2
    layer(Tensor(x))
    before = {name: a.tobytes() for name, a in layer.arrays().items()}
    y = layer(Tensor(x), train=False).data
    np.testing.assert_array_equal(layer(Tensor(x[1:2]), train=False).data, y[1:2])
    assert {name: a.tobytes() for name, a in layer.arrays().items()} == before


def test_one_number_per_channel_normalizes_to_beta(rng):
    """A single image of one pixel has no variance: no nan, and the running variance takes the 0."""
    layer = drawn(BatchNorm(3), rng)
    y = layer(Tensor(rng.standard_normal((1, 1, 1, 3))))
    np.testing.assert_allclose(y.data[0, 0, 0], layer.params["beta"].data, rtol=1e-12)
    np.testing.assert_allclose(layer.state["variance"], 0.9)


@pytest.mark.parametrize("slope", [1, 0.1])
@pytest.mark.parametrize("shape", [(5, 2), (2, 3, 2, 2)])
def test_batch_norms_second_derivatives_are_central_differences(shape, slope, rng):
    C = shape[-1]
    check_grads(lambda x, gamma, beta: BatchNormalize(2e-5, slope)(x, gamma, beta),
                rng.standard_normal(shape), rng.uniform(0.5, 2, C), rng.standard_normal(C))


@pytest.mark.parametrize("channels, shape", [(3, (4, 5)), (1, (2, 3, 3, 5)), (3, (2, 3, 3, 1))])
@pytest.mark.parametrize("train", [True, False])
def test_batch_norm_refuses_another_number_of_channels(channels, shape, train):
    layer = BatchNorm(channels)
    with pytest.raises(ValueError, match=f"expected {channels} channels in the last axis, got x "):
        layer(Tensor(np.ones(shape, np.float32)), train)
    assert layer.state["mean"].shape == (channels,)


def test_batch_norm_without_a_multiplier_is_that_with_a_multiplier_of_1(rng):
    with_gain, without = to_float64(BatchNorm(3, slope=0.1)), to_float64(BatchNorm(3, slope=0.1, gain=False))
    assert without.params.keys() == {"beta"}
    x = Tensor(rng.standard_normal((4, 2, 2, 3)) * 3 + 1, requires_grad=True)
    for train in (True, False):
        found, expected = without(x, train), with_gain(x, train)
        np.testing.assert_allclose(found.data, expected.data, rtol=1e-12)
        weights = Tensor(rng.standard_normal(x.shape))
        for g, e in zip(grad(found, [x, without.params["beta"]], gy=weights),
                        grad(expected, [x, with_gain.params["beta"]], gy=weights), strict=True):
            np.testing.assert_allclose(g.data, e.data, rtol=1e-9, atol=1e-12)


# ---- layer normalization -------------------------------------------------------------------------------------------

@pytest.mark.parametrize("shape", [(5, 7), (3, 4, 5, 7)])
@pytest.mark.parametrize("slope", [1, 0.1])
@pytest.mark.parametrize("gain", [True, False])
def test_layer_norm_is_pytorchs_group_norm_of_one_group(shape, slope, gain, rng, torch):
    layer = drawn(LayerNorm(7, slope, gain=gain), rng)

    def theirs(x, *params):
        gamma = params[0] if gain else torch.ones_like(params[0])
        y = torch.nn.functional.group_norm(x, 1, gamma, params[-1], eps=1e-5)
        return torch.nn.functional.leaky_relu(y, slope)
    agree(layer, rng.standard_normal(shape) * 3 + 1, theirs, rng)


def test_layer_norm_gives_every_sample_mean_0_and_variance_1_whatever_the_others_are(rng):
    layer = to_float64(LayerNorm(3))
    x = rng.standard_normal((4, 5, 5, 3)) * 10 ** np.arange(4).reshape(4, 1, 1, 1) + 100
    y = layer(Tensor(x)).data
    np.testing.assert_allclose(y.mean((1, 2, 3)), 0, atol=1e-9)
    np.testing.assert_allclose(y.std((1, 2, 3)), 1, rtol=1e-4)
    np.testing.assert_array_equal(layer(Tensor(x[1:2]), train=False).data, y[1:2])
    assert not layer.state


def test_layer_norms_second_derivatives_are_central_differences(rng):
    def normalized(x, gamma, beta):
        layer = LayerNorm(2, slope=0.1)
        layer.params |= {"gamma": gamma, "beta": beta}
        return layer(x)
    check_grads(normalized, rng.standard_normal((2, 3, 2, 2)), rng.uniform(0.5, 2, 2), rng.standard_normal(2))


def test_layer_norm_refuses_another_number_of_channels():
    with pytest.raises(ValueError, match="LayerNorm: expected 3 channels in the last axis, got x "):
        LayerNorm(3)(Tensor(np.ones((2, 5, 1), np.float32)))


# ---- what a layer holds --------------------------------------------------------------------------------------------

def small(seed):
    """A network of every kind of layer, nested."""
    rng = np.random.default_rng(seed)
    return Sequential(
        first=Conv2d(rng, 2, 3, 3, pad=1, norm=SpectralNorm()),
        block=Sequential(bn=BatchNorm(3, slope=0), deconv=ConvTranspose2d(rng, 3, 2, 4, 2, 1)),
        last=Conv2d(rng, 2, 1, 1))


def contents(layer):
    return {name: (a.dtype, a.shape, a.tobytes()) for name, a in layer.arrays().items()}


def test_walk_and_parameters_go_in_the_order_of_the_network():
    layer = small(0)
    assert [path for path, _ in layer.walk()] == ["", "first", "block", "block/bn", "block/deconv", "last"]
    assert list(layer.parameters()) == ["first/W", "first/b", "block/bn/gamma", "block/bn/beta", "block/deconv/W",
                                        "block/deconv/b", "last/W", "last/b"]
    assert list(layer.arrays())[8:] == ["first/u", "block/bn/mean", "block/bn/variance"]
    assert list(Linear(np.random.default_rng(0), 2, 3, normal()).parameters()) == ["W", "b"]


def test_a_copy_by_arrays_and_load_computes_the_same_bytes(rng):
    original, copy = small(1), small(2)
    x = Tensor(rng.standard_normal((2, 4, 4, 2)).astype(np.float32))
    for _ in range(3):
        original(x)  # moves u and the running statistics
    assert contents(copy) != contents(original)
    variables = list(copy.parameters().values())
    copy.load(original.arrays())
    assert contents(copy) == contents(original)
    assert all(a is b for a, b in zip(copy.parameters().values(), variables, strict=True))  # an optimizer holds these
    for train in (False, True, True):
        assert copy(x, train).data.tobytes() == original(x, train).data.tobytes()


def test_load_copies():
    original, copy = small(1), small(2)
    copy.load(original.arrays())
    before = contents(original)
    for a in copy.arrays().values():
        a += 1
    assert contents(original) == before


def test_load_takes_arrays_of_any_strides():
    original, copy = small(1), small(2)
    copy.load({name: np.asfortranarray(a) for name, a in original.arrays().items()})
    assert contents(copy) == contents(original)
    assert all(a.flags.c_contiguous for a in copy.arrays().values())


REFUSED = {
    "missing": (lambda a: a.pop("last/b"), "'last/b' is missing from the file"),
    "missing-state": (lambda a: a.pop("first/u"), "'first/u' is missing from the file"),
    "unknown": (lambda a: a.update(other=np.ones(1)), "'other' is in the file only"),
    "shape": (lambda a: a.update({"last/b": np.ones(2, np.float32)}), r"\(2,\) float32 in the file, \(1,\)"),
    "broadcast": (lambda a: a.update({"first/b": np.ones((), np.float32)}), r"'first/b' is \(\) float32 in the file"),
    "dtype": (lambda a: a.update({"last/b": np.ones(1)}), r"\(1,\) float64 in the file, \(1,\) float32 here"),
    "byte-order": (lambda a: a.update({"last/b": np.ones(1, ">f4")}), "'last/b' is .* >f4 in the file"),
    "state-dtype": (lambda a: a.update({"first/u": np.ones(3, np.int64)}), "'first/u' is .* int64 in the file"),
    "text": (lambda a: a.update({"last/b": "text"}), "'last/b' is .* in the file"),
    "dict": (lambda a: a.update({"last/b": {}}), "'last/b' is .* object in the file"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_load_refuses_what_does_not_fit_and_changes_nothing(what):
    spoil, message = REFUSED[what]
    layer = small(2)
    before, arrays = contents(layer), small(1).arrays()
    spoil(arrays)
    with pytest.raises(FailedWork, match=message) as error:
        layer.load(arrays)
    assert "\n" not in str(error.value)
    assert contents(layer) == before


def test_to_the_same_module_changes_nothing():
    layer = small(1)
    before, variables = contents(layer), list(layer.parameters().values())
    assert layer.to(np) is layer
    assert contents(layer) == before
    assert all(a is b for a, b in zip(layer.parameters().values(), variables, strict=True))


def test_to_moves_every_array():
    """With a stand-in for an array module that notes what it is given."""
    class Module:
        moved: list[bytes] = []

        @classmethod
        def asarray(cls, a):
            cls.moved.append(a.tobytes())
            return -a
    layer = small(1)
    before = contents(layer)
    layer.to(Module)
    assert sorted(Module.moved) == sorted(a for *_, a in before.values())
    for name, a in layer.arrays().items():
        assert (-a).tobytes() == before[name][2]


def test_after_update_reaches_every_normalization_once():
    class Noting(NoNorm):
        def __init__(self):
            self.seen = []

        def after_update(self, layer):
            self.seen.append(layer)
    layer = small(1)
    parts = [part for _, part in layer.walk()]
    for part in parts:
        part.norm = Noting()
    layer.after_update()
    assert all(part.norm.seen == [part] for part in parts)


def test_sequential_hands_on_result_and_mode():
    class Step(Layer):
        def __init__(self, name, log):
            super().__init__()
            self.name, self.log = name, log

        def forward(self, x, how):
            self.log.append((self.name, x.item(), how.train))
            return x + 1
    log = []
    layer = Sequential(b=Step("b", log), a=Step("a", log))
    assert layer(Tensor(np.zeros(1)), train=False).item() == 2
    layer(Tensor(np.ones(1)))
    assert log == [("b", 0, False), ("a", 1, False), ("b", 1, True), ("a", 2, True)]
