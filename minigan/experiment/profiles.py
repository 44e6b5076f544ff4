"""Where each choice of a training comes from: papers and their authors' code, told apart, as data.

A profile is everything that one source says about a training, an entry per option: (value, where it is said). What a
source leaves open is left out, and minigan's own default stands. A setting is a row of a paper's table of optimizers.
"""

from __future__ import annotations

from typing import Any

Rows = dict[str, tuple[Any, str]]  # option (a field of experiment.Experiment) -> (value, where it is said)

_P3, _P4 = "Miyato et al. 2018", "Lin et al. 2021"
_GULRAJANI = "Gulrajani et al. 2017"

# What minigan does if nobody says otherwise, where that has a source or a reason; other options have none.
DEFAULTS: Rows = {
    "scaling": ("255", "to [-1, 1]; the papers give no formula"),
    "dequantize": (False, "no paper mentions it; sngan_projection does it"),
    "model": ("cnn", f"{_P3}, Table 3"),
    "dim_z": (128, f"{_P3}, Table 3"),
    "norm": ("sn", f"{_P3}, Eq. (8)"),
    "power_iterations": (1, f"{_P3}, Algorithm 1"),
    "u_schedule": ("forward", "the authors' code"),
    "u_gradient": (False, f"{_P3}, Eq. (12)"),
    "scale": (1.0, f"{_P3}, Eq. (8)"),
    "scale_spread": (0.0, f"none but {_P4}, appendix K, scales layers by random factors"),
    "gamma_start": ("weights", "sngan_projection; no paper says it"),
    "clip": (0.01, f"{_P3}, section 4"), "clip_which": ("conv", f"{_P3}, section 4"),
    "orthonormal": (1e-4, "Brock et al. 2018 (their code of 2016: 1e-3); the paper gives none for its Eq. (14)"),
    "loss": ("hinge", f"{_P3}, Eq. (16), (17)"),
    "gp_target": (1.0, f"{_GULRAJANI}, Eq. (3)"),
    "latent": ("normal", f"{_P3}, Table 3"),
    "order": ("dis-first", "Goodfellow et al. 2014, Algorithm 1"),
    "reuse_z": (False, "Goodfellow et al. 2014, Algorithm 1"),
    "sampling": ("epochs", "each image once an epoch; no paper says it, and BSN's code does otherwise"),
    "ac_dis": (1.0, "gan_cifar_resnet.py"), "ac_gen": (0.1, "gan_cifar_resnet.py"),
    "lr": (2e-4, f"{_P3}, Table 1, setting C"),
    "beta1": (0.5, f"{_P3}, Table 1, setting C"),
    "beta2": (0.999, f"{_P3}, Table 1, setting C"),
    "n_dis": (1, f"{_P3}, Table 1, setting C"),
    "adam_eps": (1e-8, "Chainer and TensorFlow, which the authors used; no paper gives it"),
    "schedule": ("constant", "no paper mentions a decay on CIFAR-10"),
    "bn_eps": (2e-5, "Chainer, which the authors used; the paper does not give it"),
    "bn_decay": (0.9, "Chainer, which the authors used; the paper does not give it"),
    "batch_size": (64, "chainer-gan-lib and sngan_projection; the paper does not give it"),
    "iterations": (100_000, f"{_P3}, section 4: 100 K updates of the generator"),
}

_GLOROT = "Glorot uniform, times sqrt(2) within blocks, 1 for the rest"
_RESNETS = ("resnet", "resnet-stl", "resnet-64", "resnet-imagenet", "resnet-bssn", "resnet-wgan-gp")

