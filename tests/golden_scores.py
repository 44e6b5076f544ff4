"""Makes tests/golden_scores.json: scores of made-up features, by other people's packages.

    python tests/golden_scores.py            --print: to the terminal

wants torch, torch-fidelity 0.4.0, pytorch-fid 0.3.0, pytorch-msssim 1.0.0, prdc 0.2, tqdm and scipy on the path. Two of
them import torchvision, which is not needed: an empty module stands in for it. Made with torch 2.13.0 (CPU), scipy
1.17.1, scikit-learn 1.9.1, in float64. The features are drawn anew, here and in the test.
"""

import importlib.util
import json
import sys
import types
from pathlib import Path
from unittest.mock import MagicMock

import numpy as np

FILE = Path(__file__).with_name("golden_scores.json")


def features(rng, count, d, shift=0.0):
    """Rectified and correlated, as Inception's: float64 (count, d)."""
    mix = np.random.RandomState(d).standard_normal((d, d)) / np.sqrt(d)
    return np.maximum(rng.standard_normal((count, d)) @ mix + 0.2 + shift, 0)


def cases():
    """Name -> (real, fake)."""
    rng = np.random.RandomState(7)
    found = {"full rank": (features(rng, 600, 32), features(rng, 700, 32, 0.1)),
             "few generated": (features(rng, 500, 96), features(rng, 40, 96, 0.1)),
             "few of both": (features(rng, 30, 96), features(rng, 40, 96, 0.1))}
    real, fake = (x.copy() for x in found["full rank"])
    real[:, [3, 17]] = fake[:, [3, 17]] = 0.25
    found["dead channels"] = real, fake
    found["identical"] = found["full rank"][0], found["full rank"][0]
    return found


def logits():
    rng = np.random.RandomState(8)
    return 3 * rng.standard_normal((523, 60)) + np.repeat(rng.standard_normal((1, 60)), 523, 0)


def pictures(shape=(3, 192, 176, 3)):
    """Two sets of images, uint8: noise on noise of 16 x 16 blocks, and a noisier and brighter version of them."""
    rng = np.random.RandomState(9)
    N, H, W, C = shape
    coarse = np.kron(rng.randint(0, 200, (N, -(-H // 16), -(-W // 16), C)), np.ones((1, 16, 16, 1)))[:, :H, :W]
    one = coarse + rng.randint(0, 30, shape)
    return one.astype(np.uint8), np.clip(one + rng.randint(-20, 45, shape), 0, 255).astype(np.uint8)


# ---- other people's scores ------------------------------------------------------------------------------------------

def torch_fidelity(name):
    """One of its modules, without the package's own imports."""
    if "torch_fidelity" not in sys.modules:
        bare = types.ModuleType("torch_fidelity")
        bare.GenerativeModelModuleWrapper = None  # the only name that its modules take from the package
        bare.__path__ = importlib.util.find_spec("torch_fidelity").submodule_search_locations
        sys.modules["torch_fidelity"] = bare
    return importlib.import_module(f"torch_fidelity.{name}")


def fid_by_torch_fidelity(real, fake):
    import torch
    metric = torch_fidelity("metric_fid")
    one, two = (metric.fid_features_to_statistics(torch.from_numpy(x)) for x in (fake, real))
    return metric.fid_statistics_to_metric(one, two, False)["frechet_inception_distance"]


def fid_by_pytorch_fid(real, fake):
    from pytorch_fid.fid_score import calculate_frechet_distance
    return float(calculate_frechet_distance(*(f(x) for x in (fake, real) for f in (
        lambda x: x.mean(0), lambda x: np.cov(x, rowvar=False)))))


def kid_by_torch_fidelity(real, fake, subsets, size):
    import torch
    found = torch_fidelity("metric_kid").kid_features_to_metric(
        torch.from_numpy(fake), torch.from_numpy(real), kid_subsets=subsets, kid_subset_size=size, verbose=False)
    return found["kernel_inception_distance_mean"], found["kernel_inception_distance_std"]


def is_by_torch_fidelity(x, splits, shuffle):
    import torch
    found = torch_fidelity("metric_isc").isc_features_to_metric(torch.from_numpy(x), splits, shuffle, 2020)
    return found["inception_score_mean"], found["inception_score_std"]


def precision_recall_by_torch_fidelity(real, fake):
    import torch
    return torch_fidelity("metric_prc").calculate_precision_recall_full(
        torch.from_numpy(fake), torch.from_numpy(real), 3)


def neighbours_by_prdc(real, fake, k):
    from prdc import compute_prdc
    found = compute_prdc(real, fake, k)
    return [float(found[name]) for name in ("precision", "recall", "density", "coverage")]


def ms_ssim_by_pytorch_msssim(one, two):
    import torch
    from pytorch_msssim import ms_ssim
    one, two = (torch.from_numpy(np.moveaxis(x, 3, 1).astype(np.float64)) for x in (one, two))
    return ms_ssim(one, two, data_range=255, size_average=False).tolist()


def main():
    for absent in ("", ".transforms", ".transforms.functional", ".datasets"):
        sys.modules["torchvision" + absent] = MagicMock()
    found = {"FID": {}, "KID": {}, "precision, recall": {}, "prdc": {}}
    for name, (real, fake) in cases().items():
        found["FID"][name] = [fid_by_torch_fidelity(real, fake), fid_by_pytorch_fid(real, fake)]
        found["KID"][name] = kid_by_torch_fidelity(real, fake, 20, 25)
        found["precision, recall"][name] = precision_recall_by_torch_fidelity(real, fake)
        found["prdc"][name] = [neighbours_by_prdc(real, fake, k) for k in (3, 5)]
    found["IS"] = {str(shuffle): is_by_torch_fidelity(logits(), 10, shuffle) for shuffle in (False, True)}
    found["MS-SSIM"] = ms_ssim_by_pytorch_msssim(*pictures())
    text = json.dumps(found, indent=1) + "\n"
    if sys.argv[1:] == ["--print"]:
        print(text)
    else:
        FILE.write_text(text)


if __name__ == "__main__":
    main()
