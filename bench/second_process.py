"""What does the second process gain, which does a share of an update on a CPU (networks/elsewhere.py)?

    python bench/second_process.py [CASE ...] [--seconds 3] [--threads N] [--json]

Updates of one training go in turn each way, for a tenth of a second: the discriminator's without the second process
and with it; the generator's with its fakes judged whole, in halves here, and with one half there. --seconds of each,
after half a second to warm up; medians of the turns, and the median of their ratios to the first way. "size" is that of
a batch times the discriminator's weights, in Mi, by which a training decides (elsewhere.LEAST, MOST, passes.HALVES);
here none of these bounds holds. What an update is made of, in ms: the generator's forward, which nobody shares;
writing what the other one needs; waiting for its answers.

Cases are MODEL-WIDTH-BATCH at 32 x 32 pixels, hinge loss, SN, and presets with their own sizes; -gp: WGAN-GP's loss.
"""

import argparse
import json
import statistics
import time
from collections import Counter
from contextlib import contextmanager

import numpy as np
import usage

from minigan.engine import thread_pool
from minigan.engine.machine import machine as this_machine
from minigan.experiment import presets
from minigan.networks import elsewhere, passes
from minigan.parallel.second_process import SecondProcess
from minigan.training import gan

TURN, WARM_UP, RATE = 0.1, 0.5, 2e-4
GP = {"norm": "none", "loss": "wasserstein", "gp": 10.0}


def of(model, width, batch):
    return "cifar10", {"model": model, "width": width, "batch_size": batch, "gen_batch_size": batch}


CASES = {  # name -> (preset, what is changed of it)
    "cnn-0.1-8": of("cnn", 0.1, 8), "cnn-0.1-32": of("cnn", 0.1, 32), "shapes": ("shapes", {}),
    "shapes-gp": ("shapes", GP), "resnet-0.25-64": of("resnet", 0.25, 64), "fashion-mnist": ("fashion-mnist", {}),
    "cnn-0.25-32": of("cnn", 0.25, 32), "cnn-0.25-64": of("cnn", 0.25, 64), "cnn-0.5-16": of("cnn", 0.5, 16),
    "cnn-0.5-64": of("cnn", 0.5, 64), "cnn-1-64": of("cnn", 1.0, 64), "resnet-1-64": of("resnet", 1.0, 64),
}
NO_BOUND = 1 << 60
# way -> (whether the second process is asked, from which size on fakes are judged in halves)
WAYS = {"discriminator": {"alone": (False, NO_BOUND), "with it": (True, NO_BOUND)},
        "generator": {"whole": (False, NO_BOUND), "halves": (False, 0), "with it": (True, 0)}}


@contextmanager
def clocked(spent, watched):
    """Inside, the time in some functions is added to `spent`, name -> seconds; watched: name -> (owner, function)."""
    def stand_in(name, function):
        def called(*args, **more):
            began = time.perf_counter()
            try:
                return function(*args, **more)
            finally:
                spent[name] += time.perf_counter() - began
        return called
    before = {name: getattr(*where) for name, where in watched.items()}
    try:
        for name, (owner, function) in watched.items():
            setattr(owner, function, stand_in(name, before[name]))
        yield
    finally:
        for name, (owner, function) in watched.items():
            setattr(owner, function, before[name])


def turn(update, seconds):
    """Seconds of an update, by as many as fit."""
    began, count = time.perf_counter(), 0
    while not count or time.perf_counter() - began < seconds:
        update(RATE)
        count += 1
    return (time.perf_counter() - began) / count, count


def compare(case, seconds):
    """A dict for each network and way: its milliseconds, their ratio to the first way's, and what they are made of."""
    preset, changed = CASES[case]
    e = presets.experiment(preset, **changed)
    shape = (28, 28, 1) if preset == "fashion-mnist" else (32, 32, 3)
    training = gan.Training(e, np.random.default_rng(0).integers(0, 256, (2 * e.batch_size, *shape), np.uint8))
    if not training.elsewhere.is_there(training.dis, wait=True):
        raise usage.FailedWork("there is no second process here: it wants Linux and two threads")
    asks, rows = Counter(), []  # asks["now"]: whether the second process is asked

    @contextmanager
    def timed(*_):
        yield training.elsewhere if asks["now"] else None
    training.elsewhere.timed = timed
    watched = {"forward": (type(training.gen), "forward"), "writing": (elsewhere.Round, "begin"),
               "waiting": (SecondProcess, "answer")}
    for who, ways in WAYS.items():
        update, times = getattr(training, f"update_{who}"), {way: [] for way in ways}
        spent, count = {way: Counter() for way in ways}, Counter()
        warm, until = True, 0.0
        while warm or time.perf_counter() < until:
            for way, (asks["now"], passes.HALVES) in ways.items():
                with clocked(Counter() if warm else spent[way], watched):
                    took, number = turn(update, WARM_UP if warm else TURN)
                if not warm:
                    times[way].append(took)
                    count[way] += number
            if warm:
                warm, until = False, time.perf_counter() + seconds * len(ways)
        first = next(iter(times.values()))
        rows += [{"case": case, "size": e.batch_size * elsewhere.weights_of(training.dis) / 2**20, "update": who,
                  "way": way, "ms": 1000 * statistics.median(found),
                  "ratio": statistics.median(a / b for a, b in zip(first, found, strict=True)),
                  "parts_ms": {name: 1000 * spent[way][name] / count[way] for name in watched}}
                 for way, found in times.items()]
    if training.elsewhere.over:
        raise usage.FailedWork("; ".join(training.remarks()))
    training.close()
    return rows


def main(words=None):
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("case", nargs="*", type=usage.name("case", CASES), metavar="CASE", help=", ".join(CASES))
    parser.add_argument("--seconds", type=usage.above_0, default=3.0, help="of each way")
    parser.add_argument("--threads", type=usage.count)
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args(words)
    before = passes.HALVES
    threads, rows = thread_pool.set_threads(args.threads), []
    facts = f"{this_machine()['processor']}, {threads} threads, {', '.join(this_machine()['blas'])}"
    if not args.json:
        print(f"{facts}\n{'case':16}{'size':>7}  {'update':15}{'way':9}{'ms':>8}{'ratio':>7}  of which")
    try:
        for case in args.case or CASES:
            for row in compare(case, args.seconds):
                rows.append(row)
                if not args.json:
                    parts = ", ".join(f"{name} {ms:.1f}" for name, ms in row["parts_ms"].items() if ms)
                    print(f"{case:16}{row['size']:7.1f}  {row['update']:15}{row['way']:9}{row['ms']:8.1f}"
                          f"{row['ratio']:7.2f}  {parts}", flush=True)
    finally:
        passes.HALVES = before
    if args.json:
        print(json.dumps({"machine": facts, "results": rows}, indent=2))


if __name__ == "__main__":
    usage.run(main)