# What minigan does with a model or a data set of this name if nobody says otherwise.
OWN: dict[str, Rows] = {
    **{name: {"split": ("train", "the data set's own")}
       for name in ("cifar10", "cifar100", "fashion-mnist", "mnist", "shapes", "svhn")},
    "stl10": {"split": ("unlabeled", f"{_P4}, appendix: the 100,000 without labels"),
              "size": (48, f"{_P3}, Table 3"), "resize": ("plain", f"BSN's code; {_P3} does not say how")},
    "celeba": {"split": ("train", "all there are"), "size": (64, f"{_P4}, appendix"),
               "crop": (128, f"{_P4}, appendix"), "resize": ("plain", "BSN's code")},
    "imagenet": {"split": ("train", "the data set's own"), "size": (128, f"{_P3}, B.3"),
                 "resize": ("bilinear", f"sngan_projection; {_P3} does not say how")},
    "cnn": {"init": ("normal-0.02", f"chainer-gan-lib, common/net.py; {_P3} does not give it")},
    "cnn-code": {"init": ("normal-0.02", "chainer-gan-lib, common/net.py")},
    "cnn-bssn": {"init": ("truncated-0.02", "BSN's code")},
    "dcgan": {"init": ("normal-0.02", "Radford et al. 2016; reports 1 and 3")},
    "dcgan-32": {"init": ("normal-0.02", "Radford et al. 2016")},
    "mnist-bssn": {"init": ("truncated-0.02", f"BSN's code; {_P4} does not give it")},
    **{name: {"init": ("glorot", f"sngan_projection: {_GLOROT}; no paper gives it")} for name in _RESNETS},
}

_BSN_INIT: Rows = {"init": ("truncated-0.02", "BSN's code: in convolutions; dense and transposed ones N(0, 0.02)")}
_CHAINER_INIT: Rows = {"init": ("normal-0.02", "chainer-gan-lib, common/net.py")}
_B2: Rows = {"lr": (2e-4, f"{_P3}, B.2"), "beta1": (0.0, f"{_P3}, B.2"), "beta2": (0.9, f"{_P3}, B.2"),
             "n_dis": (5, f"{_P3}, B.2"), "gen_batch_size": (None, f"{_P3} gives no batch sizes"),
             "scaling": ("255", "the paper gives no formula")}

_SMALL = "minigan's own, chosen by scores on two cores"

