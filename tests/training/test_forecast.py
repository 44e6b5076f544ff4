"""How long a training will take: the line is true of a clock that is known, and said once."""

import itertools

import numpy as np
import pytest
from tiny import tiny

from minigan.data import datasets
from minigan.data.dataset import Dataset
from minigan.formats import progress
from minigan.formats.progress import Forecast
from minigan.training import loop


def lines(iterations, seconds_each, first_s=0.0, start=0, fresh=True):
    """(iteration, line) of all that is said in a run whose first iteration takes first_s longer."""
    now = 100.0 + first_s
    told, found = Forecast(iterations, fresh, clock=lambda: now), []
    for i in range(start + 1, iterations + 1):
        now += seconds_each
        if line := told.after(i):
            found.append((i, line))
    return found


def test_the_time_is_that_of_the_iterations_to_come():
    """2 s each: 10 s have passed since the first after the 6th, and 994 are to come."""
    (iteration, line), = lines(1000, 2.0, first_s=60.0)  # what came before the first iteration's end does not count
    assert iteration == 6
    assert line == "at this pace the 994 iterations to come take 33 min 08 s; --iterations 500 would take half as long"


def test_slow_iterations_are_told_after_a_few():
    (iteration, line), = lines(50, 100.0)
    assert iteration == 1 + progress.ENOUGH and "the 46 iterations to come take 1 h 16 min" in line


def test_a_run_that_goes_on_is_told_its_time_and_no_other_choice():
    (_, line), = lines(1000, 2.0, start=500, fresh=False)
    assert line == "at this pace the 494 iterations to come take 16 min 28 s"


def test_a_short_run_hears_nothing():
    assert lines(100, 2.9) == [] and lines(3, 1000.0) == []  # 95 * 2.9 s are less than 5 min


@pytest.mark.parametrize("quiet", [False, True])
def test_a_training_says_it_unless_it_is_quiet(quiet, images, tmp_path, monkeypatch, capsys):
    ticks = itertools.count()
    monkeypatch.setattr(loop, "Forecast", lambda *given, **named: Forecast(
        *given, **named, clock=lambda: 300.0 * next(ticks)))
    said = []
    monkeypatch.setattr(loop.ProgressLine, "say", lambda self, line: said.append(line))
    data = Dataset(images, np.full(len(images), -1), (), "some images")
    monkeypatch.setattr(datasets, "of_experiment", lambda e, **more: data)
    loop.fit(tiny(iterations=6), tmp_path / "run", quiet=quiet)
    expected = [] if quiet else [
        "at this pace the 2 iterations to come take 10 min 00 s; --iterations 3 would take half as long"]
    assert [line for line in said if "pace" in line] == expected
