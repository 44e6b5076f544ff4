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
    by_setting: dict[str, Options] = field(default_factory=dict)  # what some of these bring besides
    remarks: tuple[str, ...] = ()
    figures: tuple[str, ...] = ()  # numbers of the source's figures that these runs make

    def in_setting(self, setting: str | None) -> Options:
        """What a run of the grid has in this setting; nothing for a setting that is not the grid's."""
        return {"setting": setting, **self.by_setting.get(setting, {})} if setting in self.settings else {}


def _norms(*names: str, **more: Any) -> dict[str, Options]:
    """Methods of a grid that are named as their --norm."""
    return {name: {"norm": name, **more} for name in names}


def _scales(norm: str, *scales: float) -> dict[str, Options]:
    """Methods of a grid: the same --norm with one --scale after the other."""
    return {f"{norm}-{scale:g}": {"scale": scale} for scale in scales}


# ---- Miyato et al. 2018 --------------------------------------------------------------------------------------------

GAN_GP: Options = {"norm": "none", "loss": "ns", "gp": 10.0}
WGAN_GP: Options = {"norm": "none", "loss": "wasserstein", "gp": 10.0}
CLIP: Options = {"norm": "clip", "loss": "ns"}
BN: Options = {"norm": "bn", "loss": "ns"}
LN: Options = {"norm": "ln", "loss": "ns"}
WN: Options = {"norm": "wn", "loss": "ns"}
ORTHONORMAL: Options = {"norm": "orthonormal", "loss": "ns"}
SN: Options = {"norm": "sn", "loss": "ns"}
SN_HINGE: Options = {"norm": "sn", "loss": "hinge"}
ORTHONORMAL_HINGE: Options = {"norm": "orthonormal", "loss": "hinge"}

PAPER: Options = {"profile": "paper"}
A: Options = PAPER | {"setting": "A"}
B: Options = PAPER | {"setting": "B"}
C: Options = PAPER | {"setting": "C"}
D: Options = PAPER | {"setting": "D"}
A_TO_F = ("A", "B", "C", "D", "E", "F")
TWICE: Options = {"iterations": 200_000}
RESNET_CIFAR: Options = {"profile": "sngan-projection", "model": "resnet"}
RESNET_STL: Options = PAPER | {"model": "resnet-stl"}
RESNET_WGAN_GP: Options = {"profile": "wgan-gp"}
SN_GAMMA: Options = {"norm": "sn-gamma"}
WIDER: Options = {"width_dis": 1.5}
AUTHORS: Options = {"profile": "sngan-projection"}
AC: Options = {"condition": "ac"}
CONCAT: Options = {"condition": "concat"}
PROJECTION: Options = {"condition": "projection"}

BEST = ("the paper takes the best of its settings A to F and does not say which; here C",)
OWN_A = ("the setting is not said; Tables 2 and 7 have the same 6.68, so one setting here: A, Gulrajani et al.'s own "
         "(Table 1); it fails in D to F (section 4.1), and B is called light beside it (footnote 4)",)
DECAY = ("the authors' code trains 50,000 iterations with a decay; the paper says 100 K and mentions none",)
NO_CODE = ("no code for these networks is published",)
GAMMA = ("Table 7 does not say how gamma begins, nor which setting; here as in the authors' code, and A as without",)
NO_GAMMA = ("without a gamma: --norm has none for it",)
IS_ALONE = ("IS of 50,000 images, 10 splits",)

