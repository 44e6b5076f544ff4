"""How to read each number that minigan shows: one sentence, for the report, the terminal and the pages of docs/."""

from __future__ import annotations

from collections.abc import Iterable

# As the logs name them.
OF_LOGS = {
    "loss_dis": "D's loss: with hinge, 2 says that D cannot tell real from fake, and 0 that it always can.",
    "loss_gen": "G's loss: it works against D, and need not fall while images get better.",
    "sigma_deviation": "The largest |sigma - 1| of a layer: near 0 where spectral normalization holds; other norms do "
                       "not aim at it.",
    "sigma": "The spectral norm of each layer's weights in use, measured exactly: 1 with sn.",
    "thumbnails": "Distance of fakes from real images by 8 x 8 thumbnails: lower is better. It sees colours and coarse "
                  "shapes only.",
    "diversity": "How far fakes differ from each other: about 1 is as real images do, near 0 all are alike.",
}
OF_DIAGNOSES = {
    "slope": "How steep D is at images, and how steep it can be: below 1e-5 G learns nothing, above 1,000 gradients "
             "explode.",
    "inactive": "The share of images beyond the hinge, from which D learns nothing: near 1, D has won.",
    "accuracy": "How often D is right, on one batch as training has it (minigan score takes more): 0.5 if it cannot "
                "tell, 1 if it always can.",
    "gradient": "The size of each layer's gradient: alike among layers is good; near 0 a layer learns nothing more.",
    "sigma_conv": "The most that a layer can stretch its input, as the convolution that it is; together they bound "
                  "D's slope.",
    "variance": "How large the weights in use are: sn keeps them in bounds, so that gradients neither explode nor "
                "vanish.",
    "singular_values": "A flat curve uses many directions of its input, a steep one few.",
}
# The columns of a diagnosis's layers, by their heads in the report.
OF_LAYERS = {
    "sigma: power iteration / exact": "What the norm takes for the spectral norm of the weights, and what it is: the "
                                      "closer, the better the norm holds.",
    "norm of the convolution (bounds)": "That of the operation itself, and what the norms of its matrices say it lies "
                                        "between.",
    "|dL/dW| / |dL/dW_bar|": "The gradient at the weights that are learned, and at those in use: what lies between is "
                             "the norm's doing.",
    "share removed": "How much of the gradient the norm takes away: 0 without a norm.",
    "lambda of Eq. 12": "How strongly the largest singular value is held back (Miyato et al. 2018).",
    "variance (Theorem 2, 3)": "That of the weights in use, between the bounds of Lin et al. 2021.",
    "to the next layer: gradients / inverse norms": "How both change from layer to layer: alike where Eq. (2) of Lin "
                                                    "et al. 2021 holds.",
    "activations: negative / dead": "The share on the flat or leaky side, and of channels that are positive nowhere.",
}
OF_SCORES = {
    "FID": "Distance of fakes from real images by a network's features: lower is better, at equal numbers of images.",
    "IS": "How sure a classifier is of each fake, and how many classes they fill: higher is better; real images do not "
          "count.",
    "KID": "Distance of fakes from real images, on average the same for any number of images: lower is better, 0 at "
           "best.",
    "intra-FID": "FID within each class, the mean over classes: lower is better.",
    "precision": "The share of fakes that lie among real images: higher is better, 1 at best.",
    "recall": "The share of real images that lie among fakes: higher is better; low where kinds are missing.",
    "density": "How many real images lie around a fake: about 1 is as around real ones, near 0 fakes lie apart.",
    "coverage": "The share of real images with a fake close by: higher is better, 1 at best.",
    "MS-SSIM": "How alike two fakes are, 1 if equal: compare it with that of real images; higher is less diverse.",
    "intra-MS-SSIM": "How alike two fakes of one class are, 1 if equal: higher is less diverse.",
    "accuracy of D": "How often D is right: 0.5 if it cannot tell real from fake, 1 if it always can.",
    "gap of D": "D's output on training images less that on held-out ones: more than twice its \u00b1 says that D "
                "knows the former by heart.",
    "classes covered": "The share of the kinds of drawings that appear: 1 at best.",
    "class evenness": "Whether kinds of drawings are equally frequent: 1 at best.",
    "colours covered": "The share of the kinds' colours that appear: 1 at best.",
    "colour evenness": "Whether the kinds' colours are equally frequent: 1 at best.",
    "colour fits class": "The share of drawings that have their kind's own colour: 1 at best.",
}


def of_log(name: str) -> str:
    """The sentence of a log's number, whose nested keys may be joined by "/"; "" if it has none."""
    first, _, rest = name.partition("/")
    return of_score(rest) if first == "scores" else OF_LOGS.get(first, "")


def of_score(name: str) -> str:
    """That of a score, whose name may go on with its protocol ("FID sn-gan, 0123abcd"); "" if it has none."""
    return next((text for known, text in OF_SCORES.items() if name == known or name.startswith(f"{known} ")), "")


def lines(names: Iterable[str]) -> list[str]:
    """For each of these scores, once, its name and its sentence; those without one are left out."""
    found = {name: text for name in names if (text := of_score(name))}
    return [f"{name}: {text}" for name, text in found.items()]
