"""bench/graph_memory.py: the pool's rule by hand, and what a training holds by counting its parameters."""

import json

import pytest

from bench import graph_memory
from minigan.networks.models import MODELS


@pytest.mark.parametrize("order", [(0, 1), (1, 0)])
def test_the_pool_cuts_the_smallest_piece_that_is_large_enough_and_joins_neighbours(order):
    pool = graph_memory.Pool()
    small, large = pool.take(4), pool.take(8)
    pool.give(small)
    pool.give(large)
    a, b, c = pool.take(5), pool.take(3), pool.take(2)  # of the larger one, all of it, and of the smaller one
    assert (pool.total, pool.used, pool.peak) == (12, 10, 12)
    for i in order:  # then they are one again
        pool.give((a, b)[i])
    whole = pool.take(8)
    assert pool.total == 12 and pool.peak == 12
    pool.give(whole)
    pool.give(c)
    pool.take(9)  # two allocations are never one
    assert pool.total == 21


@pytest.mark.parametrize("words", [["--model", "vgg"], ["--condition", "colour"], ["--precision", "fp8"]])
def test_what_it_does_not_know_is_one_line(words, capsys):
    with pytest.raises(SystemExit):
        graph_memory.main(words)
    assert f"invalid choice: '{words[1]}'" in capsys.readouterr().err.splitlines()[-1]


def test_graphs_are_recorded_and_what_a_training_holds_is_its_parameters_moments_and_images(capsys):
    graph_memory.main(["--model", "cnn", "--size", "32", "--batch", "16", "--json"])
    training, dis, gen, pool = (row["MiB"] for row in json.loads(capsys.readouterr().out))
    parameters, images = MODELS["cnn"].counts, 2 * 16 * 32 * 32 * 3
    assert training * 2**20 == pytest.approx(4 * 3 * sum(parameters) + images, rel=0.01)
    assert 0 < dis < gen <= pool < 2 * gen
