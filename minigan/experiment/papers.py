"""What the papers and the reports trained, by name: plain data for `minigan reproduce`.

Names are SOURCE/TABLE-OR-FIGURE/DATA/NETWORK/METHOD, as far as a source goes. The scores are the sources'; each is
worth something beside others of its own protocol only. Where a source is silent, a remark says what is done.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

Options = dict[str, Any]


@dataclass(frozen=True)
class Target:
    """One run, or a grid of them: methods x settings."""

    dataset: str
    options: Options  # beneath them lies what the profile says
    score: str = ""  # "IS / FID" as reported; empty where the source only draws it
    protocol: str = "sn-gan"  # of the score: a name of protocols.PROTOCOLS; "": none, or the source does not say enough
    methods: dict[str, Options] = field(default_factory=dict)  # of a grid: name -> what it changes
    settings: tuple[str, ...] = ()  # of a grid: names of profiles.SETTINGS
    remarks: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()  # numbers of the source's figures that these runs make


TARGETS: dict[str, Target] = {}

WGAN_GP: Options = {"norm": "none", "loss": "wasserstein", "gp": 10.0}
_NORMS = ("clip", "bn", "ln", "wn", "orthonormal", "sn")
_METHODS: dict[str, Options] = {name: {"norm": name, "loss": "ns"} for name in _NORMS} | {
    "gan-gp": {"norm": "none", "loss": "ns", "gp": 10.0}, "wgan-gp": WGAN_GP,
    "sn-hinge": {"norm": "sn", "loss": "hinge"}}


def _some(*names: str) -> dict[str, Options]:
    return {name: _METHODS[name] for name in names}


def _norms(*names: str, **more: Any) -> dict[str, Options]:
    return {name: {"norm": name, **more} for name in names}


# ---- Miyato et al. 2018 --------------------------------------------------------------------------------------------

_BEST = "the paper takes the best of its settings A to F and does not say which; here C"
_SCORES_2 = {  # Table 2, standard CNN
    "cifar10": {"clip": "6.41±.11 / 42.6", "gan-gp": "6.93±.08 / 37.7", "wgan-gp": "6.68±.06 / 40.2",
                "bn": "6.27±.10 / 56.3", "ln": "7.19±.12 / 33.9", "wn": "6.84±.07 / 34.7",
                "orthonormal": "7.40±.12 / 29.0", "sn": "7.42±.08 / 29.3", "sn-hinge": "7.58±.12 / 25.5"},
    "stl10": {"clip": "7.57±.10 / 64.2", "wgan-gp": "8.42±.13 / 55.1", "ln": "7.61±.12 / 75.6",
              "wn": "7.16±.10 / 73.4", "orthonormal": "8.56±.07 / 46.7"},
}
for _data, _rows in _SCORES_2.items():
    for _method, _score in _rows.items():
        TARGETS[f"sn-gan/table2/{_data}/cnn/{_method}"] = Target(
            _data, {"profile": "paper", "setting": "C", **_METHODS[_method]}, _score, remarks=(_BEST,))
TARGETS["sn-gan/table2/stl10/cnn/sn"] = Target(  # footnote 4
    "stl10", {"profile": "paper", "setting": "B", **_METHODS["sn"]}, "8.28±.09 / 53.1")
for _method, _setting, _score in (("sn", "B", "8.69±.09 / 47.5"), ("sn-hinge", "B", "8.79±.14 / 43.2"),
                                  ("orthonormal", "C", "8.67±.08 / 44.2")):
    TARGETS[f"sn-gan/table2/stl10/cnn/{_method}-2x"] = Target(
        "stl10", {"profile": "paper", "setting": _setting, "iterations": 200_000, **_METHODS[_method]}, _score)

_CODE = "the authors' code trains 50,000 iterations with a decay; the paper says 100 K and mentions none"
for _data, _model, _profile, _rows in (
        ("cifar10", "resnet", "sngan-projection", {"orthonormal": "7.92±.04 / 23.8±.58", "sn": "8.22±.05 / 21.7±.21"}),
        ("stl10", "resnet-stl", "paper", {"orthonormal": "8.72±.06 / 42.4±.99", "sn": "9.10±.04 / 40.1±.50"})):
    for _method, _score in _rows.items():
        TARGETS[f"sn-gan/table2/{_data}/resnet/{_method}-hinge"] = Target(
            _data, {"profile": _profile, "model": _model, "norm": _method, "loss": "hinge"}, _score,
            remarks=(_CODE,) if _data == "cifar10" else ("no code for these networks is published",))

_GAMMA = "Table 7 does not say how gamma begins, nor which setting; here as in the authors' code, and A"
for _method, _norm, _score in (
        ("wgan-gp", "none", "6.68±.06 / 40.1"), ("frobenius", "frobenius", "collapsed"),
        ("wn", "wn-gain", "6.36±.04 / 42.4"), ("sn", "sn-gamma", "7.20±.08 / 32.0")):
    TARGETS[f"sn-gan/table7/cifar10/cnn/{_method}"] = Target(
        "cifar10", {"profile": "paper", "setting": "A", **WGAN_GP, "norm": _norm}, _score,
        remarks=(_GAMMA, *(("without a gamma: --norm has none for it",) if _norm == "frobenius" else ())))
for _table, _model, _more, _rows in (
        (7, "resnet", {}, ("7.80±.11 / 24.5", "7.85±.06 / 23.6", "7.96±.06 / 22.5")),
        (8, "resnet-ac", {"condition": "ac"}, ("8.29±.12 / 19.5", "8.59±.12 / 18.6", "8.60±.08 / 17.5"))):
    for (_method, _own), _score in zip((("wgan-gp", {}), ("sn", {"norm": "sn-gamma"}), (
            "sn-1.5x", {"norm": "sn-gamma", "width_dis": 1.5})), _rows, strict=True):
        TARGETS[f"sn-gan/table{_table}/cifar10/{_model}/{_method}"] = Target(
            "cifar10", {"profile": "wgan-gp", **_more, **_own}, _score)

_A_TO_F = ("A", "B", "C", "D", "E", "F")
_IMAGENET: Options = {"profile": "sngan-projection"}
TARGETS |= {
    "sn-gan/figure1/cifar10": Target("cifar10", {"profile": "paper"}, methods=_some(
        "clip", "wgan-gp", "bn", "ln", "wn", "orthonormal", "sn"), settings=_A_TO_F, figures=("1", "2", "6")),
    "sn-gan/figure1/stl10": Target("stl10", {"profile": "paper"}, methods=_some(
        "clip", "wgan-gp", "ln", "wn", "orthonormal", "sn"), settings=_A_TO_F, figures=("1", "2", "6")),
    "sn-gan/figure3/cifar10": Target(
        "cifar10", {"profile": "paper", "setting": "C"}, "", "", _some("clip", "wn", "sn"), figures=("3",),
        remarks=("each with its best setting, which the paper does not give; here C",)),
    "sn-gan/figure4/stl10": Target("stl10", {"profile": "paper", "setting": "C"}, methods={
        f"{norm}-{width:g}x": {"norm": norm, "loss": "ns", "last_width": width}
        for norm in ("orthonormal", "sn") for width in (1.0, 2.0, 4.0)}, figures=("4",),
        remarks=("the relative sizes are read off no text; here 1, 2 and 4",)),
    "sn-gan/figure9/cifar10": Target("cifar10", {"profile": "paper", "setting": "C", **_METHODS["sn"]}, "", "",
                                     figures=("9",)),
    "sn-gan/figure11/cifar10": Target("cifar10", {"profile": "paper", "setting": "D"}, methods={
        f"{norm}-n{n}": {"norm": norm, "loss": "ns", "n_dis": n} for norm in ("wn", "sn") for n in (1, 5, 10, 20)},
        figures=("11",), remarks=("the numbers of updates are read off no text; here 1, 5, 10 and 20",)),
    "sn-gan/figure12/cifar10": Target("cifar10", {"profile": "paper"}, methods=_some("gan-gp", "ln", "bn"),
                                      settings=_A_TO_F, figures=("12",)),
    "sn-gan/figure15/cifar10": Target("cifar10", {"profile": "paper", "setting": "A", **WGAN_GP},
                                      methods=_norms("none", "wn-gain", "sn-gamma"), figures=("15",),
                                      remarks=("best IS on the way: 6.69, 7.04 (WN) and 7.28 (SN)",)),
    "sn-gan/imagenet/resnet/concat": Target(
        "imagenet", _IMAGENET | {"condition": "concat"}, "21.1±.35 / -", figures=("7",),
        remarks=("intra MS-SSIM 0.101; intra-FID 141.2 (sngan_projection's README)",)),
    "sn-gan/figure5/imagenet": Target("imagenet", _IMAGENET | {"condition": "concat"},
                                      methods=_norms("sn", "orthonormal"), figures=("5",)),
    "sn-gan/figure13a/imagenet": Target("imagenet", _IMAGENET, methods=_norms("sn", "orthonormal"),
                                        figures=("13", "13a")),
    "sn-gan/figure13b/imagenet": Target("imagenet", _IMAGENET | {"condition": "projection"},
                                        methods=_norms("sn", "orthonormal"), figures=("13", "13b")),
    # Miyato and Koyama 2018, and sngan_projection's README: the networks of SN-GAN with labels
    "cgan/imagenet/resnet/concat": Target("imagenet", _IMAGENET | {"condition": "concat"}, "21.1±.35 / -",
                                          remarks=("intra-FID 141.2",)),
    "cgan/imagenet/resnet/projection": Target("imagenet", _IMAGENET | {"condition": "projection"}, "29.7 / -",
                                              remarks=("intra-FID 103.1",)),
    "cgan/imagenet/resnet/projection-850k": Target(
        "imagenet", _IMAGENET | {"condition": "projection", "iterations": 850_000, "decay_from": 800 / 850},
        "36.8 / -", remarks=("intra-FID 92.4; where its decay begins is not in the papers here: the last 50 K",)),
    "cgan/table3/cifar10/resnet/projection": Target(
        "cifar10", {"profile": "sngan-projection", "condition": "projection"}, "8.62 / 17.5"),
    "cgan/table3/cifar100/resnet/projection": Target(
        "cifar100", {"profile": "sngan-projection", "condition": "projection"}, "- / 23.2"),
    # what the authors' code and that of WGAN-GP report themselves
    "chainer-gan-lib/cifar10/cnn-code/sn": Target("cifar10", {"profile": "chainer-gan-lib"}, "7.41 / 23.6",
                                                  "chainer-gan-lib"),
    "wgan-gp/cifar10/resnet": Target("cifar10", {"profile": "wgan-gp"}, "7.86±.08 / -", "",
                                     remarks=("IS of 50,000 pictures, 10 splits",)),
    "wgan-gp/cifar10/resnet-ac": Target("cifar10", {"profile": "wgan-gp", "condition": "ac"}, "8.42±.10 / -", "",
                                        remarks=("IS of 50,000 pictures, 10 splits",)),
}

# ---- Lin et al. 2021 -----------------------------------------------------------------------------------------------

_B: Options = {"profile": "bssn"}
_SETTINGS = tuple(f"bssn-{i}" for i in range(1, 6))
_SEVEN = (0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6)
_BSSN_CIFAR = (*_SEVEN, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 3.2, 3.4, 3.6, 3.8, 4.0)
SCALES: dict[tuple[str, str], tuple[float, ...]] = {  # Appendices P to S: (data set, norm) -> scales
    ("cifar10", "ssn"): (*_BSSN_CIFAR, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 9.0, 10.0), ("cifar10", "bssn"): _BSSN_CIFAR,
    ("stl10", "ssn"): _SEVEN, ("stl10", "bssn"): _SEVEN, ("celeba", "ssn"): _SEVEN, ("celeba", "bssn"): _SEVEN,
    ("imagenet", "ssn"): (1.0, 1.2, 1.4, 1.6), ("imagenet", "bssn"): (1.0, 1.2, 1.4, 1.6)}
_FIRST = "the appendix names the first setting of its Table 7; BSN's code and Figure 9 have n_dis 1, as here"
_FIVE = "with n_dis 5 (bssn-1) the paper trains 400,000 iterations; --iterations is the same for all here"
_SCALED = "the table takes the best scale of a sweep (bssn/scales) for each measure; --scale is 1 here"
for _data, _rows in {
        "cifar10": ("7.12±.07 / 31.43±.90", "7.38±.06 / 29.31±.23", "7.54±.04 / 26.94±.58", "7.54±.04 / 26.94±.58"),
        "stl10": ("9.05±.05 / 44.35±.54", "9.28±.03 / 43.52±.26", "9.25±.01 / 42.98±.54", "9.25±.01 / 42.90±.17"),
        "celeba": ("- / 9.43±.09", "- / 8.50±.20", "- / 9.05±.13", "- / 9.05±.13"),
        "imagenet": ("12.84±.33 / 75.06±2.38", "12.84±.33 / 73.21±1.92", "1.77±.13 / 265.20±19.01",
                     "13.23±.16 / 69.04±1.46")}.items():
    _net = "resnet" if _data == "imagenet" else "cnn"
    for _norm, _score in zip(("sn", "ssn", "bsn", "bssn"), _rows, strict=True):
        TARGETS[f"bssn/table1/{_data}/{_net}/{_norm}"] = Target(
            _data, _B | {"norm": _norm}, _score, "bssn", remarks=(
                *(() if _data == "imagenet" else (_FIRST,)), *((_SCALED,) if _norm in ("ssn", "bssn") else ())))
    for _norm in ("ssn", "bssn"):
        TARGETS[f"bssn/scales/{_data}/{_net}/{_norm}"] = Target(
            _data, _B | {"norm": _norm}, protocol="bssn",
            methods={f"{_norm}-{scale:g}": {"scale": scale} for scale in SCALES[_data, _norm]},
            figures=("65", "66") if _data == "imagenet" else ())

_CODE_GAMMA = "Wasserstein loss and penalty, as in BSN's code; the appendix says hinge, with a penalty"
_VARIANTS: dict[str, Options] = _norms("sn", "bsn") | _norms(
    "sn-gamma-shared", "bsn-gamma-shared", "sn-gamma", "bsn-gamma", loss="wasserstein", gp=10.0, gamma_start="one")
for _data, _numbers, _rows in (
        ("cifar10", ("24", "26"), ("7.22±.09 / 31.43±.90", "7.58±.04 / 26.62±.21", "6.46±.06 / 42.35±.74",
                                   "6.69±.05 / 39.62±.40", "6.53±.01 / 41.88±.50", "6.72±.05 / 38.15±.72")),
        ("stl10", ("25", "40"), ("9.16±.03 / 42.89±.54", "9.25±.01 / 42.98±.54", "8.86±.03 / 54.61±.51",
                                 "8.76±.03 / 55.04±.48", "8.79±.03 / 56.76±.44", "8.80±.03 / 53.99±.33")),
        ("celeba", ("55",), ("- / 9.09±.32", "- / 8.54±.20", "- / 7.74±.11", "- / 7.83±.09", "- / 7.54±.08",
                                 "- / 7.67±.04"))):
    for (_norm, _own), _score in zip(_VARIANTS.items(), _rows, strict=True):
        _gamma = "gamma" in _norm
        TARGETS[f"bssn/table6/{_data}/cnn/{_norm}"] = Target(
            _data, _B | _own | ({"iterations": 400_000} if _gamma else {}), _score, "bssn",
            settings=_SETTINGS, figures=_numbers,
            remarks=("the best setting counts", *((_CODE_GAMMA,) if _gamma else (_FIVE,) if _data == "stl10" else ())))
for _data, _numbers in (("cifar10", (9, *range(27, 36))), ("stl10", range(41, 51)), ("celeba", range(56, 61))):
    TARGETS[f"bssn/figure{_numbers[0]}/{_data}"] = Target(
        _data, _B, protocol="bssn", methods=_norms("sn", "bsn"), settings=_SETTINGS, figures=tuple(map(str, _numbers)),
        remarks=(_FIVE,) if _data == "stl10" else ())

_ONE: Options = _B | {"setting": "bssn-2"}
_GUESSED = "the scales are read off no text"
_RANDOM = "how far the random scales of the layers are apart is not said; the deviation of their logarithm is 0.5 here"
_SPREAD: Options = {"norm": "sn-conv", "scale_spread": 0.5}
TARGETS |= {
    "bssn/figure2/mnist": Target("mnist", _B, "", "", {"wgan-gp": WGAN_GP, "sn-conv": {"norm": "sn-conv"}},
                                 figures=("2", "12")),
    "bssn/figure3/mnist": Target("mnist", _B | _SPREAD, "", "", figures=("3",), remarks=(_RANDOM,)),
    "bssn/figure4/cifar10": Target("cifar10", _ONE, protocol="bssn", methods=_norms("sn", "sn-conv"),
                                   figures=("4", "5", "21")),
    "bssn/figure6/cifar10": Target("cifar10", _ONE, protocol="bssn", methods={
        f"{norm}-{scale:g}": {"norm": norm, "scale": scale} for norm in ("ssn", "sn-conv")
        for scale in (0.5, 1.0, 1.75, 3.0)}, figures=("6", "22"),
        remarks=(f"{_GUESSED} but 1.75 and 1; here 0.5 and 3 besides",)),
    "bssn/figure7/cifar10": Target("cifar10", _ONE | {"norm": "sn"}, protocol="bssn", figures=("7", "20")),
    "bssn/figure8/cifar10": Target("cifar10", _ONE, protocol="bssn", methods={
        f"ssn-{scale:g}": {"norm": "ssn", "scale": scale} for scale in SCALES["cifar10", "ssn"]} | {
        f"lecun-{scale}": {"norm": "none", "init_dis": f"lecun-{scale}"}
        for scale in ("0.1", "0.2", "0.4", "0.8", "1.2", "1.6", "2")}, figures=("8", "23"),
        remarks=(f"{_GUESSED} for LeCun's weights, but 0.2 and 1.2, about which they are good",)),
    "bssn/figure10/cifar10": Target("cifar10", _B | WGAN_GP | {"n_dis": 1}, protocol="bssn", methods={
        "stable": {"lr": 1e-4, "lr_dis": 2e-4}, "exploding": {"lr": 1e-3, "lr_dis": 1e-3},
        "vanishing": {"lr": 1e-3, "lr_dis": 1e-3, "gp": 50.0, "slope": 0.0}}, figures=("10", "11")),
    "bssn/figure13/cifar10": Target("cifar10", _ONE, "", "", {"wgan-gp": WGAN_GP, "sn-conv": {"norm": "sn-conv"}},
                                    figures=("13",), remarks=("the loss with SN is not said: hinge here",)),
    "bssn/figure14/cifar10": Target("cifar10", _ONE | _SPREAD | {"scale": 1.75}, "", "", figures=("14",),
                                    remarks=(_RANDOM,)),
    "bssn/figure15/stl10": Target("stl10", _ONE | _SPREAD | {"scale": 1.75, "iterations": 400_000}, "", "",
                                  figures=("15",), remarks=(_RANDOM,)),
    "bssn/figure16/cifar10": Target("cifar10", _ONE, protocol="bssn", methods=_norms("none", "sn"),
                                    figures=("16", "17", "18", "19")),
}

# ---- the three reports ---------------------------------------------------------------------------------------------

# Gunnlaugsson, Hamesse and Vignisson: Radford et al.'s networks, all channels, Adam at 0.002
_R1: Options = {"model": "dcgan", "size": 64, "width": 2.0, "loss": "ns", "lr": 2e-3, "beta1": 0.5, "norm": "none"}
_R1_REMARKS = ("size and batches are not in the report; here 64 pixels, as in its Figure 2, and 64 pictures",)
_EPOCH = 50_000 / 64
for _method, _own, _epochs, _score in (
        ("dcgan", {}, 250, "5.8 / -"), ("sn-dcgan", {"norm": "sn"}, 250, ""),
        ("w-dcgan", {"loss": "wasserstein"}, 250, ""),
        ("w-wc-dcgan", {"loss": "wasserstein", "norm": "clip", "clip_which": "all"}, 250, ""),
        ("w-sn-dcgan", {"loss": "wasserstein", "norm": "sn", "beta1": 0.0}, 200, "")):
    TARGETS[f"report1/cifar10/{_method}"] = Target(
        "cifar10", _R1 | _own | {"iterations": round(_epochs * _EPOCH)}, _score, "report", remarks=(
            *_R1_REMARKS, *(("a plateau, read in the text: 'around 5.8'",) if _score else ())))
for _method in ("sn-dcgan", "w-sn-dcgan"):
    TARGETS[f"report1/reptiles/{_method}"] = Target(
        "folder", TARGETS[f"report1/cifar10/{_method}"].options | {"size": 108}, protocol="report", remarks=(
            "20,000 photographs of reptiles, 108 x 108: any folder of your own, with --data-root",))
# Zhang: DCGAN for CIFAR-10, with BN or SN or neither in the discriminator
for _method, _own, _score in (("sn", {"norm": "sn", "features": "none"}, "- / 128.89"),
                              ("bn", {"norm": "bn", "features_gain": True}, "- / 115.76"),
                              ("no-bn", {"norm": "none", "features": "none"}, "- / 187.79")):
    TARGETS[f"report2/cifar10/{_method}"] = Target(
        "cifar10", {"model": "dcgan-32", "loss": "ns", "lr": 1e-4, "lr_dis": 4e-4, "beta1": 0.5, "beta2": 0.999,
                    "iterations": round(70 * _EPOCH), **_own}, _score, "", remarks=(
            "channels, size and batches are not in the report; here dcgan-32, and 64 pictures",
            *(("it had no BN in the generator, either; here it stays",) if _method == "no-bn" else ())))
# "A deep dive into spectral normalized DCGAN": CIFAR-10 enlarged to 64 pixels, SN and BN in the discriminator
for _rate, _score, _accuracy in (("1e-4", "- / 41.01", 0.5971), ("1e-5", "- / 117.22", 0.7393),
                                 ("1e-6", "- / 335.27", 0.5)):
    TARGETS[f"report3/table1/cifar10/lr-{_rate}"] = Target(
        "cifar10", {"model": "dcgan", "size": 64, "norm": "sn-bn", "features_gain": True, "loss": "ns",
                    "lr": float(_rate), "beta1": 0.5, "beta2": 0.999, "batch_size": 128, "iterations": 39_100},
        _score, "", remarks=("100 epochs; whether it began anew at each rate or went on is not clear: anew here",
                             f"accuracy of the discriminator: {_accuracy}"))
