"""What is exported computes what minigan's own networks compute: in PyTorch, and in ONNX Runtime."""

import importlib.util

import numpy as np
import pytest

from minigan.engine.autograd import Tensor, no_grad
from minigan.errors import WrongUse
from minigan.exchange import onnx_file, plan, state_dict, torch_module
from minigan.networks.models import MODELS
from minigan.networks.norms import NORMS, NormOptions
from minigan.nn.layers import Layer

WIDTH, CLASSES, N = 0.05, 5, 3
PAIRS = [(model, condition) for model, m in MODELS.items() for condition in ("", *m.conditions)]


def networks(rng, model, norm="sn", condition="", size=None):
    """A pair with weights, biases and moments that are no one's beginning; and the shape of an image."""
    m, classes = MODELS[model], CLASSES if condition else 0
    size = size or min(m.size, 32)
    gen = m.generator(rng, size, m.channels, 7, WIDTH, classes)
    options = NormOptions(scale=1.3, features_gain=True)
    dis = m.discriminator(rng, size, m.channels, NORMS[norm](options), WIDTH, classes, condition)
    labels = rng.integers(0, CLASSES, 8) if classes else None
    for network, shape in ((gen, (7,)), (dis, (size, size, m.channels))):
        with no_grad():  # moves u and the running moments
            for _ in range(2):
                network(Tensor(rng.standard_normal((8, *shape)).astype(np.float32)), True, labels)
        for name, p in network.parameters().items():
            if not name.endswith("W"):
                p.data += 0.3 * rng.standard_normal(p.shape).astype(np.float32)
    return gen, dis, (size, size, m.channels)


def nchw(a):
    return a.transpose(0, 3, 1, 2) if a.ndim == 4 else a


def loaded(path):
    spec = importlib.util.spec_from_file_location("exported", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def compare(network: Layer, shape, rng, classes, folder):
    torch, runtime = pytest.importorskip("torch"), pytest.importorskip("onnxruntime")
    x = rng.standard_normal((N, *shape)).astype(np.float32)
    labels = rng.integers(0, CLASSES, N) if classes else None
    with no_grad():
        both = getattr(network, "condition", "") == "ac"
        expected = network.classified(Tensor(x), False) if both else (network(Tensor(x), False, labels),)
    expected = [nchw(y.data) for y in expected]
    found = plan.of(network, shape, classes)
    state_dict.write(folder / "net.pth", found.weights)
    (folder / "net.py").write_text(torch_module.code(found, "Net", "A network.", "net.pth"))
    module = loaded(folder / "net.py").Net()
    module.load_state_dict(torch.load(folder / "net.pth", weights_only=True))
    asked = [torch.from_numpy(np.ascontiguousarray(nchw(x)))]
    asked += [torch.from_numpy(labels)] if found.classes else []
    with torch.no_grad():
        ours = module.eval()(*asked)
    onnx_file.write(folder / "net.onnx", found, {})
    session = runtime.InferenceSession(folder / "net.onnx", providers=["CPUExecutionProvider"])
    theirs = session.run(None, {i.name: a.numpy() for i, a in zip(session.get_inputs(), asked, strict=True)})
    for got in ([y.numpy() for y in (ours if isinstance(ours, tuple) else (ours,))], theirs):
        for y, e in zip(got, expected, strict=True):
            assert y.shape == e.shape
            # float32 sums in another order: relative to the largest
            assert np.abs(y - e).max() <= 1e-5 * max(1, np.abs(e).max())


def test_a_generator_that_upsamples_bilinearly_computes_the_same_elsewhere(rng, tmp_path):
    gen = MODELS["resnet"].generator(rng, 32, 3, 7, WIDTH, CLASSES, upsample="bilinear")
    compare(gen, (7,), rng, CLASSES, tmp_path)


@pytest.mark.parametrize("model, condition", PAIRS)
def test_every_pair_of_networks_computes_the_same_elsewhere(model, condition, rng, tmp_path):
    gen, dis, shape = networks(rng, model, condition=condition)
    compare(gen, (7,), rng, CLASSES if condition else 0, tmp_path)
    compare(dis, shape, rng, CLASSES if condition else 0, tmp_path)


@pytest.mark.parametrize("norm", NORMS)
@pytest.mark.parametrize("model", ["cnn", "resnet"])
def test_every_norm_is_carried_out(model, norm, rng, tmp_path):
    _, dis, shape = networks(rng, model, norm)
    compare(dis, shape, rng, 0, tmp_path)


def test_an_odd_size_doubles_as_minigan_does(rng, tmp_path):
    gen, dis, shape = networks(rng, "mnist-bssn", size=21)
    compare(gen, (7,), rng, 0, tmp_path)
    compare(dis, shape, rng, 0, tmp_path)


def test_a_network_of_an_unknown_class_is_refused():
    class Own(Layer):
        def forward(self, x, how):
            return x

    with pytest.raises(WrongUse, match="Own cannot be exported"):
        plan.of(Own(), (7,))
