"""The processes of one training: process 0 leads, which keeps the run and talks to people; the others follow it.

All compute the same updates, each with its rows of every batch (parallel/mpi.py). Process 0 sends the others what it
has read, then after each iteration whether to stop, and in between what to compute for a score.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

from minigan.data import packed
from minigan.data.dataset import Dataset
from minigan.engine import devices, thread_pool
from minigan.errors import FailedWork
from minigan.networks.own import Own
from minigan.parallel import cards, mpi
from minigan.training import opening
from minigan.training.gan import Training
from minigan.training.interrupts import ignored_signals
from minigan.training.scoring.features_over_processes import Helper


def lead(training: Training, say: Callable[[str], None]) -> None:
    """Give the other processes of the training what they need to join it: all that process 0 has read."""
    if training.group.size > 1:
        training.group.from_first((training.e, training.state()))
        e, moments = training.e, training.normalizes_batches()
        say(training.group.together(e.batch_size, moments, e.sync_bn))
        _join_cards(training, say)


def send_home() -> None:
    """Tell the other processes that there is nothing to train."""
    if mpi.group().size > 1:
        mpi.group().from_first(None)


def all_stop(training: Training, stop: bool) -> None:
    """Tell the other processes, after an iteration, whether it was the last."""
    if training.group.size > 1:
        training.group.from_first(stop)


def follow(group: mpi.Group, own: Own, given: Dataset | None) -> None:
    """The part of every process but the first: it computes, and keeps and says nothing. FailedWork names it.

    own, given: networks and images of the caller's, as in process 0.
    """
    helper = Helper(group)
    thread_pool.set_threads(max(1, thread_pool.cores() // group.here))
    try:
        told = helper.next()
        if told is None:
            return
        e, state = told
        with ignored_signals():  # a signal goes to all of them, and process 0 says when to stop
            training, _ = opening.begun(dataclasses.replace(e, score_every=0), True, False, lambda line: None, own,
                                        given)
            training.load(state, "process 0")
            _join_cards(training, lambda line: None)
            with packed.reading_ahead(training.images, training.draws.ahead()):
                stop = False
                while not stop:
                    training.iterate()
                    stop = helper.next()
    except Exception as error:
        raise FailedWork(f"process {group.rank} of {group.size}: {error}") from error


def _join_cards(training: Training, say: Callable[[str], None]) -> None:
    """Where each process trains on a GPU: join these, and say how. All processes do this at once."""
    if training.e.device == "cuda":
        graph = "; with several processes an update is no CUDA graph" if training.e.graph else ""
        say(cards.join(training.group, training.xp, devices.nccl()) + graph)