SN_GAN: dict[str, Target] = {
    "sn-gan/table2/cifar10/cnn/clip": Target("cifar10", C | CLIP, "6.41±.11 / 42.6", remarks=BEST),
    "sn-gan/table2/cifar10/cnn/gan-gp": Target("cifar10", C | GAN_GP, "6.93±.08 / 37.7", remarks=BEST),
    "sn-gan/table2/cifar10/cnn/wgan-gp": Target("cifar10", A | WGAN_GP, "6.68±.06 / 40.2", remarks=OWN_A),
    "sn-gan/table2/cifar10/cnn/bn": Target("cifar10", C | BN, "6.27±.10 / 56.3", remarks=BEST),
    "sn-gan/table2/cifar10/cnn/ln": Target("cifar10", C | LN, "7.19±.12 / 33.9", remarks=BEST),
    "sn-gan/table2/cifar10/cnn/wn": Target("cifar10", C | WN, "6.84±.07 / 34.7", remarks=BEST),
    "sn-gan/table2/cifar10/cnn/orthonormal": Target("cifar10", C | ORTHONORMAL, "7.40±.12 / 29.0", remarks=BEST),
    "sn-gan/table2/cifar10/cnn/sn": Target("cifar10", C | SN, "7.42±.08 / 29.3", remarks=BEST),
    "sn-gan/table2/cifar10/cnn/sn-hinge": Target("cifar10", C | SN_HINGE, "7.58±.12 / 25.5", remarks=BEST),
    "sn-gan/table2/stl10/cnn/clip": Target("stl10", C | CLIP, "7.57±.10 / 64.2", remarks=BEST),
    "sn-gan/table2/stl10/cnn/wgan-gp": Target("stl10", A | WGAN_GP, "8.42±.13 / 55.1", remarks=OWN_A),
    "sn-gan/table2/stl10/cnn/ln": Target("stl10", C | LN, "7.61±.12 / 75.6", remarks=BEST),
    "sn-gan/table2/stl10/cnn/wn": Target("stl10", C | WN, "7.16±.10 / 73.4", remarks=BEST),
    # C is the best for these two: the caption of Figure 4
    "sn-gan/table2/stl10/cnn/orthonormal": Target("stl10", C | ORTHONORMAL, "8.56±.07 / 46.7"),
    "sn-gan/table2/stl10/cnn/orthonormal-2x": Target("stl10", C | TWICE | ORTHONORMAL, "8.67±.08 / 44.2"),
    # B for these three: footnote 4
    "sn-gan/table2/stl10/cnn/sn": Target("stl10", B | SN, "8.28±.09 / 53.1"),
    "sn-gan/table2/stl10/cnn/sn-2x": Target("stl10", B | TWICE | SN, "8.69±.09 / 47.5"),
    "sn-gan/table2/stl10/cnn/sn-hinge-2x": Target("stl10", B | TWICE | SN_HINGE, "8.79±.14 / 43.2"),
    "sn-gan/table2/cifar10/resnet/orthonormal-hinge": Target(
        "cifar10", RESNET_CIFAR | ORTHONORMAL_HINGE, "7.92±.04 / 23.8±.58", remarks=DECAY),
    "sn-gan/table2/cifar10/resnet/sn-hinge": Target(
        "cifar10", RESNET_CIFAR | SN_HINGE, "8.22±.05 / 21.7±.21", remarks=DECAY),
    "sn-gan/table2/stl10/resnet/orthonormal-hinge": Target(
        "stl10", RESNET_STL | ORTHONORMAL_HINGE, "8.72±.06 / 42.4±.99", remarks=NO_CODE),
    "sn-gan/table2/stl10/resnet/sn-hinge": Target(
        "stl10", RESNET_STL | SN_HINGE, "9.10±.04 / 40.1±.50", remarks=NO_CODE),

    "sn-gan/table7/cifar10/cnn/wgan-gp": Target("cifar10", A | WGAN_GP, "6.68±.06 / 40.1", remarks=OWN_A),
    "sn-gan/table7/cifar10/cnn/frobenius": Target(
        "cifar10", A | WGAN_GP | {"norm": "frobenius"}, "collapsed", remarks=GAMMA + NO_GAMMA),
    "sn-gan/table7/cifar10/cnn/wn": Target(
        "cifar10", A | WGAN_GP | {"norm": "wn-gain"}, "6.36±.04 / 42.4", remarks=GAMMA),
    "sn-gan/table7/cifar10/cnn/sn": Target("cifar10", A | WGAN_GP | SN_GAMMA, "7.20±.08 / 32.0", remarks=GAMMA),
    "sn-gan/table7/cifar10/resnet/wgan-gp": Target("cifar10", RESNET_WGAN_GP, "7.80±.11 / 24.5"),
    "sn-gan/table7/cifar10/resnet/sn": Target("cifar10", RESNET_WGAN_GP | SN_GAMMA, "7.85±.06 / 23.6"),
    "sn-gan/table7/cifar10/resnet/sn-1.5x": Target("cifar10", RESNET_WGAN_GP | SN_GAMMA | WIDER, "7.96±.06 / 22.5"),
    "sn-gan/table8/cifar10/resnet-ac/wgan-gp": Target("cifar10", RESNET_WGAN_GP | AC, "8.29±.12 / 19.5"),
    "sn-gan/table8/cifar10/resnet-ac/sn": Target("cifar10", RESNET_WGAN_GP | AC | SN_GAMMA, "8.59±.12 / 18.6"),
    "sn-gan/table8/cifar10/resnet-ac/sn-1.5x": Target(
        "cifar10", RESNET_WGAN_GP | AC | SN_GAMMA | WIDER, "8.60±.08 / 17.5"),

    "sn-gan/figure1/cifar10": Target(
        "cifar10", PAPER, settings=A_TO_F, figures=("1", "2", "6"),
        methods={"clip": CLIP, "wgan-gp": WGAN_GP, "bn": BN, "ln": LN, "wn": WN, "orthonormal": ORTHONORMAL, "sn": SN}),
    "sn-gan/figure1/stl10": Target(
        "stl10", PAPER, settings=A_TO_F, figures=("1", "2", "6"),
        methods={"clip": CLIP, "wgan-gp": WGAN_GP, "ln": LN, "wn": WN, "orthonormal": ORTHONORMAL, "sn": SN}),
    "sn-gan/figure3/cifar10": Target(
        "cifar10", C, protocol="", methods={"clip": CLIP, "wn": WN, "sn": SN}, figures=("3",),
        remarks=("each with its best setting, which the paper does not give; here C",)),
    "sn-gan/figure4/stl10": Target(
        "stl10", C, figures=("4",), remarks=("the relative sizes are read off no text; here 1, 2 and 4",), methods={
            "orthonormal-1x": ORTHONORMAL | {"last_width": 1.0}, "orthonormal-2x": ORTHONORMAL | {"last_width": 2.0},
            "orthonormal-4x": ORTHONORMAL | {"last_width": 4.0}, "sn-1x": SN | {"last_width": 1.0},
            "sn-2x": SN | {"last_width": 2.0}, "sn-4x": SN | {"last_width": 4.0}}),
    "sn-gan/figure9/cifar10": Target("cifar10", C | SN, protocol="", figures=("9",)),
    "sn-gan/figure11/cifar10": Target(
        "cifar10", D, figures=("11",),
        remarks=("the numbers of updates are read off no text; here 1, 5, 10 and 20",), methods={
            "wn-n1": WN | {"n_dis": 1}, "wn-n5": WN | {"n_dis": 5}, "wn-n10": WN | {"n_dis": 10},
            "wn-n20": WN | {"n_dis": 20}, "sn-n1": SN | {"n_dis": 1}, "sn-n5": SN | {"n_dis": 5},
            "sn-n10": SN | {"n_dis": 10}, "sn-n20": SN | {"n_dis": 20}}),
    "sn-gan/figure12/cifar10": Target(
        "cifar10", PAPER, methods={"gan-gp": GAN_GP, "ln": LN, "bn": BN}, settings=A_TO_F, figures=("12",)),
    "sn-gan/figure15/cifar10": Target(
        "cifar10", A | WGAN_GP, methods=_norms("none", "wn-gain", "sn-gamma"), figures=("15",),
        remarks=("best IS on the way: 6.69, 7.04 (WN) and 7.28 (SN)",)),
    "sn-gan/imagenet/resnet/concat": Target(
        "imagenet", AUTHORS | CONCAT, "21.1±.35 / -", figures=("7",),
        remarks=("intra MS-SSIM 0.101; intra-FID 141.2 (sngan_projection's README)",)),
    "sn-gan/figure5/imagenet": Target(
        "imagenet", AUTHORS | CONCAT, methods=_norms("sn", "orthonormal"), figures=("5",)),
    "sn-gan/figure13a/imagenet": Target(
        "imagenet", AUTHORS, methods=_norms("sn", "orthonormal"), figures=("13", "13a")),
    "sn-gan/figure13b/imagenet": Target(
        "imagenet", AUTHORS | PROJECTION, methods=_norms("sn", "orthonormal"), figures=("13", "13b")),

    # Miyato and Koyama 2018, and sngan_projection's README: the networks of SN-GAN with labels
    "cgan/imagenet/resnet/concat": Target("imagenet", AUTHORS | CONCAT, "21.1±.35 / -", remarks=("intra-FID 141.2",)),
    "cgan/imagenet/resnet/projection": Target(
        "imagenet", AUTHORS | PROJECTION, "29.7 / -", remarks=("intra-FID 103.1",)),
    "cgan/imagenet/resnet/projection-850k": Target(
        "imagenet", AUTHORS | PROJECTION | {"iterations": 850_000, "decay_from": 800 / 850}, "36.8 / -",
        remarks=("intra-FID 92.4; where its decay begins is not in the papers here: the last 50 K",)),
    "cgan/table3/cifar10/resnet/projection": Target("cifar10", AUTHORS | PROJECTION, "8.62 / 17.5"),
    "cgan/table3/cifar100/resnet/projection": Target("cifar100", AUTHORS | PROJECTION, "- / 23.2"),

    # what the authors' code and that of WGAN-GP report themselves
    "chainer-gan-lib/cifar10/cnn-code/sn": Target(
        "cifar10", {"profile": "chainer-gan-lib"}, "7.41 / 23.6", "chainer-gan-lib"),
    "wgan-gp/cifar10/resnet": Target("cifar10", RESNET_WGAN_GP, "7.86±.08 / -", "", remarks=IS_ALONE),
    "wgan-gp/cifar10/resnet-ac": Target("cifar10", RESNET_WGAN_GP | AC, "8.42±.10 / -", "", remarks=IS_ALONE),
}

