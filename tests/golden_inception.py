"""Makes tests/golden_inception.npz: features of other people's Inceptions with random weights of a seed.

    python tests/golden_inception.py

wants torch, torch-fidelity 0.4.0, keras 3 and torchvision on the path; the last three were installed with pip's
--no-deps (plus keras' own small dependencies), since torchvision need not fit to torch: only the file of its Inception
is loaded. Made with torch 2.13.0 (CPU), torch-fidelity 0.4.0, keras 3.15.1 on torch and torchvision 0.29.2, in float64.

The weights are drawn anew from their names, here and in the test, so no file of 95 MB is needed; the images, too. Of
each tap every STEP-th channel is kept, in float32.
"""

import importlib.util
import os
import re
import sys
import types
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np

FILE = Path(__file__).with_name("golden_inception.npz")
STEP = {"64": 2, "192": 4, "768": 8, "2048": 16, "logits": 16, "logits_unbiased": 16}
TAPS = ("64", "192", "768", "2048")


def slim(settings, classes):
    """A kind of Inception with 1/32 of its channels, for images of 107 x 107 pixels."""
    network = {block: {name: re.sub(r"(\d+) (?=\d)", lambda found: f"{int(found[1]) // 32} ", steps)
                       for name, steps in branches.items()} for block, branches in settings.network.items()}
    return replace(settings, network=network, size=107, classes=classes)


def seeded(shapes):
    """Weights under which numbers stay of order 1 through all layers; each tensor's seed is its name."""
    found = {}
    for name, shape in shapes.items():
        rng = np.random.RandomState(zlib.crc32(name.encode()))
        if name.endswith(".bn.running_var"):
            w = rng.uniform(0.5, 1.5, shape)
        elif name.endswith(".bn.weight"):
            w = rng.uniform(0.8, 1.2, shape)
        elif len(shape) > 1:
            w = rng.standard_normal(shape) * np.sqrt(2 / np.prod(shape[1:]))
        else:
            w = 0.1 * rng.standard_normal(shape)
        found[name] = w.astype(np.float32)
    return found


def pictures():
    """Two images uint8 (2, 27, 40, 3): coloured squares under noise."""
    rng = np.random.RandomState(0)
    squares = np.kron(rng.randint(0, 256, (2, 7, 10, 3)), np.ones((1, 4, 4, 1)))[:, 1:]
    return (0.7 * squares + rng.randint(0, 77, squares.shape)).astype(np.uint8)


# ---- other people's networks, each (weights, images uint8 NHWC) -> {tap: (N, channels)} ----------------------------

def torch_fidelity(weights, images, dtype="float64", chainer=False):
    """torch-fidelity's extractor; chainer: with the SN-GAN authors' resize and average pooling put into it."""
    import torch
    bare("torch_fidelity")
    from torch_fidelity import feature_extractor_inceptionv3 as theirs
    names = [*TAPS, "logits_unbiased", "logits"]
    old = theirs.load_state_dict_from_url, theirs.F, theirs.interpolate_bilinear_2d_like_tensorflow1x
    theirs.load_state_dict_from_url = lambda *a, **k: {n: torch.from_numpy(w) for n, w in weights.items()}
    if chainer:
        theirs.F = types.SimpleNamespace(**{**vars(theirs.F), "avg_pool2d": (
            lambda x, **k: torch.nn.functional.avg_pool2d(x, **{**k, "count_include_pad": True}))})
        theirs.interpolate_bilinear_2d_like_tensorflow1x = lambda x, size, align_corners: (
            torch.nn.functional.interpolate(x, size, mode="bilinear", align_corners=True))
    try:
        net = theirs.FeatureExtractorInceptionV3("golden", names)
        net.to(getattr(torch, dtype))
        net.feature_extractor_internal_dtype = getattr(torch, dtype)  # asked for by its name it stays float32
        with torch.no_grad():
            found = net(torch.from_numpy(images).permute(0, 3, 1, 2))
    finally:
        theirs.load_state_dict_from_url, theirs.F, theirs.interpolate_bilinear_2d_like_tensorflow1x = old
    return {name: y.numpy() for name, y in zip(names, found, strict=True)}


