"""The streams of random numbers of a run: each use draws from one of its own, so that none shifts another.

A stream is decided by the experiment's seed and its number here; what must be the same on every machine and after every
interruption is drawn from one, on the host.
"""

from __future__ import annotations

import numpy as np

# use -> number. Three uses share one: the first is drawn once, before the run; the second draws the same latents for
# every score; the third has the iteration as well, so that it is another stream but at iteration 0. NumPy fills up with
# zeros: number 0 is also the stream of the seed alone, from which minigan sample and minigan score draw their latents.
STREAMS = {"networks": 0, "order": 1, "noise": 2, "z": 3, "share": 4, "thumbnails": 5, "labels": 6,
           "scale spread": 7, "learning curve": 7, "diagnosis": 7}


def stream(seed: int, use: str, *more: int) -> np.random.Generator:
    """The random numbers of this use; more: further numbers that decide them."""
    return np.random.default_rng([seed, STREAMS[use], *more])