# ---- Lin et al. 2021 -----------------------------------------------------------------------------------------------

LIN: Options = {"profile": "bssn"}
SECOND: Options = LIN | {"setting": "bssn-2"}
FIVE = ("bssn-1", "bssn-2", "bssn-3", "bssn-4", "bssn-5")
LONG: Options = {"iterations": 400_000}
# n_dis 5 on STL-10: appendix Q.1 and BSN's code
SHORT: dict[str, Options] = {"bssn-1": LONG}
LIN_SN: Options = LIN | {"norm": "sn"}
LIN_SSN: Options = LIN | {"norm": "ssn"}
LIN_BSN: Options = LIN | {"norm": "bsn"}
LIN_BSSN: Options = LIN | {"norm": "bssn"}
LIN_GAMMA: Options = LIN | LONG | {"loss": "wasserstein", "gp": 10.0, "gamma_start": "one"}
LIN_SN_SHARED: Options = LIN_GAMMA | {"norm": "sn-gamma-shared"}
LIN_BSN_SHARED: Options = LIN_GAMMA | {"norm": "bsn-gamma-shared"}
LIN_SN_GAMMA: Options = LIN_GAMMA | {"norm": "sn-gamma"}
LIN_BSN_GAMMA: Options = LIN_GAMMA | {"norm": "bsn-gamma"}
# Appendix J.1: lambda 10 beside images in [0, 1] (H.1). D sees x' = (x + 1) / 2 there, and its gradient at x is half of
# that at x': 10 (|g'| - 1)^2 = 10 (2 |g| - 1)^2 = 40 (|g| - 0.5)^2.
MNIST_GP: Options = WGAN_GP | {"gp": 40.0, "gp_target": 0.5}
SPREAD: Options = {"norm": "sn-conv", "scale_spread": 0.5}

