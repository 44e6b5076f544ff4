"""Networks: the paper's tables layer by layer, and PyTorch's twins of them with the same weights."""

import sys
from pathlib import Path

import numpy as np
import pytest
from twins import give_to_torch, to_float64, torchs_layout

from minigan.engine import ops
from minigan.engine.autograd import Tensor, grad, no_grad
from minigan.errors import WrongUse
from minigan.networks.cnn import CNNDiscriminator, CNNGenerator
from minigan.networks.models import MODELS
from minigan.networks.norms import Normalization
from minigan.networks.resnet import Block, ResNetDiscriminator, ResNetGenerator
from minigan.nn.feature_norms import BatchNorm
from minigan.nn.layers import Conv2d, ConvTranspose2d, Linear
from minigan.nn.spectral_norms import SpectralNorm
from minigan.nn.weight_norms import NoNorm

every_model = pytest.mark.parametrize("model", MODELS)


def pair(model, rng, size=32, channels=3, dim_z=7, width=0.1, norm=SpectralNorm, features=""):
    return (MODELS[model].generator(rng, size, channels, dim_z, width),
            MODELS[model].discriminator(rng, size, channels, Normalization(norm, features, True), width))


def shapes(network):
    return {name: p.shape for name, p in network.parameters().items()}


def count(network):
    return sum(p.size for p in network.parameters().values())


# ---- the tables ----------------------------------------------------------------------------------------------------

# Table 3 (b): kernel, stride, channels
TABLE_3B = [(3, 1, 64), (4, 2, 64), (3, 1, 128), (4, 2, 128), (3, 1, 256), (4, 2, 256), (3, 1, 512)]


@pytest.mark.parametrize("size, M_g", [(32, 4), (48, 6)], ids=["cifar10", "stl10"])
def test_the_cnn_generator_is_table_3a(size, M_g, rng):
    gen = CNNGenerator(rng, size, 3)
    assert list(gen.layers) == ["dense", "deconv1", "bn1", "deconv2", "bn2", "deconv3", "bn3", "conv"]
    dense, *body, last = gen.layers.values()
    assert isinstance(dense, Linear) and dense.params["W"].shape == (M_g * M_g * 512, 128)
    for deconv, bn, n_in, n_out in zip(body[::2], body[1::2], (512, 256, 128), (256, 128, 64), strict=True):
        assert isinstance(deconv, ConvTranspose2d) and isinstance(bn, BatchNorm)
        assert (deconv.params["W"].shape, deconv.stride, deconv.pad) == ((n_in, 4, 4, n_out), 2, 1)
        assert (bn.params["gamma"].shape, bn.slope) == ((n_out,), 0)  # ReLU
    assert isinstance(last, Conv2d)
    assert (last.params["W"].shape, last.stride, last.pad, last.slope) == ((3, 3, 3, 64), 1, 1, 1)