# profile -> "" for everything, or the name of a data set or a model -> rows; see `rows_of`. The model in "" or in the
# data set's rows is the one that is taken if none is chosen.
PROFILES: dict[str, dict[str, Rows]] = {
    "paper": {
        "": {"model": ("cnn", f"{_P3}, Table 3"), "norm": ("sn", f"{_P3}, Eq. (8)"),
             "latent": ("normal", f"{_P3}, Table 3"), "iterations": (100_000, f"{_P3}, section 4"),
             "schedule": ("constant", f"{_P3} mentions no decay on CIFAR-10"),
             "dequantize": (False, f"{_P3} mentions none"),
             "loss": ("hinge", f"{_P3}, Eq. (16), (17); its rows without 'hinge' are Eq. (15): --loss ns")},
        "imagenet": {"model": ("resnet-imagenet", f"{_P3}, Table 6"), "size": (128, f"{_P3}, B.3"),
                     "iterations": (450_000, f"{_P3}, B.3"), "schedule": ("linear", f"{_P3}, B.3"),
                     "decay_from": (400 / 450, f"{_P3}, B.3: after 400 K of 450 K")},
        "stl10": {"size": (48, f"{_P3}, Table 3")},
        "resnet": _B2, "resnet-stl": _B2, "resnet-imagenet": _B2,
    },
    "sngan-projection": {
        "": {"model": ("resnet", "sngan_projection, sn_cifar10_unconditional.yml"),
             "norm": ("sn", "sngan_projection, source/links"),
             "u_schedule": ("forward", "sngan_projection, sn_convolution_2d.py"),
             "u_gradient": (False, "sngan_projection, max_sv.py"),
             "loss": ("hinge", "sngan_projection, loss_type: hinge"),
             "latent": ("normal", "sngan_projection, gen_models/resnet_32.py"),
             "order": ("gen-first", "sngan_projection, updater.py"),
             "reuse_z": (False, "sngan_projection, updater.py"),
             "lr": (2e-4, "sngan_projection, adam: alpha"), "beta1": (0.0, "sngan_projection, adam: beta1"),
             "beta2": (0.9, "sngan_projection, adam: beta2"), "n_dis": (5, "sngan_projection, n_dis"),
             "schedule": ("linear", "sngan_projection, iteration_decay_start: 0; the paper mentions no decay"),
             "decay_from": (0.0, "sngan_projection, iteration_decay_start: 0"),
             "iterations": (50_000, "sngan_projection, iteration: 50000; the paper: 100 K"),
             "batch_size": (64, "sngan_projection, batchsize"),
             "gen_batch_size": (128, "sngan_projection, n_gen_samples"),
             "scaling": ("128", "sngan_projection, datasets/cifar10.py: x / 128 - 1"),
             "dequantize": (True, "sngan_projection, datasets/cifar10.py: U[0, 1/128)"),
             "init": ("glorot", f"sngan_projection: {_GLOROT}"),
             "bn_eps": (2e-5, "Chainer"), "bn_decay": (0.9, "Chainer"), "adam_eps": (1e-8, "Chainer")},
        "imagenet": {"model": ("resnet-imagenet", "sngan_projection, resnet_128.py and snresnet.py"),
                     "size": (128, "sngan_projection, README"),
                     "resize": ("bilinear", "sngan_projection, datasets/imagenet.py: Pillow's, of the middle square"),
                     "iterations": (450_000, "sngan_projection, sn_projection.yml"),
                     "decay_from": (400 / 450, "sngan_projection, iteration_decay_start: 400000"),
                     "batch_size": (64, "sngan_projection, batchsize: 16 on each of four GPUs"),
                     "gen_batch_size": (128, "sngan_projection, n_gen_samples: 32 on each of four GPUs")},
    },
    "chainer-gan-lib": {
        "": {"model": ("cnn-code", "chainer-gan-lib, common/net.py: wider than the paper's Table 3"),
             "norm": ("sn", "chainer-gan-lib, common/sn"),
             "u_schedule": ("forward", "chainer-gan-lib, common/sn"),
             "u_gradient": (False, "chainer-gan-lib, common/sn"),
             "loss": ("ns", "chainer-gan-lib, dcgan/updater.py: softplus"),
             "latent": ("uniform", "chainer-gan-lib, common/net.py; the paper: N(0, I)"),
             "order": ("gen-first", "chainer-gan-lib, dcgan/updater.py"),
             "reuse_z": (False, "chainer-gan-lib, dcgan/updater.py"),
             "lr": (2e-4, "chainer-gan-lib, example.sh: setting C"),
             "beta1": (0.5, "chainer-gan-lib, example.sh: setting C"),
             "beta2": (0.999, "chainer-gan-lib, example.sh: setting C"), "n_dis": (1, "chainer-gan-lib, example.sh"),
             "schedule": ("constant", "chainer-gan-lib"), "iterations": (100_000, "chainer-gan-lib, train.py"),
             "batch_size": (64, "chainer-gan-lib, train.py"), "gen_batch_size": (None, "chainer-gan-lib, train.py"),
             "scaling": ("255", "chainer-gan-lib: x * 2 - 1"), "dequantize": (False, "chainer-gan-lib"),
             "bn_eps": (2e-5, "Chainer"), "bn_decay": (0.9, "Chainer"), "adam_eps": (1e-8, "Chainer")},
        "cnn": _CHAINER_INIT, "cnn-code": _CHAINER_INIT, "cnn-bssn": _CHAINER_INIT,
    },
    "bssn": {
        "": {"model": ("cnn-bssn", f"{_P4}, Tables 2 and 3, and BSN's code: the generator has BN and ReLU after its "
                                   "dense layer, and a last transposed convolution"),
             "u_schedule": ("update", "BSN's code: spectral_norm_update_ops after d_op"),
             "u_gradient": (True, "BSN's code stops no gradient"), "gamma_start": ("one", "BSN's code"),
             "norm": ("bssn", f"{_P4}, section 5"), "loss": ("hinge", f"{_P4}, appendix"),
             "latent": ("normal", "BSN's code"), "order": ("dis-first", "BSN's code"),
             "reuse_z": (True, "BSN's code: the generator takes the last z of the discriminator"),
             "sampling": ("replacement", "BSN's code: np.random.choice"),
             "lr": (1e-4, "BSN's code, sweep of scales; Table 7 has four more settings: --setting bssn-1 to bssn-5"),
             "lr_dis": (1e-4, "BSN's code, sweep of scales"), "beta1": (0.5, f"{_P4}, Table 7"),
             "beta2": (0.999, f"{_P4}, Table 7"),
             "n_dis": (1, "BSN's code; the first row of Table 7 has 5"),
             "schedule": ("constant", f"{_P4}"), "iterations": (400_000, f"{_P4}, appendix"),
             "batch_size": (64, f"{_P4}, appendix"), "gen_batch_size": (None, "BSN's code"),
             "scaling": ("255", f"{_P4}: to [-1, 1]"), "dequantize": (False, "BSN's code"),
             "bn_eps": (1e-5, "BSN's code"), "bn_decay": (0.9, "BSN's code"), "adam_eps": (1e-8, "TensorFlow")},
        "stl10": {"split": ("unlabeled", f"{_P4}, appendix"), "size": (48, f"{_P4}, appendix"),
                  "resize": ("plain", "BSN's code: OpenCV's bilinear, not antialiased"),
                  "iterations": (800_000, f"{_P4}, appendix: SN and BSN with n_dis 1; all else 400 K")},
        "celeba": {"crop": (128, f"{_P4}, appendix: the middle"), "size": (64, f"{_P4}, appendix"),
                   "resize": ("plain", "BSN's code: OpenCV's bilinear, not antialiased")},
        "imagenet": {"model": ("resnet-bssn", f"{_P4}, Tables 8 to 13"), "size": (128, f"{_P4}, appendix"),
                     "resize": ("plain", "BSN's code: OpenCV's bilinear, not antialiased, of the middle square")},
        "mnist": {"model": ("mnist-bssn", f"{_P4}, Tables 4 and 5")},
        "resnet-bssn": {"lr": (2e-4, f"BSN's code; {_P4}, appendix, has 0.002"),
                        "lr_dis": (2e-4, f"BSN's code; {_P4}, appendix, has 0.002"),
                        "beta1": (0.0, f"{_P4}, appendix"), "beta2": (0.9, f"{_P4}, appendix"),
                        "n_dis": (5, f"{_P4}, appendix"), "iterations": (500_000, f"{_P4}, appendix"),
                        "batch_size": (16, f"{_P4}, appendix"), "gen_batch_size": (32, f"{_P4}, appendix"),
                        "reuse_z": (False, "BSN's code: 32 new ones for the generator"),
                        "init": ("glorot", f"BSN's code, as variance scaling: {_GLOROT}")},
        "mnist-bssn": {"dim_z": (100, f"{_P4}, Table 4"), "latent": ("uniform", f"{_P4}, Table 4"),
                       "lr": (1e-3, f"{_P4}, appendix"), "lr_dis": (1e-3, f"{_P4}, appendix"),
                       "norm": ("sn-conv", f"{_P4}, appendix: the strict one"),
                       "loss": ("wasserstein", f"{_P4}, appendix"),
                       "iterations": (93_750, f"{_P4}, appendix: 100 epochs"),
                       "init": ("truncated-0.02", f"BSN's code; {_P4} does not give it")},
        "cnn": _BSN_INIT, "cnn-code": _BSN_INIT, "cnn-bssn": _BSN_INIT,
    },
    "wgan-gp": {
        "": {"model": ("resnet-wgan-gp", f"{_GULRAJANI}, gan_cifar_resnet.py"), "norm": ("none", f"{_GULRAJANI}"),
             "loss": ("wasserstein", f"{_GULRAJANI}, Eq. (3)"), "gp": (10.0, f"{_GULRAJANI}, section 4"),
             "gp_target": (1.0, f"{_GULRAJANI}, Eq. (3)"), "latent": ("normal", "gan_cifar_resnet.py"),
             "order": ("gen-first", "gan_cifar_resnet.py"), "reuse_z": (False, "gan_cifar_resnet.py"),
             "lr": (2e-4, "gan_cifar_resnet.py"), "beta1": (0.0, f"{_GULRAJANI}, appendix"),
             "beta2": (0.9, f"{_GULRAJANI}, appendix"), "n_dis": (5, f"{_GULRAJANI}, Algorithm 1"),
             "schedule": ("linear", "gan_cifar_resnet.py"), "decay_from": (0.0, "gan_cifar_resnet.py"),
             "iterations": (100_000, "gan_cifar_resnet.py"), "batch_size": (64, "gan_cifar_resnet.py"),
             "gen_batch_size": (128, "gan_cifar_resnet.py"),
             "scaling": ("128", "gan_cifar_resnet.py: 2 (x / 256 - 1/2)"),
             "dequantize": (True, "gan_cifar_resnet.py: U[0, 1/128)"), "bn_eps": (1e-5, "gan_cifar_resnet.py"),
             "init": ("glorot", f"gan_cifar_resnet.py, as He's with both fans: {_GLOROT}"),
             "adam_eps": (1e-8, "TensorFlow")},
    },
}