# Appendices P to S: the scales of each sweep
SEVEN = (0.7, 0.8, 0.9, 1.0, 1.2, 1.4, 1.6)
FOUR = (1.0, 1.2, 1.4, 1.6)
TO_4 = (*SEVEN, 1.8, 2.0, 2.2, 2.4, 2.6, 2.8, 3.0, 3.2, 3.4, 3.6, 3.8, 4.0)
TO_10 = (*TO_4, 4.5, 5.0, 5.5, 6.0, 7.0, 8.0, 9.0, 10.0)

FIRST = ("the appendix names the first setting of its Table 7; BSN's code and Figure 9 have n_dis 1, as here",)
SCALED = ("the table takes the best scale of a sweep (bssn/scales) for each measure; --scale is 1 here",)
BEST_OF_5 = ("the best setting counts",)
CODE = (*BEST_OF_5, "Wasserstein loss and penalty, as in BSN's code; the appendix says hinge, with a penalty")
STL_FIRST = ("with n_dis 5 on STL-10 the paper trains 400,000 iterations, with 1, as here, 800,000",)
STL_SCALED = ("800,000 iterations on STL-10 as in BSN's code; the appendix has them for SN and BSN alone, and for 'all "
              "other experiments' 400,000",)
STL_CODE = ("400,000 iterations on STL-10 as in the appendix; BSN's code has 800,000 where n_dis is 1",)
UNITS = ("--gp 40 and --gp-target 0.5 are the paper's 10 and 1: its discriminator's images lie in [0, 1], here in "
         "[-1, 1], where its gradient is half of that",)
ITS_IMAGES = ("the paper's discriminator sees images in [0, 1], here in [-1, 1]: gradients have other norms",)
RANDOM = (
    "how far the random scales of the layers are apart is not said; the deviation of their logarithm is 0.5 here",)