@pytest.mark.parametrize("size", [32, 48])
def test_the_cnn_discriminator_is_table_3b(size, rng):
    *convolutions, dense = CNNDiscriminator(rng, size, 3, Normalization()).layers.values()
    n_in = 3
    for layer, (kernel, stride, n_out) in zip(convolutions, TABLE_3B, strict=True):
        assert isinstance(layer, Conv2d)
        assert layer.params["W"].shape == (n_out, kernel, kernel, n_in)
        assert (layer.stride, layer.pad, layer.slope) == (stride, 1, 0.1)
        n_in = n_out
    assert isinstance(dense, Linear) and dense.params["W"].shape == (1, (size // 8) ** 2 * 512)


def test_the_resnet_generator_is_table_4a(rng):
    expected = {"dense/W": (4 * 4 * 256, 128), "dense/b": (4 * 4 * 256,)}
    for block in ("blocks/block1", "blocks/block2", "blocks/block3"):
        for i in (1, 2):
            expected |= {f"{block}/residual/bn{i}/gamma": (256,), f"{block}/residual/bn{i}/beta": (256,),
                         f"{block}/residual/conv{i}/W": (256, 3, 3, 256), f"{block}/residual/conv{i}/b": (256,)}
        expected |= {f"{block}/shortcut/W": (256, 1, 1, 256), f"{block}/shortcut/b": (256,)}
    expected |= {"bn/gamma": (256,), "bn/beta": (256,), "conv/W": (3, 3, 3, 256), "conv/b": (3,)}
    gen = ResNetGenerator(rng, 32, 3)
    assert shapes(gen) == expected
    layers = dict(gen.walk())
    assert all(layer.slope == 0 for layer in layers.values() if isinstance(layer, BatchNorm))
    up = {path for path, layer in layers.items() if getattr(layer, "resample", "") == "up"}
    assert up == {f"blocks/block{i}/{part}" for i in (1, 2, 3) for part in ("residual/conv1", "shortcut")}


def test_the_resnet_discriminator_is_table_4b(rng):
    """Hidden channels and the learned shortcuts of the first two blocks only: the authors' code."""
    expected = {}
    for i, n_in in ((1, 3), (2, 128), (3, 128), (4, 128)):
        block = f"blocks/block{i}"
        expected |= {f"{block}/residual/conv1/W": (128, 3, 3, n_in), f"{block}/residual/conv1/b": (128,),
                     f"{block}/residual/conv2/W": (128, 3, 3, 128), f"{block}/residual/conv2/b": (128,)}
        if i < 3:
            expected |= {f"{block}/shortcut/W": (128, 1, 1, n_in), f"{block}/shortcut/b": (128,)}
    dis = ResNetDiscriminator(rng, 32, 3, Normalization())
    assert shapes(dis) == expected | {"dense/W": (1, 128)}
    down = {path for path, layer in dis.walk() if getattr(layer, "resample", "") == "down"}
    assert down == {f"blocks/block{i}/{part}" for i in (1, 2) for part in ("residual/conv2", "shortcut")}


@pytest.mark.parametrize("down", [False, True])
def test_a_block_that_changes_the_channels_does_so_in_its_second_convolution(down, rng):
    """And learns its shortcut then; the paper's later networks (Tables 5 and 6) have such blocks."""
    block = Block(rng, 4, 6, Normalization(), down)
    assert shapes(block) == {"residual/conv1/W": (4, 3, 3, 4), "residual/conv1/b": (4,),
                             "residual/conv2/W": (6, 3, 3, 4), "residual/conv2/b": (6,),
                             "shortcut/W": (6, 1, 1, 4), "shortcut/b": (6,)}
    assert block(Tensor(np.ones((2, 8, 8, 4), np.float32))).shape == ((2, 4, 4, 6) if down else (2, 8, 8, 6))


def test_parameter_counts_are_those_of_the_tables(rng):
    """2.94, 4.28 and 1.05 million are the published codes' (the generator's 3.81 million, too)."""
    def conv(kernel, n_in, n_out):
        return kernel * kernel * n_in * n_out + n_out

    def dense(n_in, n_out):
        return n_in * n_out + n_out
    up = 2 * conv(3, 256, 256) + conv(1, 256, 256) + 2 * 2 * 256
    by_hand = {
        "cnn": (dense(128, 4 * 4 * 512) + conv(4, 512, 256) + conv(4, 256, 128) + conv(4, 128, 64) + conv(3, 64, 3)
                + 2 * (256 + 128 + 64),
                conv(3, 3, 64) + conv(4, 64, 64) + conv(3, 64, 128) + conv(4, 128, 128) + conv(3, 128, 256)
                + conv(4, 256, 256) + conv(3, 256, 512) + dense(4 * 4 * 512, 1)),
        "resnet": (dense(128, 4 * 4 * 256) + 3 * up + 2 * 256 + conv(3, 256, 3),
                   conv(3, 3, 128) + conv(3, 128, 128) + conv(1, 3, 128) + 2 * conv(3, 128, 128) + conv(1, 128, 128)
                   + 4 * conv(3, 128, 128) + 128)}
    assert by_hand == {"cnn": (3_812_355, 2_935_873), "resnet": (4_276_739, 1_053_824)}
    for model, numbers in by_hand.items():
        assert tuple(map(count, pair(model, rng, dim_z=128, width=1.0))) == numbers


@every_model
@pytest.mark.parametrize("width", [0.25, 1.5])
def test_width_multiplies_every_hidden_channel(model, width, rng):
    for narrow, plain in zip(pair(model, rng, width=width), pair(model, rng, width=1.0), strict=True):
        assert narrow.layers.keys() == plain.layers.keys()
        for (name, a), (_, b) in zip(shapes(narrow).items(), shapes(plain).items(), strict=True):
            fixed = (1, 3, 4, 5, 7)  # images, kernels, latents and the one output
            assert a == tuple(n if n in fixed else n * width for n in b), name


def test_a_tiny_width_leaves_one_channel(rng):
    for gen, dis in (pair(model, rng, width=1e-6) for model in MODELS):
        assert dis(gen(Tensor(np.ones((2, 7), np.float32)))).shape == (2,)


def test_weights_start_as_documented(rng):
    """The CNN's as N(0, 0.02); the ResNet's uniform between Glorot's bounds, times sqrt(2) within a block."""
    for network in pair("cnn", rng, width=0.5):
        for name, p in network.parameters().items():
            if name.endswith("W") and p.size > 5000:
                assert p.data.std() == pytest.approx(0.02, rel=0.05), name
    for network in pair("resnet", rng, width=0.5):
        for name, p in network.parameters().items():
            if name.endswith("W"):
                n_out, *kernel, n_in = p.shape
                scale = 2 ** 0.5 if "/residual/" in name else 1
                bound = scale * np.sqrt(6 / (np.prod(kernel) * (n_in + n_out)))
                assert 0.85 * bound < np.abs(p.data).max() <= bound * (1 + 1e-6), name
    for network in (*pair("cnn", rng), *pair("resnet", rng)):
        assert not any(p.data.any() for name, p in network.parameters().items() if name.endswith(("/b", "/beta")))
        assert all(np.all(p.data == 1) for name, p in network.parameters().items() if name.endswith("gamma"))


# ---- shapes and what depends on what -------------------------------------------------------------------------------

@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("model, size", [*(("cnn", s) for s in (16, 28, 32, 48, 64)),
                                         *(("resnet", s) for s in (32, 48, 64))])
def test_a_generators_pictures_fit_the_discriminator(model, size, channels, rng):
    gen, dis = pair(model, rng, size, channels, width=0.25)
    with no_grad():
        for train in (True, False):
            x = gen(Tensor(rng.standard_normal((2, 7)).astype(np.float32)), train)
            y = dis(x, train)
            assert (x.shape, x.dtype) == ((2, size, size, channels), np.float32)
            assert (y.shape, y.dtype) == ((2,), np.float32)
            assert 1e-4 < np.abs(x.data).max() <= 1 and np.isfinite(y.data).all()


@pytest.mark.parametrize("network", [ResNetGenerator, ResNetDiscriminator])
@pytest.mark.parametrize("size, better", [(28, 32), (33, 40), (12, 16)])
def test_the_resnet_refuses_sizes_that_it_cannot_halve_in_one_line(network, size, better, rng):
    with pytest.raises(WrongUse) as error:
        network(rng, size, 3, *([Normalization()] if network is ResNetDiscriminator else []))
    assert str(error.value) == ("model 'resnet' needs images whose size is a multiple of 8, "
                                f"got {size}; use --size {better}, or --model cnn")


@every_model
def test_in_evaluation_every_picture_is_on_its_own(model, rng):
    """float32 at a width at which Winograd takes part; sums of a product of matrices depend on the number of rows."""
    gen, dis = pair(model, rng, width=0.5)
    z = rng.standard_normal((5, 7)).astype(np.float32)
    with no_grad():
        gen(Tensor(z))  # running statistics that are not the beginning's
        x = gen(Tensor(z), train=False).data
        y = dis(Tensor(x), train=False).data
        for i in (0, 3):
            alone = gen(Tensor(z[i:i + 1]), train=False).data[0]
            np.testing.assert_allclose(alone, x[i], atol=1e-5 * np.abs(x).max())
            one = dis(Tensor(x[i:i + 1]), train=False).data[0]
            np.testing.assert_allclose(one, y[i], atol=1e-4 * np.abs(y).max())
        np.testing.assert_allclose(dis(Tensor(x[::-1].copy()), train=False).data, y[::-1], atol=1e-4 * np.abs(y).max())
        in_training = gen(Tensor(z[:1])).data[0]
    assert np.abs(in_training - x[0]).max() > 1e-2 * np.abs(x).max()  # there the batch does count
    assert np.abs(np.diff(y)).min() > 0  # different images, different numbers


@every_model
def test_every_layer_of_the_discriminator_has_a_normalization_of_its_own(model, rng):
    gen, dis = pair(model, rng)
    norms = [layer.norm for _, layer in dis.walk() if "W" in layer.params]
    assert all(type(norm) is SpectralNorm for norm in norms) and len({id(norm) for norm in norms}) == len(norms)
    assert all(type(layer.norm) is NoNorm for _, layer in gen.walk())


@every_model
def test_the_same_seed_gives_the_same_networks(model):
    first, same, other = (pair(model, np.random.default_rng(seed)) for seed in (1, 1, 2))
    for a, b, c in zip(first, same, other, strict=True):
        assert {name: x.tobytes() for name, x in a.arrays().items()} == {
            name: x.tobytes() for name, x in b.arrays().items()}
        assert not np.any(a.arrays()["dense/W"] == c.arrays()["dense/W"])


# ---- PyTorch's twins -----------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def torch():
    return pytest.importorskip("torch")


@pytest.fixture(scope="module")
def torch_networks(torch):
    """bench/torch_networks.py's name -> (generator, discriminator)."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "bench"))
    try:
        import torch_networks
    finally:
        sys.path.pop(0)
    return torch_networks.NETWORKS


def stirred(network, rng):
    """In float64, with biases, scales and shifts that do not start at 0 and 1, and weights that let numbers through."""
    for name, p in to_float64(network).parameters().items():
        if name.endswith("W"):
            p.data = p.data * (1 / np.sqrt(np.prod(p.shape[1:])) / p.data.std())
        else:
            p.data = p.data + 0.3 * rng.standard_normal(p.shape)
    return network


def assert_gradients_agree(network, found, expected, tolerance=1e-8):
    """Each to `tolerance` of its own largest number; what is 0 by symmetry (a bias before BN) is 0 in both."""
    overall = max(float(g.abs().max()) for g in expected)
    for name, g, gt in zip(network.parameters(), found, expected, strict=True):
        error = np.abs(torchs_layout(network, name, g.data) - gt.numpy()).max()
        assert error <= tolerance * float(gt.abs().max()) + 1e-13 * overall, name


@pytest.mark.parametrize("model, size, channels", [
    ("cnn", 28, 1), ("cnn", 32, 3), ("resnet", 32, 3), ("cnn-code", 28, 1), ("cnn-bssn", 48, 3), ("resnet-stl", 48, 3),
    ("resnet-64", 32, 3), ("resnet-imagenet", 32, 3), ("resnet-bssn", 64, 1), ("resnet-wgan-gp", 32, 3),
    ("dcgan", 64, 3), ("dcgan", 32, 1), ("dcgan-32", 32, 3), ("mnist-bssn", 28, 1), ("mnist-bssn", 32, 3)])
def test_generator_through_discriminator_is_pytorchs(model, size, channels, rng, torch, torch_networks):
    """Images, judgements and all gradients of both networks, over two training forwards that move u and moments.

    The DCGANs with SN and BN in the discriminator, as in the third report.
    """
    features = MODELS[model].features
    gen, dis = (stirred(network, rng) for network in pair(model, rng, size, channels, 7, 0.05, features=features))
    their_gen, their_dis = (make(**more, size=size, channels=channels, width=0.05).double()
                            for make, more in zip(torch_networks[model], ({"dim_z": 7}, {}), strict=True))
    params, their_params = [], []
    for ours, theirs in ((gen, their_gen), (dis, their_dis)):
        params.append(list(ours.parameters().values()))
        their_params.append(give_to_torch(torch, ours, theirs))
        assert len(list(theirs.parameters())) == len(params[-1])
    for _ in range(2):
        z = Tensor(rng.standard_normal((3, 7)), requires_grad=True)
        weights = rng.standard_normal(3)
        x = gen(z)
        y = dis(x)
        zt = torch.tensor(z.data, requires_grad=True)
        xt = their_gen(zt)
        yt = their_dis(xt)
        assert x.data.std() > 0.01 and y.data.std() > 1e-4 * np.abs(y.data).max()
        np.testing.assert_allclose(x.data, xt.detach().numpy().transpose(0, 2, 3, 1), rtol=1e-8, atol=1e-10)
        np.testing.assert_allclose(y.data, yt.detach().numpy(), rtol=1e-8)

        expected = torch.autograd.grad(torch.nn.functional.softplus(-yt), [zt, *their_params[0], *their_params[1]],
                                       torch.tensor(weights))
        loss = ops.sum(Tensor(weights) * ops.softplus(-y))
        for create_graph in (False, True):  # the fused way, and the one that can be differentiated again
            gz, *found = grad(loss, [z, *params[0], *params[1]], create_graph)
            np.testing.assert_allclose(gz.data, expected[0].numpy(), rtol=1e-7, atol=1e-12)
            cut = len(params[0])
            assert_gradients_agree(gen, found[:cut], expected[1:cut + 1])
            assert_gradients_agree(dis, found[cut:], expected[cut + 1:])
    their_gen.eval()
    x, xt = gen(z, train=False).data, their_gen(zt).detach().numpy()
    np.testing.assert_allclose(x, xt.transpose(0, 2, 3, 1), rtol=1e-8, atol=1e-10)


@every_model
def test_pytorchs_twins_count_the_sources_parameters(model, torch, torch_networks):
    m = MODELS[model]
    with torch.device("meta"):  # shapes alone
        gen, dis = torch_networks[model]
        twins = gen(m.size, m.channels, m.dim_z), dis(m.size, m.channels, norm=lambda module: module)
    assert tuple(sum(p.numel() for p in twin.parameters()) for twin in twins) == m.counts


@pytest.mark.parametrize("norm", ["sn", "none"])
@pytest.mark.parametrize("model, size, channels", [
    ("cnn", 28, 1), ("cnn", 32, 3), ("resnet", 32, 3), ("cnn-code", 32, 3), ("resnet-bssn", 32, 3)])
def test_wgan_gp_critic_loss_through_the_whole_discriminator_is_pytorchs(
        model, size, channels, norm, rng, torch, torch_networks):
    """mean D(fake) - mean D(real) + 10 mean (|grad D(x)| - 1)^2 (Gulrajani et al. 2017), all parameters' gradients."""
    dis = stirred(pair(model, rng, size, channels, width=0.05, norm={"sn": SpectralNorm, "none": NoNorm}[norm])[1], rng)
    more = {} if norm == "sn" else {"norm": lambda module: module}
    theirs = torch_networks[model][1](size, channels, 0.05, **more).double()
    their_params = give_to_torch(torch, dis, theirs)
    real, fake = rng.uniform(-1, 1, (2, 2, size, size, channels))
    mixed = real + rng.uniform(0, 1, (2, 1, 1, 1)) * (fake - real)

    x = Tensor(mixed, requires_grad=True)
    gx = grad(ops.sum(dis(x)), x, create_graph=True)
    lengths = ops.sqrt(ops.sum(gx * gx, (1, 2, 3)))
    loss = 10 * ops.mean((lengths - 1) ** 2) + ops.mean(dis(Tensor(fake))) - ops.mean(dis(Tensor(real)))
    found = grad(loss, list(dis.parameters().values()))

    xt, fake_t, real_t = (torch.tensor(a.transpose(0, 3, 1, 2)) for a in (mixed, fake, real))
    xt.requires_grad_()
    gxt, = torch.autograd.grad(theirs(xt).sum(), xt, create_graph=True)
    lengths_t = gxt.square().sum((1, 2, 3)).sqrt()
    loss_t = 10 * ((lengths_t - 1) ** 2).mean() + theirs(fake_t).mean() - theirs(real_t).mean()
    # a bias acts on the gradient's length through masks only: dense/b has no part in any of the loss
    expected = torch.autograd.grad(loss_t, their_params, materialize_grads=True)

    assert lengths.data.min() > 1e-3
    np.testing.assert_allclose(lengths.data, lengths_t.detach(), rtol=1e-9)
    np.testing.assert_allclose(loss.item(), loss_t.item(), rtol=1e-9)
    assert_gradients_agree(dis, found, expected)


@pytest.mark.parametrize("model, width", [("cnn", 0.5), ("resnet", 0.25)])
def test_float32_with_every_fast_path_is_pytorchs_float64(model, width, rng, torch, torch_networks):
    """At a width at which Winograd takes part, which float64 never does. Tolerance: 1e-3 of the largest number, for
    Winograd's 2e-6 through ten layers, and ReLUs that fall to the other side of 0."""
    gen, dis = pair(model, rng, 32, 3, 7, width)
    exact = []
    for ours, make, more in zip((gen, dis), torch_networks[model], ({"dim_z": 7}, {}), strict=True):
        stirred(ours, rng)
        for _, layer in ours.walk():
            for p in layer.params.values():
                p.data = p.data.astype(np.float32)
            layer.state = {name: a.astype(np.float32) for name, a in layer.state.items()}
        theirs = make(size=32, width=width, **more).double()
        exact.append((theirs, give_to_torch(torch, ours, theirs)))
    z = rng.standard_normal((2, 7)).astype(np.float32)
    x = gen(Tensor(z))
    y = dis(x)
    xt = exact[0][0](torch.tensor(z, dtype=torch.float64))
    yt = exact[1][0](xt)
    assert x.dtype == y.dtype == np.float32
    np.testing.assert_allclose(x.data, xt.detach().numpy().transpose(0, 2, 3, 1), atol=1e-4)
    np.testing.assert_allclose(y.data, yt.detach().numpy(), atol=1e-4 * float(yt.detach().abs().max()))
    for network, (_, their_params) in zip((gen, dis), exact, strict=True):
        found = grad(ops.sum(y), list(network.parameters().values()))
        expected = torch.autograd.grad(yt.sum(), their_params, retain_graph=True)
        overall = max(float(g.abs().max()) for g in expected)
        for name, g, gt in zip(network.parameters(), found, expected, strict=True):
            error = np.abs(torchs_layout(network, name, g.data) - gt.numpy()).max()
            assert g.dtype == np.float32
            assert error <= 1e-3 * float(gt.abs().max()) + 1e-5 * overall, name
