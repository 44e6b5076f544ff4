"""FID's last step, from 2048 means and covariances to the number: how fast is it, and is it right?

    pip install scipy
    OMP_NUM_THREADS=1 python bench/fid.py [--features 2048] [--rounds 3]

Three ways take turns in one process: ours (singular values of factors), scipy's sqrtm of the product and its real part
(TTUR, pytorch-fid, mimicry), the square roots of NumPy's eigvals of the product (torch-fidelity 0.4.0). Medians of the
CPU time, which with one thread is the time on an idle machine, and of its ratio to ours. Two cases, both of normal
distributions with standard deviations s in common directions, so that the distance is known: |m1 - m2|^2 + |s1 - s2|^2.
- regular: all directions have spread, as with more images than features;
- singular: 999 of the real and 499 of the fakes have, as with 1,000 and 500 images.
"""

import argparse
import os
import platform
import statistics
import time
import warnings

import numpy as np
import usage

from minigan.metrics import frechet


def gaussians(features, ranks, rng):
    """Two normal distributions in common directions, and their distance."""
    directions = np.linalg.qr(rng.standard_normal((features, features)))[0]
    m = rng.uniform(0, 1, (2, features))
    s = 0.5 * np.exp(rng.standard_normal((2, features)) - np.linspace(0, 4, features))  # Inception's fall off like this
    for i, rank in enumerate(ranks):
        s[i, rank:] = 0
    return ([frechet.Statistics(m[i], (directions * s[i] ** 2) @ directions.T) for i in (0, 1)],
            ((m[0] - m[1]) ** 2).sum() + ((s[0] - s[1]) ** 2).sum())


def by_root(real, fake):
    from scipy import linalg
    root = linalg.sqrtm(real.covariance @ fake.covariance)
    return rest(real, fake) - 2 * np.trace(root).real


def by_eigenvalues(real, fake):
    values = np.linalg.eigvals(real.covariance @ fake.covariance)
    return rest(real, fake) - 2 * np.sqrt(values.astype(complex)).real.sum()


def rest(real, fake):
    return ((real.mean - fake.mean) ** 2).sum() + np.trace(real.covariance) + np.trace(fake.covariance)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--features", type=usage.count, default=2048)
    parser.add_argument("--rounds", type=usage.count, default=3)
    asked = parser.parse_args()
    warnings.simplefilter("ignore")  # sqrtm's, of singular matrices
    ways = {"minigan": frechet.distance, "eigvals": by_eigenvalues}
    versions = f"NumPy {np.__version__}"
    try:
        import scipy
        ways["sqrtm"], versions = by_root, f"{versions}, scipy {scipy.__version__}"
    except ImportError:
        print("no scipy: sqrtm is left out (pip install scipy)")
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, {platform.platform()}, {versions}, "
          f"OMP_NUM_THREADS={os.environ.get('OMP_NUM_THREADS', 'not set')}")
    d = asked.features
    for case, ranks in (("regular", (d, d)), ("singular", (min(999, d // 2), min(499, d // 4)))):
        pair, exact = gaussians(d, ranks, np.random.default_rng(0))
        took, found = {way: [] for way in ways}, {}
        for turn in range(asked.rounds):
            for way in list(ways) if turn % 2 else reversed(ways):
                began = time.process_time()
                found[way] = ways[way](*pair)
                took[way].append(time.process_time() - began)
        print(f"\n{case}: {d} features, ranks {ranks[0]} and {ranks[1]}; exact {exact:.10g}")
        for way, times in took.items():
            ratio = statistics.median(a / b for a, b in zip(times, took["minigan"], strict=True))
            print(f"  {way:8} {statistics.median(times):7.2f} s CPU  {ratio:5.2f} of ours   {found[way]:.10g}   "
                  f"relative error {abs(found[way] - exact) / exact:.1e}")


if __name__ == "__main__":
    usage.run(main)