BSSN: dict[str, Target] = {
    "bssn/table1/cifar10/cnn/sn": Target("cifar10", LIN_SN, "7.12±.07 / 31.43±.90", "bssn", remarks=FIRST),
    "bssn/table1/cifar10/cnn/ssn": Target("cifar10", LIN_SSN, "7.38±.06 / 29.31±.23", "bssn", remarks=FIRST + SCALED),
    "bssn/table1/cifar10/cnn/bsn": Target("cifar10", LIN_BSN, "7.54±.04 / 26.94±.58", "bssn", remarks=FIRST),
    "bssn/table1/cifar10/cnn/bssn": Target("cifar10", LIN_BSSN, "7.54±.04 / 26.94±.58", "bssn", remarks=FIRST + SCALED),
    "bssn/scales/cifar10/cnn/ssn": Target("cifar10", LIN_SSN, protocol="bssn", methods=_scales("ssn", *TO_10)),
    "bssn/scales/cifar10/cnn/bssn": Target("cifar10", LIN_BSSN, protocol="bssn", methods=_scales("bssn", *TO_4)),
    "bssn/table1/stl10/cnn/sn": Target("stl10", LIN_SN, "9.05±.05 / 44.35±.54", "bssn", remarks=FIRST + STL_FIRST),
    "bssn/table1/stl10/cnn/ssn": Target(
        "stl10", LIN_SSN, "9.28±.03 / 43.52±.26", "bssn", remarks=FIRST + SCALED + STL_SCALED),
    "bssn/table1/stl10/cnn/bsn": Target("stl10", LIN_BSN, "9.25±.01 / 42.98±.54", "bssn", remarks=FIRST + STL_FIRST),
    "bssn/table1/stl10/cnn/bssn": Target(
        "stl10", LIN_BSSN, "9.25±.01 / 42.90±.17", "bssn", remarks=FIRST + SCALED + STL_SCALED),
    "bssn/scales/stl10/cnn/ssn": Target(
        "stl10", LIN_SSN, protocol="bssn", methods=_scales("ssn", *SEVEN), remarks=STL_SCALED),
    "bssn/scales/stl10/cnn/bssn": Target(
        "stl10", LIN_BSSN, protocol="bssn", methods=_scales("bssn", *SEVEN), remarks=STL_SCALED),
    "bssn/table1/celeba/cnn/sn": Target("celeba", LIN_SN, "- / 9.43±.09", "bssn", remarks=FIRST),
    "bssn/table1/celeba/cnn/ssn": Target("celeba", LIN_SSN, "- / 8.50±.20", "bssn", remarks=FIRST + SCALED),
    "bssn/table1/celeba/cnn/bsn": Target("celeba", LIN_BSN, "- / 9.05±.13", "bssn", remarks=FIRST),
    "bssn/table1/celeba/cnn/bssn": Target("celeba", LIN_BSSN, "- / 9.05±.13", "bssn", remarks=FIRST + SCALED),
    "bssn/scales/celeba/cnn/ssn": Target("celeba", LIN_SSN, protocol="bssn", methods=_scales("ssn", *SEVEN)),
    "bssn/scales/celeba/cnn/bssn": Target("celeba", LIN_BSSN, protocol="bssn", methods=_scales("bssn", *SEVEN)),
    "bssn/table1/imagenet/resnet/sn": Target("imagenet", LIN_SN, "12.84±.33 / 75.06±2.38", "bssn"),
    "bssn/table1/imagenet/resnet/ssn": Target("imagenet", LIN_SSN, "12.84±.33 / 73.21±1.92", "bssn", remarks=SCALED),
    "bssn/table1/imagenet/resnet/bsn": Target("imagenet", LIN_BSN, "1.77±.13 / 265.20±19.01", "bssn"),
    "bssn/table1/imagenet/resnet/bssn": Target("imagenet", LIN_BSSN, "13.23±.16 / 69.04±1.46", "bssn", remarks=SCALED),
    "bssn/scales/imagenet/resnet/ssn": Target(
        "imagenet", LIN_SSN, protocol="bssn", methods=_scales("ssn", *FOUR), figures=("65", "66")),
    "bssn/scales/imagenet/resnet/bssn": Target(
        "imagenet", LIN_BSSN, protocol="bssn", methods=_scales("bssn", *FOUR), figures=("65", "66")),

    "bssn/table6/cifar10/cnn/sn": Target(
        "cifar10", LIN_SN, "7.22±.09 / 31.43±.90", "bssn", settings=FIVE, remarks=BEST_OF_5, figures=("24", "26")),
    "bssn/table6/cifar10/cnn/bsn": Target(
        "cifar10", LIN_BSN, "7.58±.04 / 26.62±.21", "bssn", settings=FIVE, remarks=BEST_OF_5, figures=("24", "26")),
    "bssn/table6/cifar10/cnn/sn-gamma-shared": Target(
        "cifar10", LIN_SN_SHARED, "6.46±.06 / 42.35±.74", "bssn", settings=FIVE, remarks=CODE, figures=("24", "26")),
    "bssn/table6/cifar10/cnn/bsn-gamma-shared": Target(
        "cifar10", LIN_BSN_SHARED, "6.69±.05 / 39.62±.40", "bssn", settings=FIVE, remarks=CODE, figures=("24", "26")),
    "bssn/table6/cifar10/cnn/sn-gamma": Target(
        "cifar10", LIN_SN_GAMMA, "6.53±.01 / 41.88±.50", "bssn", settings=FIVE, remarks=CODE, figures=("24", "26")),
    "bssn/table6/cifar10/cnn/bsn-gamma": Target(
        "cifar10", LIN_BSN_GAMMA, "6.72±.05 / 38.15±.72", "bssn", settings=FIVE, remarks=CODE, figures=("24", "26")),
    "bssn/table6/stl10/cnn/sn": Target(
        "stl10", LIN_SN, "9.16±.03 / 42.89±.54", "bssn", settings=FIVE, by_setting=SHORT,
        remarks=BEST_OF_5, figures=("25", "40")),
    "bssn/table6/stl10/cnn/bsn": Target(
        "stl10", LIN_BSN, "9.25±.01 / 42.98±.54", "bssn", settings=FIVE, by_setting=SHORT,
        remarks=BEST_OF_5, figures=("25", "40")),
    "bssn/table6/stl10/cnn/sn-gamma-shared": Target(
        "stl10", LIN_SN_SHARED, "8.86±.03 / 54.61±.51", "bssn", settings=FIVE, remarks=CODE + STL_CODE,
        figures=("25", "40")),
    "bssn/table6/stl10/cnn/bsn-gamma-shared": Target(
        "stl10", LIN_BSN_SHARED, "8.76±.03 / 55.04±.48", "bssn", settings=FIVE, remarks=CODE + STL_CODE,
        figures=("25", "40")),
    "bssn/table6/stl10/cnn/sn-gamma": Target(
        "stl10", LIN_SN_GAMMA, "8.79±.03 / 56.76±.44", "bssn", settings=FIVE, remarks=CODE + STL_CODE,
        figures=("25", "40")),
    "bssn/table6/stl10/cnn/bsn-gamma": Target(
        "stl10", LIN_BSN_GAMMA, "8.80±.03 / 53.99±.33", "bssn", settings=FIVE, remarks=CODE + STL_CODE,
        figures=("25", "40")),
    "bssn/table6/celeba/cnn/sn": Target(
        "celeba", LIN_SN, "- / 9.09±.32", "bssn", settings=FIVE, remarks=BEST_OF_5, figures=("55",)),
    "bssn/table6/celeba/cnn/bsn": Target(
        "celeba", LIN_BSN, "- / 8.54±.20", "bssn", settings=FIVE, remarks=BEST_OF_5, figures=("55",)),
    "bssn/table6/celeba/cnn/sn-gamma-shared": Target(
        "celeba", LIN_SN_SHARED, "- / 7.74±.11", "bssn", settings=FIVE, remarks=CODE, figures=("55",)),
    "bssn/table6/celeba/cnn/bsn-gamma-shared": Target(
        "celeba", LIN_BSN_SHARED, "- / 7.83±.09", "bssn", settings=FIVE, remarks=CODE, figures=("55",)),
    "bssn/table6/celeba/cnn/sn-gamma": Target(
        "celeba", LIN_SN_GAMMA, "- / 7.54±.08", "bssn", settings=FIVE, remarks=CODE, figures=("55",)),
    "bssn/table6/celeba/cnn/bsn-gamma": Target(
        "celeba", LIN_BSN_GAMMA, "- / 7.67±.04", "bssn", settings=FIVE, remarks=CODE, figures=("55",)),

    "bssn/figure9/cifar10": Target(
        "cifar10", LIN, protocol="bssn", methods=_norms("sn", "bsn"), settings=FIVE,
        figures=("9", "27", "28", "29", "30", "31", "32", "33", "34", "35")),
    "bssn/figure41/stl10": Target(
        "stl10", LIN, protocol="bssn", methods=_norms("sn", "bsn"), settings=FIVE, by_setting=SHORT,
        figures=("41", "42", "43", "44", "45", "46", "47", "48", "49", "50")),
    "bssn/figure56/celeba": Target(
        "celeba", LIN, protocol="bssn", methods=_norms("sn", "bsn"), settings=FIVE,
        figures=("56", "57", "58", "59", "60")),
    "bssn/figure2/mnist": Target(
        "mnist", LIN, protocol="", methods={"wgan-gp": MNIST_GP, "sn-conv": {"norm": "sn-conv"}}, figures=("2", "12"),
        remarks=UNITS + ITS_IMAGES),
    "bssn/figure3/mnist": Target("mnist", LIN | SPREAD, protocol="", remarks=RANDOM + ITS_IMAGES, figures=("3",)),
    "bssn/figure4/cifar10": Target(
        "cifar10", SECOND, protocol="bssn", figures=("4", "5", "21"), methods=_norms("sn", "sn-conv") | {
            "sn-conv-1.75": {"norm": "sn-conv", "scale": 1.75}}),  # section 4
    "bssn/figure6/cifar10": Target(
        "cifar10", SECOND, protocol="bssn", figures=("6", "22"),
        remarks=("the scales are read off no text but 1.75 and 1; here 0.5 and 3 besides",), methods={
            "ssn-0.5": {"norm": "ssn", "scale": 0.5}, "ssn-1": {"norm": "ssn", "scale": 1.0},
            "ssn-1.75": {"norm": "ssn", "scale": 1.75}, "ssn-3": {"norm": "ssn", "scale": 3.0},
            "sn-conv-0.5": {"norm": "sn-conv", "scale": 0.5}, "sn-conv-1": {"norm": "sn-conv", "scale": 1.0},
            "sn-conv-1.75": {"norm": "sn-conv", "scale": 1.75}, "sn-conv-3": {"norm": "sn-conv", "scale": 3.0}}),
    "bssn/figure7/cifar10": Target("cifar10", SECOND | {"norm": "sn"}, protocol="bssn", figures=("7", "20")),
    "bssn/figure8/cifar10": Target(
        "cifar10", SECOND, protocol="bssn", figures=("8", "23"),
        remarks=("the scales are read off no text for LeCun's weights, but 0.2 and 1.2, about which they are good",),
        methods={name: {"norm": "ssn", **own} for name, own in _scales("ssn", *TO_10).items()} | {
            "lecun-0.1": {"norm": "none", "init_dis": "lecun-0.1"},
            "lecun-0.2": {"norm": "none", "init_dis": "lecun-0.2"},
            "lecun-0.4": {"norm": "none", "init_dis": "lecun-0.4"},
            "lecun-0.8": {"norm": "none", "init_dis": "lecun-0.8"},
            "lecun-1.2": {"norm": "none", "init_dis": "lecun-1.2"},
            "lecun-1.6": {"norm": "none", "init_dis": "lecun-1.6"},
            "lecun-2": {"norm": "none", "init_dis": "lecun-2"}}),
    "bssn/figure10/cifar10": Target(
        "cifar10", LIN | WGAN_GP | {"n_dis": 1}, protocol="bssn", figures=("10", "11"), methods={
            "stable": {"lr": 1e-4, "lr_dis": 2e-4}, "exploding": {"lr": 1e-3, "lr_dis": 1e-3},
            "vanishing": {"lr": 1e-3, "lr_dis": 1e-3, "gp": 50.0, "slope": 0.0}}),
    "bssn/figure13/cifar10": Target(
        "cifar10", SECOND, protocol="", methods={"wgan-gp": WGAN_GP, "sn-conv": {"norm": "sn-conv"}}, figures=("13",),
        remarks=("the loss with SN is not said: hinge here",)),
    "bssn/figure14/cifar10": Target(
        "cifar10", SECOND | SPREAD | {"scale": 1.75}, protocol="", remarks=RANDOM, figures=("14",)),
    "bssn/figure15/stl10": Target(
        "stl10", SECOND | SPREAD | LONG | {"scale": 1.75}, protocol="", remarks=RANDOM, figures=("15",)),
    "bssn/figure16/cifar10": Target(
        "cifar10", SECOND, protocol="bssn", methods=_norms("none", "sn"), figures=("16", "17", "18", "19")),
}