def chainer(weights, images):
    return torch_fidelity(weights, images, chainer=True)


def half_pixel(images):
    """(N, 3, 299, 299) float64 in -1 .. 1."""
    import torch
    x = torch.from_numpy(images).permute(0, 3, 1, 2).double() / 255
    return 2 * torch.nn.functional.interpolate(x, (299, 299), mode="bilinear", align_corners=False) - 1


def torchvision(weights, images):
    """torchvision's inception_v3 as its users run it: ImageNet's scaling, which transform_input undoes."""
    import torch
    for name in ("torchvision", "torchvision.models", "torchvision.transforms"):
        bare(name)
    presets = types.ModuleType("torchvision.transforms._presets")
    presets.ImageClassification = object
    sys.modules[presets.__name__] = presets
    from torchvision.models.inception import Inception3
    net = Inception3(transform_input=True, aux_logits=False, init_weights=False)
    net.load_state_dict({n: torch.from_numpy(w) for n, w in weights.items()}, strict=False)
    net.double().eval()
    seen = {}
    for tap, module in zip(TAPS, ("maxpool1", "maxpool2", "Mixed_6e", "Mixed_7c"), strict=True):
        getattr(net, module).register_forward_hook(
            lambda m, i, y, tap=tap: seen.__setitem__(tap, y.mean((2, 3)).numpy()))
    mean, std = (torch.tensor(v, dtype=torch.float64)[:, None, None]
                 for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))
    with torch.no_grad():
        seen["logits"] = net(((half_pixel(images) + 1) / 2 - mean) / std).numpy()
    return seen


def keras(weights, images):
    """keras.applications.InceptionV3: its k-th convolution is the k-th of PyTorch's order."""
    os.environ["KERAS_BACKEND"] = "torch"
    import keras
    keras.config.set_floatx("float64")
    net = keras.applications.InceptionV3(weights=None, classifier_activation=None)
    names = [name.removesuffix(".conv.weight") for name in weights if name.endswith(".conv.weight")]

    def numbered(kind):  # the first has no number
        layers = [layer for layer in net.layers if type(layer).__name__ == kind]
        return sorted(layers, key=lambda layer: [int(n) for n in re.findall(r"_(\d+)$", layer.name)])

    convs, norms = numbered("Conv2D"), numbered("BatchNormalization")
    for name, conv, norm in zip(names, convs, norms, strict=True):
        conv.set_weights([weights[f"{name}.conv.weight"].transpose(2, 3, 1, 0)])
        norm.set_weights([weights[f"{name}.bn.{n}"] for n in ("bias", "running_mean", "running_var")])
    net.get_layer("predictions").set_weights([weights["fc.weight"].T, weights["fc.bias"]])
    pools = [layer.name for layer in net.layers if type(layer).__name__ == "MaxPooling2D"]
    taps = keras.Model(net.input, [keras.ops.mean(net.get_layer(name).output, (1, 2))
                                   for name in (*pools[:2], "mixed7", "mixed10")] + [net.output])
    x = keras.applications.inception_v3.preprocess_input((half_pixel(images).permute(0, 2, 3, 1).numpy() + 1) * 127.5)
    return dict(zip((*TAPS, "logits"), taps.predict(x, verbose=0), strict=True))


OTHERS = {"inception-2015-12-05": torch_fidelity, "inception-chainer": chainer, "inception-torchvision": torchvision,
          "inception-keras": keras}


def bare(name):
    """A package in sys.modules whose own __init__ has not run; those it lies in must be there.

    It has its spec, so that importlib.util.find_spec still answers whoever asks whether the package is installed.
    """
    if name not in sys.modules:
        sys.modules[name] = importlib.util.module_from_spec(importlib.util.find_spec(name))


def main():
    from minigan.metrics import inception
    found = {}
    for kind, other in OTHERS.items():
        for tap, y in other(seeded(inception.tensors(kind)), pictures()).items():
            found[f"{kind}/{tap}"] = y[:, ::STEP[tap]].astype(np.float32)
    np.savez_compressed(FILE, **found)
    print(f"{FILE.name}: {FILE.stat().st_size} bytes")


if __name__ == "__main__":
    main()