# Profiles of minigan's own: no source says otherwise than they do, so `explain` holds none of them against another
# value. "small": photographs of 32 pixels within half an hour of two cores. Of four recipes on CIFAR-10's images it had
# the best FID by the features of a classifier; docs/methods.md has the numbers.
RECIPES: dict[str, dict[str, Rows]] = {
    "small": {
        "": {"model": ("cnn", f"{_P3}, Table 3"), "width": (0.25, _SMALL), "norm": ("ssn", _SMALL),
             "scale": (1.4, _SMALL), "loss": ("hinge", f"{_P3}, Eq. (16), (17)"), "lr": (4e-4, _SMALL),
             "lr_dis": (2e-4, _SMALL), "beta1": (0.0, _SMALL), "beta2": (0.9, _SMALL), "n_dis": (1, _SMALL),
             "batch_size": (32, _SMALL), "ema": (0.998, _SMALL), "iterations": (10_000, _SMALL)},
    },
}
ALL_PROFILES = PROFILES | RECIPES


# What a profile's source does that has no option here.
_CHAINER = ("BN's running variance starts at 0 (here at 1)", "u of dense layers moves in evaluation, too (here never)")
BESIDES: dict[str, tuple[str, ...]] = {
    "sngan-projection": _CHAINER,
    "chainer-gan-lib": (*_CHAINER[:1], "all u move in evaluation, too (here never), and are not in its checkpoints"),
    "bssn": ("u begins as a truncated normal (here normal)",
             "gamma multiplies the bias, too (here the weights alone)",
             "BN's running moments of its ResNet move in the generator's updates alone (here in all)"),
    "wgan-gp": ("BN takes the batch's own moments when images are drawn, too (here the running ones)",),
}