# ---- the three reports ---------------------------------------------------------------------------------------------

# Gunnlaugsson, Hamesse and Vignisson: Radford et al.'s networks, all channels, Adam at 0.002 (3.2); SN-DCGAN for 250
# epochs of CIFAR-10 (Figure 6), W-SN-DCGAN for 200 (Figure 10), in batches of 64: of 50,000 images, or 20,000 (3.3)
REPORT1: Options = {"model": "dcgan", "size": 64, "width": 2.0, "loss": "ns", "lr": 2e-3, "beta1": 0.5, "norm": "none",
                    "iterations": 195_312}
SN_DCGAN: Options = REPORT1 | {"norm": "sn"}
W_DCGAN: Options = REPORT1 | {"loss": "wasserstein"}
W_WC_DCGAN: Options = W_DCGAN | {"norm": "clip", "clip_which": "all"}
W_SN_DCGAN: Options = W_DCGAN | {"norm": "sn", "beta1": 0.0, "iterations": 156_250}
NO_SIZE = ("size and batches are not in the report; here 64 pixels, as in its Figure 2, and 64 images",)
EPOCHS = ("for how many epochs this one was trained is not said; here SN-DCGAN's 250",)
SAME_BETA = ("of the report's 8 experiments it shows 7; this one, section 4.6's of 'very poor performance', is "
             "taken for the eighth; its epochs are not said; here W-SN-DCGAN's 200",)
