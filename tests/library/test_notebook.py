"""In a notebook: progress is a bar, a run and its images show themselves, Ctrl-C gives the run."""

import base64
import io
import os

import pytest
from PIL import Image
from tiny import ROOT

nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
pytest.importorskip("ipykernel")

CELLS = """
import numpy as np, minigan
images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
small = dict(width=0.05, batch_size=8, iterations=6)
run = minigan.train(images, **small)
###
run
###
run.sample(9)
###
minigan.train(images / 255, **small)
###
import os, signal
def stop(line):
    if line["iteration"] == 3:
        os.kill(os.getpid(), signal.SIGINT)
run = minigan.train(images, callback=stop, **small)
###
print(run.iteration, run.resume(quiet=True).iteration)
###
quiet = minigan.train(images, quiet=True, **small)
"""


@pytest.fixture(scope="module")
def outputs():
    """What each cell shows."""
    cells = [nbformat.v4.new_code_cell(source) for source in CELLS.split("###\n")]
    book = nbformat.v4.new_notebook(cells=cells)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PYTHONPATH", str(ROOT) + os.pathsep + os.environ.get("PYTHONPATH", ""))
        nbclient.NotebookClient(book, timeout=120, kernel_name="python3", allow_errors=True).execute()
    return [cell.outputs for cell in book.cells]


def text(outputs) -> str:
    return "".join(output.text for output in outputs if output.output_type == "stream")


def test_progress_is_one_bar_that_is_full_at_the_end(outputs):
    bars = [output.data for output in outputs[0] if output.output_type == "display_data"]
    assert len(bars) == 1 and '<progress max="1" value="1.0000"' in bars[0]["text/html"]
    assert bars[0]["text/plain"].startswith("6/6 ") and "dis " in bars[0]["text/plain"]
    assert {output.get("name", "stdout") for output in outputs[0]} == {"stdout"} and "done in" in text(outputs[0])


def test_a_run_and_images_show_themselves(outputs):
    assert outputs[1][0].data["text/html"].startswith('<div class="minigan-run">')
    assert outputs[1][0].data["text/plain"].startswith("<minigan.Run ")
    with Image.open(io.BytesIO(base64.b64decode(outputs[2][0].data["image/png"]))) as shown:
        assert shown.size == (3 * (4 * 16 + 2) + 2,) * 2


def test_wrong_use_is_one_sentence(outputs):
    assert outputs[3][0].ename == "WrongUse" and "range=(0, 1)" in outputs[3][0].evalue


def test_an_interrupt_saves_and_gives_the_run_which_goes_on(outputs):
    assert not any(output.output_type == "error" for output in outputs[4])
    assert "stopped at iteration 4 of 6, saved" in text(outputs[4]) and "resume() of the Run" in text(outputs[4])
    assert text(outputs[5]).split() == ["4", "6"]


def test_quiet_shows_nothing(outputs):
    assert outputs[6] == []
