"""Two trainings in two threads of one process: each gives the bytes that it gives alone."""

import sys
import threading

import pytest
from tiny import tiny

from minigan.engine import thread_pool
from minigan.training.gan import Training

CHOSEN = {"sn": {"norm": "sn"}, "gp": {"norm": "none", "gp": 1.0, "seed": 3}}  # gp: a graph of the gradient, as well


@pytest.fixture
def often():
    """Python changes from thread to thread as often as it can."""
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


def trained(chosen, images) -> dict[str, bytes]:
    """Weights, running moments and losses of some iterations."""
    training = Training(tiny(**chosen), images)
    losses = [loss.data.tobytes() for _ in range(6) for loss in training.iterate()]
    arrays = {f"{name} {place}": a.tobytes() for name, network in (("gen", training.gen), ("dis", training.dis))
              for place, a in network.arrays().items()}
    return arrays | {"losses": b"".join(losses)}


@pytest.mark.parametrize("workers", [1, 3])
@pytest.mark.parametrize("first, second", [("sn", "sn"), ("sn", "gp")])
def test_two_trainings_side_by_side_give_the_bytes_of_one_after_the_other(first, second, workers, images, often):
    thread_pool.set_threads(workers)
    both = [CHOSEN[first], CHOSEN[second] | {"seed": 5}]
    alone = [trained(chosen, images) for chosen in both]
    found: list[dict[str, bytes]] = [{}, {}]
    together = threading.Barrier(2, timeout=20)

    def run(i):
        together.wait()
        found[i] = trained(both[i], images)
    threads = [threading.Thread(target=run, args=(i,)) for i in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(60)
    for beside, expected in zip(found, alone, strict=True):
        assert [name for name in expected if beside.get(name) != expected[name]] == []
    assert alone[0]["losses"] != alone[1]["losses"]