PLATEAU = ("a plateau, read in the text: 'around 5.8'",)
REPTILES = ("about 20,000 photographs of reptiles, 108 x 108: any folder of your own, with --data-root",
            "epochs and batches are not said; here as many epochs as of CIFAR-10, and 64 images")
CUT_SHORT = ("the report could not train it 'for a sufficient time' (Figure 12)",)

# Zhang: DCGAN for CIFAR-10, with BN or SN or neither in the discriminator; 70 epochs
REPORT2: Options = {"model": "dcgan-32", "loss": "ns", "lr": 1e-4, "lr_dis": 4e-4, "beta1": 0.5, "beta2": 0.999,
                    "iterations": 54_688}
NO_CHANNELS = ("channels, size and batches are not in the report; here dcgan-32, and 64 images",)
STAYS = ("it had no BN in the generator, either; here it stays",)

# "A deep dive into spectral normalized DCGAN": CIFAR-10 enlarged to 64 pixels, SN and BN in the discriminator
REPORT3: Options = {"model": "dcgan", "size": 64, "norm": "sn-bn", "features_gain": True, "loss": "ns", "beta1": 0.5,
                    "beta2": 0.999, "batch_size": 128, "iterations": 39_100}
ANEW = ("100 epochs; whether it began anew at each rate or went on is not clear: anew here",)

