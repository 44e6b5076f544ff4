"""Features that all processes of a training compute, and scores while it trains: the bytes of one process."""

import json
import os
import re
import subprocess
import sys

import emulated_cupy
import emulator
import pytest
import tiny
from parallel.test_mpi import MPIEXEC
from scored import SMALL, few_drawings

from minigan.cli import main
from minigan.data import datasets
from minigan.training import opening, run_record
from minigan.training.scoring.learning_curve import open_curve

pytest.importorskip("mpi4py")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec: pip install mpich")
COLOURS = """
import numpy as np
from minigan.metrics import features
from minigan.parallel import mpi
from minigan.training.scoring.features_over_processes import Helped, Helper

class Colours:
    name, digest, resize, dimension, classifies, done = "colours", "", "", 3, False, 0

    def features(self, images):
        Colours.done += len(images)
        return images.mean((1, 2), dtype=np.float32)

group, extractor = mpi.group(), Colours()
images = np.random.default_rng(0).integers(0, 256, (1600, 4, 4, 3)).astype(np.uint8)
given = features.Images(len(images), "", lambda part: images[part])
if group.rank == 0:
    helped = Helped(extractor, group)
    for _ in range(2):
        with helped.together() as computing:
            found = features.extract(computing, given, quiet=True, keep=False)
        assert found.tobytes() == images.mean((1, 2), dtype=np.float32).tobytes()
    group.from_first("done")
else:
    assert Helper(group).next() == "done"
print(f"process {group.rank}: {Colours.done} images", flush=True)
"""
TRAIN = """
import sys
import emulated_cupy, emulator
from minigan.cli import main
from minigan.parallel import mpi
from minigan.training.scoring import features_over_processes
from scored import few_drawings
compute = features_over_processes.computed
def told(extractor, images):
    card = "" if extractor.xp.__name__ == "numpy" else f" on card {extractor.xp.cuda.Device().id}"
    print(f"[process {mpi.group().rank}: {len(images)} images{card}]", flush=True)
    return compute(extractor, images)
features_over_processes.computed = told
with few_drawings(sys.argv[1]), emulated_cupy.installed(cards=2), emulator.checking(False):
    sys.argv[1:] = sys.argv[2:]
    main.main()
"""


def said_by(count, program, *words):
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tiny.ROOT, tiny.ROOT / "tests")))}
    process = subprocess.Popen([MPIEXEC, "-n", str(count), sys.executable, "-c", program, *map(str, words)], text=True,
                               env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    said = tiny.ended(process, 300)
    assert process.returncode == 0, said
    return said


def test_blocks_go_to_the_processes_in_turn_and_features_are_those_of_one():
    said = said_by(3, COLOURS)  # twice, 7 blocks: of 250 images, the last one of 100
    assert sorted(re.findall(r"process (\d): (\d+) images", said)) == [("0", "1200"), ("1", "1000"), ("2", "1000")]


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_scores_of_a_training_are_those_that_one_process_measures(device, tmp_path):
    """Of the same weights, by the same protocol; emulated where each process has a card of its own."""
    cache, run = tmp_path / "cache", tmp_path / "run"
    with few_drawings(cache), emulated_cupy.installed(), emulator.checking(False):
        assert main.run(["classifier", "train", "shapes", "--size", "16", "--epochs", "1", "-q"]) == 0
        words = ["shapes", *SMALL, "--out", run, "--iterations", "2", "--score-every", "2", "--score", "classifier",
                 "--score-count", "290", "-q", "--device", device]
        said = said_by(2, TRAIN, cache, "train", *words)
        logged = [json.loads(line) for line in (run / "log.jsonl").read_text().splitlines()]
        training, _ = opening.opened(run_record.read(run), quiet=True)
        e = run_record.read(run).experiment
        curve = open_curve(e, datasets.of_experiment(e, say=print, progress=lambda *_: None), True)
        expected = curve.scores(training)
    assert logged[-1]["scores"] == expected and len(expected) >= 2
    # of the real images' blocks and of the fakes', process 1 has the second
    on = ("", "") if device == "cpu" else (" on card 0", " on card 1")
    assert sorted(re.findall(r"\[process (\d): (\d+) images([^]]*)\]", said)) == [
        *2 * [("0", "250", on[0])], *2 * [("1", "40", on[1])]]
