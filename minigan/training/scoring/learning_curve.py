"""Learning curves: scores of a run's images while it trains (--score-every), on streams of random numbers of their
own."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from minigan.data.dataset import Dataset, digest_of
from minigan.errors import WrongUse
from minigan.experiment.experiment import Experiment
from minigan.experiment.streams import stream
from minigan.metrics import features, protocols
from minigan.metrics.features import Images
from minigan.metrics.inception_weights import Weights
from minigan.metrics.measures import Origin, ScoreInputs, measure
from minigan.metrics.protocols import PROTOCOLS, Protocol
from minigan.parallel.mpi import ALONE, Group
from minigan.training import sampling
from minigan.training.gan import Training
from minigan.training.scoring.features_over_processes import Helped
from minigan.training.scoring.instrument import named_weights, open_extractor, protocol_for, scores_of

QUICK = ("IS", "FID", "KID")  # of a protocol's scores, those that are measured again and again; all if it has none


@dataclass(frozen=True)
class Curve:
    """What is measured every so often, with all that stays the same."""

    protocol: Protocol
    names: tuple[str, ...]
    extractor: Helped | None
    real: np.ndarray | None  # features
    data: str

    def scores(self, training: Training) -> dict[str, float]:
        """ "NAME PROTOCOL, WEIGHTS" -> score of the images that the run's generator, or its average, draws now.

        Latents are the same every time, drawn from a stream that no update uses (experiment/streams.py): what is
        learned does not change.
        """
        e, p = training.e, self.protocol
        n = p.fakes
        z = sampling.latents(stream(e.seed, "learning curve"), e, n)
        images = sampling.draw(training.gen if training.average is None else training.average, z, training.xp,
                               classes=training.classes, rounding=p.rounding)
        made = Images(n, "", lambda part: images[part])
        x = None if self.extractor is None else self.extractor.extractor
        if self.extractor is None or x is None:
            inputs = ScoreInputs(self.real, images=images)
        else:
            with self.extractor.together() as computing:
                found = features.extract(computing, made, quiet=True, keep=False)
            inputs = ScoreInputs(self.real, found, partial(x.logits, biased=p.biased))
        origin = Origin.of(x, seed=e.seed, data=self.data, pixels=p.rounding if p.pixels else "")
        scores = measure(p, inputs, origin, self.names)
        return {f"{one.name} {one.protocol}{f', {one.weights[:8]}' if one.weights else ''}": one.value
                for one in scores}


def open_curve(e: Experiment, data: Dataset, quiet: bool = False, group: Group = ALONE) -> Curve | None:
    """The curve that the experiment asks for, its real images' features at hand; None if it asks for none.

    group: this is process 0 of it, and the others compute features with it.

    WrongUse, at once and not after hours, if the protocol cannot be measured or its network's weights are missing.
    """
    if not e.score_every:
        return None
    protocol, weights, read = _asked(e)
    if protocol.per_class:
        raise WrongUse(f"--score {e.score} is not measured while a run trains; measure it afterwards: minigan score")
    names = tuple(name for name in protocol.scores if name in QUICK) or protocol.scores
    helped = real = None
    where = ""
    if set(protocol.scores) - protocols.OF_PIXELS:
        extractor, _ = open_extractor(protocol, weights, e.device, e.dataset, data.images.shape[1], read)
        names = tuple(scores_of(list(names), extractor, protocol)[0])
        helped = Helped(extractor, group, e.device)
        if set(names) != {"IS"}:
            rows = protocol.rows(len(data.images), data.labels)
            with helped.together() as computing:
                real = features.extract(computing, features.of_images(data.images, rows), quiet)
            where = f"{e.dataset} {digest_of(data.images)[:12]}"
    return Curve(protocol, names, helped, real, where)


def check_for_later(e: Experiment) -> str:
    """What to say of an experiment that names a protocol or weights, and asks for no scores on the way; else "".

    minigan score takes them from the run. WrongUse or FailedWork, now and not then, for weights that it would refuse.
    """
    if e.score_every or e.score is None and e.score_weights is None:
        return ""
    protocol, weights, read = _asked(e)
    if weights is not None:
        open_extractor(protocol, weights, "cpu", e.dataset, None, read)
    named = " and ".join(word for word, value in (("--score", e.score), ("--score-weights", weights)) if value)
    return f"{named}: for minigan score afterwards; to measure scores while it trains, add --score-every N"


def _asked(e: Experiment) -> tuple[Protocol, Path | None, Weights | None]:
    """The protocol, the file of weights that was named, and what is in it if Inception's are."""
    weights = None if e.score_weights is None else Path(e.score_weights)
    read = named_weights(weights, e.score, e.dataset) if e.score in (None, *PROTOCOLS) else None
    return protocol_for(e.score, e.score_count, e.dataset, read)[0], weights, read