REPORTS: dict[str, Target] = {
    "report1/cifar10/dcgan": Target("cifar10", REPORT1, "5.8 / -", "report", remarks=NO_SIZE + EPOCHS + PLATEAU),
    "report1/cifar10/sn-dcgan": Target("cifar10", SN_DCGAN, protocol="report", remarks=NO_SIZE),
    "report1/cifar10/w-dcgan": Target("cifar10", W_DCGAN, protocol="report", remarks=NO_SIZE + EPOCHS),
    "report1/cifar10/w-wc-dcgan": Target("cifar10", W_WC_DCGAN, protocol="report", remarks=NO_SIZE + EPOCHS),
    "report1/cifar10/w-sn-dcgan": Target("cifar10", W_SN_DCGAN, protocol="report", remarks=NO_SIZE),
    "report1/cifar10/w-sn-dcgan-beta1-0.5": Target(
        "cifar10", W_SN_DCGAN | {"beta1": 0.5}, protocol="report", remarks=NO_SIZE + SAME_BETA),
    "report1/reptiles/sn-dcgan": Target(
        "folder", SN_DCGAN | {"size": 108, "iterations": 78_125}, protocol="report", remarks=REPTILES),
    "report1/reptiles/w-sn-dcgan": Target(
        "folder", W_SN_DCGAN | {"size": 108, "iterations": 62_500}, protocol="report", remarks=REPTILES + CUT_SHORT),

    "report2/cifar10/sn": Target(
        "cifar10", REPORT2 | {"norm": "sn", "features": "none"}, "- / 128.89", "", remarks=NO_CHANNELS),
    "report2/cifar10/bn": Target(
        "cifar10", REPORT2 | {"norm": "bn", "features_gain": True}, "- / 115.76", "", remarks=NO_CHANNELS),
    "report2/cifar10/no-bn": Target(
        "cifar10", REPORT2 | {"norm": "none", "features": "none"}, "- / 187.79", "", remarks=NO_CHANNELS + STAYS),

    "report3/table1/cifar10/lr-1e-4": Target(
        "cifar10", REPORT3 | {"lr": 1e-4}, "- / 41.01", "", remarks=(*ANEW, "accuracy of the discriminator: 0.5971")),
    "report3/table1/cifar10/lr-1e-5": Target(
        "cifar10", REPORT3 | {"lr": 1e-5}, "- / 117.22", "", remarks=(*ANEW, "accuracy of the discriminator: 0.7393")),
    "report3/table1/cifar10/lr-1e-6": Target(
        "cifar10", REPORT3 | {"lr": 1e-6}, "- / 335.27", "", remarks=(*ANEW, "accuracy of the discriminator: 0.5")),
}

TARGETS: dict[str, Target] = SN_GAN | BSSN | REPORTS
