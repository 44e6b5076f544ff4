"""With what is measured: the protocol that was asked for or that fits, and its network with its weights."""

from __future__ import annotations

import contextlib
from collections.abc import Collection
from pathlib import Path

from minigan.data.datasets import DATASETS
from minigan.errors import FailedWork, WrongUse, choose
from minigan.metrics import classifier, inception_weights
from minigan.metrics.features import Extractor, InceptionFeatures, SharedOut
from minigan.metrics.inception_weights import Weights
from minigan.metrics.protocols import PROTOCOLS, Protocol, serving

# Protocols for single scores, and why these.
COMMON = (("torch-fidelity", "all images that there are"), ("neighbours", "10,000 images of each kind"))
COUNT = 5000  # images of protocol "classifier", if no number is given: seconds to minutes on two cores


def named_weights(path: Path | None, protocol: str | None, dataset: str | None) -> Weights | None:
    """Inception's weights in the file that was named; None if none was named, or if a classifier is asked for.

    FailedWork if the file holds others, WrongUse if it is a classifier's.
    """
    inception = inception_knows(dataset) if protocol is None else bool(PROTOCOLS[protocol].network)
    if path is None or not inception:
        return None
    try:
        return inception_weights.load(path)
    except FailedWork:
        with contextlib.suppress(FailedWork):
            classifier.load(path)
            raise WrongUse(f"{path} is a classifier's, which --protocol classifier takes; {protocol or 'sn-gan'} takes "
                           "Inception's weights") from None
        raise


def protocol_for(name: str | None, count: int | None, dataset: str | None, weights: Weights | None = None,
                 only: Collection[str] = ()) -> tuple[Protocol, list[str]]:
    """The protocol of that name; or the one that takes the weights, if they are none of the paper's Inception; or the
    one that fits the data: the classifier's where Inception has seen nothing like them, the paper's elsewhere. With a
    count the smaller one. And remarks on the choice.

    only: these scores alone; where Inception knows the data, then by the first of COMMON that has them.
    """
    remarks = []
    if name is None and weights is not None and weights.kind != inception_weights.ORIGINAL:
        name = serving(weights.kind)[0]
        remarks.append(f"protocol {name}, whose network the weights are: its scores are comparable with its own only")
    elif name is None:
        if not inception_knows(dataset):
            name, why = "classifier", f"Inception knows no {dataset}"
        elif only:
            name, why = next((name, why) for name, why in COMMON if set(only) <= set(PROTOCOLS[name].scores))
        else:
            name, why = "sn-gan", "the paper's"
        remarks.append(f"protocol {name} ({why}); --protocol chooses another")
    choose("protocol", name, PROTOCOLS)
    protocol = PROTOCOLS[name].only(only or PROTOCOLS[name].scores)
    if count is None and name == "classifier":
        count = COUNT
    return protocol if count is None else protocol.smaller(count), remarks


def open_extractor(protocol: Protocol, weights: Path | None, device: str, dataset: str | None, size: int | None,
                   read: Weights | None = None) -> tuple[Extractor, list[str]]:
    """The network of the protocol, with the weights that were named or found; and remarks on them.

    dataset, size: of the real images, if there are any, whose classifier is looked for.  read: what `named_weights`
    gave. WrongUse for weights that the protocol does not take.
    """
    if not protocol.network:
        return _classifier(protocol, weights, device, dataset, size), []
    read = read or inception_weights.load(weights or _found(protocol))
    if read.kind != protocol.weights:
        raise WrongUse(f"{weights or 'the weights'} are of {read.kind}; protocol {protocol.name} takes those of "
                       f"{protocol.weights}; choose one that takes these: --protocol {'|'.join(serving(read.kind))}")
    made = InceptionFeatures(read, protocol.network, protocol.resize or None, device)
    remarks = [] if read.known else [
        f"{weights or 'the weights'}: not the published file, so scores are comparable only to others with the "
        f"digest {read.digest[:12]}"]
    # a GPU computes a block while the host stores the one before it and reads the next
    return made if device == "cpu" else SharedOut(made, made.begin, 1), remarks


def scores_of(names: list[str], extractor: Extractor, protocol: Protocol) -> tuple[list[str], list[str]]:
    """Those of the scores that the network can serve; and a remark on what is left out. WrongUse if none is left."""
    if extractor.classifies or "IS" not in names:
        return names, []
    left = [name for name in names if name != "IS"]
    if not left:
        raise WrongUse(f"protocol {protocol.name} measures IS, which needs the last layer of {extractor.name}; these "
                       "weights are without it")
    return left, ["no IS: the weights are without the last layer"]


def inception_knows(dataset: str | None) -> bool:
    """Whether Inception has seen the like; yes if nothing is known of the data."""
    return dataset is None or dataset not in DATASETS or DATASETS[dataset].known_to_inception


def _found(protocol: Protocol) -> Path:
    """The file of the weights that the protocol takes, where none was named."""
    if protocol.weights == inception_weights.ORIGINAL:
        return inception_weights.find()
    path = inception_weights.kept(protocol.weights)
    if path is None:
        names = inception_weights.FILES[protocol.weights]
        raise WrongUse(f"protocol {protocol.name} takes weights of {protocol.weights}, such as {names[0]}, and they "
                       "are not in the cache folder; name the file: --weights FILE")
    return path


def _classifier(protocol: Protocol, weights: Path | None, device: str, dataset: str | None,
                size: int | None) -> Extractor:
    if weights is not None:
        try:
            return classifier.load(weights, device)
        except FailedWork as error:
            raise FailedWork(f"{error}; protocol {protocol.name} takes what minigan classifier train wrote, others "
                             "Inception's weights: --protocol sn-gan") from None
    if dataset is None or size is None:
        raise WrongUse(f"protocol {protocol.name}: which classifier? Name its file: --weights FILE; or compare with a "
                       "data set of which one was trained, such as fashion-mnist")
    return classifier.find(dataset, size, device)