def rows_of(profile: str, dataset: str, model: str) -> Rows:
    """All that a profile says of training this model on this data set; the narrower word counts."""
    said = ALL_PROFILES[profile]
    return said[""] | said.get(dataset, {}) | said.get(model, {})


def model_of(profile: str, dataset: str) -> str:
    """The model that a profile takes for a data set."""
    said = ALL_PROFILES[profile]
    return (said[""] | said.get(dataset, {}))["model"][0]


def _setting(source: str, lr: float, beta1: float, beta2: float, n_dis: int, lr_dis: float | None = None) -> Rows:
    values = {"lr": lr, "lr_dis": lr_dis, "beta1": beta1, "beta2": beta2, "n_dis": n_dis}
    return {name: (value, source) for name, value in values.items()}


# A to F: Miyato et al. 2018, Table 1. bssn-1 to bssn-5: Lin et al. 2021, Table 7, with a rate for each network.
SETTINGS: dict[str, Rows] = {
    name: _setting(f"{_P3}, Table 1, setting {name}", *row) for name, row in {
        "A": (1e-4, 0.5, 0.9, 5), "B": (1e-4, 0.5, 0.999, 1), "C": (2e-4, 0.5, 0.999, 1), "D": (1e-3, 0.5, 0.9, 5),
        "E": (1e-3, 0.5, 0.999, 5), "F": (1e-3, 0.9, 0.999, 5)}.items()
} | {
    f"bssn-{i}": _setting(f"{_P4}, Table 7, row {i}", *row) for i, row in enumerate([
        (1e-4, 0.5, 0.9, 5, 1e-4), (1e-4, 0.5, 0.999, 1, 1e-4), (2e-4, 0.5, 0.999, 1, 2e-4),
        (1e-4, 0.5, 0.999, 1, 2e-4), (2e-4, 0.5, 0.999, 1, 1e-4)], start=1)
}
