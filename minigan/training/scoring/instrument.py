"""With what is measured: the protocol that was asked for or that fits, and its network with its weights."""

from __future__ import annotations

from pathlib import Path

from minigan.data.datasets import DATASETS
from minigan.engine import devices
from minigan.errors import FailedWork, WrongUse, choose
from minigan.metrics import classifier, inception_weights
from minigan.metrics.features import Extractor, InceptionFeatures
from minigan.metrics.protocols import PROTOCOLS, Protocol

COUNT = 5000  # images of protocol "classifier", if no number is given: seconds to minutes on two cores


def protocol_for(name: str | None, count: int | None, dataset: str | None) -> tuple[Protocol, list[str]]:
    """The protocol of that name, or the one that fits the data: the classifier's where Inception has seen nothing like
    them, the paper's elsewhere; with a count the smaller one. And remarks on the choice."""
    remarks = []
    if name is None:
        facts = None if dataset is None else DATASETS.get(dataset)
        name = "sn-gan" if facts is None or facts.known_to_inception else "classifier"
        why = f"Inception knows no {dataset}" if name == "classifier" else "the paper's"
        remarks.append(f"protocol {name} ({why}); --protocol chooses another")
    choose("protocol", name, PROTOCOLS)
    protocol = PROTOCOLS[name]
    if count is None and name == "classifier":
        count = COUNT
    return protocol if count is None else protocol.smaller(count), remarks


def open_extractor(protocol: Protocol, weights: Path | None, device: str, dataset: str | None,
                   size: int | None) -> tuple[Extractor, list[str]]:
    """The network of the protocol, with the weights that were named or found; and remarks on them.

    dataset, size: of the real images, if there are any, whose classifier is looked for.
    """
    if not protocol.network:
        if weights is not None:
            try:
                return classifier.load(weights, device), []
            except FailedWork as error:
                raise FailedWork(f"{error}; protocol {protocol.name} takes what minigan classifier train wrote, others "
                                 "Inception's weights: --protocol sn-gan") from None
        if dataset is None or size is None:
            raise WrongUse(f"protocol {protocol.name}: which classifier? Name its file: --weights FILE, or a data set "
                           "of which one was trained: --data fashion-mnist")
        return classifier.find(dataset, size, device), []
    read = inception_weights.load(weights or inception_weights.find())
    same = read.kind == inception_weights.ORIGINAL  # whose weights the Chainer port has, too
    kind = protocol.network if same and protocol.network == "inception-chainer" else read.kind
    made = InceptionFeatures(read, kind, protocol.resize or None, devices.device_module(device))
    remarks = [] if read.known else [
        f"{weights or 'the weights'}: not the published file, so scores are comparable only to others with the "
        f"digest {read.digest[:12]}"]
    return made, remarks
