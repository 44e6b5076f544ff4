"""A run as an object, beside the commands that say the same."""

import json
import re
import shutil
from html.parser import HTMLParser
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from scored import few_drawings
from tiny import pictures, words

import minigan
from minigan.cli import main
from minigan.data import drawings
from minigan.engine.autograd import Tensor, grad
from minigan.errors import FailedWork, WrongUse
from minigan.exchange.export import FORMATS
from minigan.library.images import as_images
from minigan.metrics import classifier


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    place = tmp_path_factory.mktemp("trained")
    assert main.run([*words(pictures(place / "images"), place / "run", score_every=0), "-q"]) == 0
    return place / "run"


def test_a_loaded_run_samples_what_the_command_samples(trained, tmp_path):
    assert main.run(["sample", str(trained), "-n", "5", "--seed", "3", "--out", str(tmp_path / "few.npz")]) == 0
    few = minigan.load(str(trained)).sample(5, seed=3)
    np.testing.assert_array_equal(few, np.load(tmp_path / "few.npz")["images"])
    few.save(tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "few.npz").read_bytes()


def test_the_generator_draws_the_same_images_as_numbers(trained):
    run = minigan.load(trained)
    z = run.generator.latents(70, seed=3)  # more than a batch
    floats = run.generator(z)
    assert floats.dtype == np.float32 and floats.shape == (70, 16, 16, 3) and abs(floats).max() <= 1
    np.testing.assert_array_equal(np.rint((floats + 1) * 127.5).astype(np.uint8), run.sample(70, seed=3))
    np.testing.assert_allclose(run.generator(z[40:50].astype(np.float64)), floats[40:50], atol=1e-6)


def test_the_discriminator_says_the_same_of_bytes_and_of_numbers_and_has_gradients(trained, rng):
    run = minigan.load(trained)
    images = rng.integers(0, 256, (70, 16, 16, 3), dtype=np.uint8)
    said = run.discriminator(images)
    assert said.shape == (70,) and said.dtype == np.float32 and said.std() > 0
    np.testing.assert_allclose(run.discriminator(images.astype(np.float32) / 127.5 - 1), said, atol=1e-5)
    x = Tensor((images[:2] / 127.5 - 1).astype(np.float32), requires_grad=True)
    dis = run.discriminator
    slope = grad(dis.network(x, False).sum(), x).data
    eps = 1e-2 * slope / np.linalg.norm(slope)
    rise = (dis(x.data + eps).astype(float) - dis(x.data - eps)).sum()
    assert abs(rise / 2e-2 / np.linalg.norm(slope) - 1) < 0.05


@pytest.mark.parametrize(("call", "says"), [
    (lambda run: run.sample(0), "n: expected a whole number, at least 1, got 0"),
    (lambda run: run.sample(2.5), "n: expected a whole number, at least 1, got 2.5"),
    (lambda run: run.sample(2, seed=-1), "seed: expected a whole number, at least 0, got -1"),
    (lambda run: run.sample(2, labels=1), "trained without labels"),
    (lambda run: run.sample(2, best=True), "trained without score_every"),
    (lambda run: run.generator(np.zeros(8)), "z: shape (8,); expected (n, 8)"),
    (lambda run: run.generator([["a"] * 8]), "z: <U1 (1, 8); expected numbers"),
    (lambda run: run.generator(np.full((1, 8), np.nan)), "not finite"),
    (lambda run: run.discriminator(np.zeros((2, 3, 16, 16))), "shape (2, 3, 16, 16); expected (n, 16, 16, 3)"),
    (lambda run: run.discriminator(np.full((2, 16, 16, 3), 200.0)), "from 200 to 200; expected uint8, or floats in"),
    (lambda run: run.discriminator(run.sample(2), labels=[0, 1]), "trained without labels"),
    (lambda run: run.resume(iteration=3), "resume has no iteration; did you mean iterations"),
    (lambda run: run.resume(norm="none"), "was trained with norm sn, not none"),
    (lambda run: run.score(cuont=3), "score has no cuont; did you mean count"),
    (lambda run: run.score("fidd"), "unknown protocol 'fidd'; choose from"),
    (lambda run: run.report("page.txt"), "report: page.txt; expected an .html file"),
    (lambda run: run.curve("loss_diss"), "the log has no loss_diss; did you mean loss_dis"),
    (lambda run: run.curve("sigma", "conv9"), "the log below sigma has no conv9; did you mean conv"),
    (lambda run: run.curve("sigma"), "curve: sigma holds no number; it has conv"),
    (lambda run: run.curve(), "curve: nothing named"),
    (lambda run: run.sample(4).save("x.gif"), "save: x.gif; expected a .png"),
    (lambda run: (run.sample(4) / 2).grid(), "grid: float64"),
    (lambda run: minigan.load(run.folder / "samples"), "is not a run: it has no experiment.json"),
    (lambda run: minigan.load("nowhere"), "nowhere is not a run"),
    (lambda run: minigan.load(None), "expected a path, a str or a Path, got None"),
    (lambda run: run.report(b"page.html"), "expected a path, a str or a Path, got b'page.html'"),
    (lambda run: run.discriminator([[1, 2], [3]]), "images: rows of different lengths; expected numbers"),
    (lambda run: run.keep(run.folder), "holds a run; choose another path"),
    (lambda run: run.keep(run.folder / "inner"), "which cannot be moved into itself; choose another path"),
    (lambda run: run.keep(run.folder / "log.jsonl"), "log.jsonl is a file; choose another path"),
    (lambda run: run.resume(quiet="no"), "quiet: expected True or False, got 'no'"),
    (lambda run: run.resume(epochs=3), "epochs: here it is iterations; a run is counted in updates"),
    (lambda run: run.resume(amp=True), "amp: here it is precision; float32, tf32 or bf16"),
    (lambda run: run.resume(multi_gpu=True), "multi_gpu: there is none here, mpiexec -n 4 starts a training on 4"),
    (lambda run: run.resume(iterations=0), "iterations: expected 1 to 1,000,000,000, got 0"),
    (lambda run: run.score(weights=3), "weights: expected a file, or a function of images, got 3"),
    (lambda run: minigan.train(run), "got a Run; run.resume(iterations=...) goes on"),
    (lambda run: minigan.train(None), "images_or_path: got None; expected an array of images, the name of a data set"),
    (lambda run: minigan.train(np.zeros((4, 16, 16)), range="01"), "range: expected the numbers of black and white"),
    (lambda run: minigan.train("shapes", overwrite="yes"), "overwrite: expected True or False, got 'yes'"),
])
def test_wrong_use_is_one_sentence(trained, call, says):
    with pytest.raises(WrongUse) as caught:
        call(minigan.load(trained))
    line = str(caught.value)
    assert says in line and "\n" not in line and " --" not in line


def test_the_log_and_its_curves(trained):
    run = minigan.load(trained)
    lines = [json.loads(line) for line in (trained / "log.jsonl").read_text().splitlines()]
    assert run.log == lines
    iterations, losses = run.curve("loss_dis")
    assert iterations.tolist() == [2, 4, 6, 8, 10] and losses.tolist() == [line["loss_dis"] for line in lines]
    some = next(iter(lines[0]["sigma"]))
    assert run.curve("sigma", some)[1].tolist() == [line["sigma"][some] for line in lines]
    assert len(run.curve("thumbnails")[0]) < len(lines)


def test_a_run_that_goes_on_is_read_anew(trained, tmp_path):
    run = minigan.train(trained.parent / "images", size=16, width=0.05, dim_z=8, batch_size=4, iterations=3, quiet=True)
    before = run.sample(4)
    assert run.resume(iterations=6, quiet=True) is run and run.iteration == 6
    assert (run.sample(4) != before).any() and len(run.log) == 6


def test_scores_are_those_of_the_command_and_of_the_images_that_it_was_trained_on(tmp_path, capsys):
    images, labels = drawings.draw(120, 16, 3, "train")
    options = {"width": 0.05, "dim_z": 8, "batch_size": 4, "iterations": 2, "quiet": True}
    run = minigan.train(images, labels=labels, out=tmp_path / "run", **options)
    weights = str(tmp_path / "classifier.h5")
    with few_drawings(tmp_path):
        classifier.save(Path(weights), classifier.train("shapes", size=16, epochs=1, batch_size=50))
    found = run.score("classifier", count=60, weights=weights, seed=1)
    said = capsys.readouterr()
    assert said.out == "" and "real images: 120 of 16 x 16 pixels (packed train)" in said.err
    ours = (run.folder / "scores.json").read_bytes()
    (run.folder / "scores.json").unlink()
    assert main.run(["score", str(run.folder), "--protocol", "classifier", "--count", "60", "--weights", weights,
                     "--seed", "1", "-q"]) == 0
    assert (run.folder / "scores.json").read_bytes() == ours
    assert found == {one["name"]: one["value"] for one in run.scores} and {"FID", "IS"} <= found.keys()
    assert {one["iteration"] for one in run.scores} == {2} and (run.folder / "nearest.png").is_file()
    assert "FID" in run._repr_html_()


def test_a_report_is_the_commands_page(trained, tmp_path):
    assert main.run(["report", str(trained), "--out", str(tmp_path / "page.html")]) == 0
    run = minigan.load(trained)
    where = run.report(str(tmp_path / "again.html"))
    assert where.read_bytes() == (tmp_path / "page.html").read_bytes()
    assert run.report() == trained / "report.html"


@pytest.mark.parametrize("to", ["safetensors", "torch"])
def test_an_export_is_the_commands_files(trained, tmp_path, to):
    files = minigan.load(trained).export(to, out=str(tmp_path / "mine"))
    assert main.run(["export", str(trained), "--to", to, "--out", str(tmp_path / "the command's")]) == 0
    assert {path.parent for path in files} == {tmp_path / "mine"} and len(files) == 2 * len(FORMATS[to])
    for path in files:
        assert path.read_bytes() == (tmp_path / "the command's" / path.name).read_bytes()


def test_an_export_says_in_pythons_words_what_is_wrong_and_writes_nothing(trained, tmp_path):
    run = minigan.load(trained)
    first, = run.export(network="generator", out=tmp_path / "there")
    assert run.export(network="generator", out=tmp_path / "there", overwrite=True) == [first]
    for call, says in ((lambda: run.export("pickle"), "unknown format 'pickle'; choose from: onnx, safetensors, torch"),
                       (lambda: run.export(network="gen"), "unknown network 'gen'"),
                       (lambda: run.export(out=tmp_path / "there"), "add overwrite=True, or choose another folder")):
        with pytest.raises(WrongUse, match=re.escape(says)) as caught:
            call()
        assert "\n" not in str(caught.value) and "--" not in str(caught.value)
    assert [path.name for path in (tmp_path / "there").iterdir()] == ["generator.safetensors"]


def test_what_was_exported_is_no_run_and_is_told_so(trained, tmp_path):
    files = minigan.load(trained).export("torch", out=tmp_path / "export")
    for path in (tmp_path / "export", *files):
        with pytest.raises(WrongUse, match=r"holds exported networks.*; load the run that they came from$"):
            minigan.load(path)
    with pytest.raises(WrongUse, match="is not a run"):
        minigan.load(tmp_path)


def test_images_are_an_array_and_show_themselves(trained, tmp_path):
    few = minigan.load(trained).sample(10)
    assert isinstance(few, np.ndarray) and few.dtype == np.uint8 and few[2:4].shape == (2, 16, 16, 3)
    with Image.open(BytesIO(few._repr_png_())) as shown:
        shown = np.asarray(shown)
    np.testing.assert_array_equal(shown, few.grid(4, scale=4))
    with Image.open(BytesIO(few[0]._repr_png_())) as one:
        np.testing.assert_array_equal(np.asarray(one)[::4, ::4], few[0])
    assert few.astype(float)._repr_png_() is None and few[:, 0]._repr_png_() is not None
    assert few[..., 0]._repr_png_() is None and few[:0]._repr_png_() is None
    many = as_images(np.zeros((5000, 32, 32, 1), np.uint8))
    with Image.open(BytesIO(many._repr_png_())) as shown:
        assert shown.size == (662, 662)  # the first 100, twice as large
    few.save(tmp_path / "grid.png")
    few.save(tmp_path / "singles")
    assert len(list((tmp_path / "singles").iterdir())) == 10
    with Image.open(tmp_path / "grid.png") as grid:
        np.testing.assert_array_equal(np.asarray(grid), few.grid())


class Tags(HTMLParser):
    """Counts the tags, and sees that each one that is opened is closed."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append(tag)
        if tag not in ("img", "line", "polyline", "circle"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_a_run_shows_itself_with_what_it_is_and_nothing_that_runs(trained, tmp_path):
    run = minigan.load(trained)
    assert repr(run) == f"<minigan.Run {trained}: folder, cnn, sn; 10 of 10 iterations, finished>"
    page, tags = run._repr_html_(), Tags()
    tags.feed(page)
    assert tags.open == [] and tags.seen.count("img") == 1 and "polyline" in tags.seen and "script" not in tags.seen
    assert "10 of 10 iterations" in page and "finished" in page and "generator" in page
    assert not re.search(r"(?:^|[},])\s*(?:body|p|img|svg|figure|table)\b[^{]*{", page.partition("</style>")[0])


def test_a_run_whose_files_are_somebody_elses_shows_their_words_as_text(trained, tmp_path):
    evil = tmp_path / "<script>alert(1)<"
    evil.mkdir()
    record = json.loads((trained / "experiment.json").read_text())
    (evil / "experiment.json").write_text(json.dumps(record))
    (evil / "failed.txt").write_text("<img src=x onerror=alert(1)>")
    line = {"iteration": 1, "seconds": 1, "loss_dis": 1, "alarms": [{"text": "<b>x</b>"}, 3, None]}
    (evil / "log.jsonl").write_text(json.dumps(line))
    page = minigan.load(evil)._repr_html_()
    assert "<script" not in page and "onerror=alert(1)>" not in page.replace("&gt;", "") and "<b>x" not in page
    with pytest.raises(WrongUse, match="no checkpoint"):
        minigan.load(evil).sample()
    (evil / "experiment.json").write_text("[]")
    with pytest.raises(FailedWork, match="experiment.json"):
        minigan.load(evil)


def test_a_run_of_an_earlier_version_is_read_and_goes_on_to_the_same_bytes(trained, tmp_path):
    """The version is kept with a run for who reads it; no number depends on it."""
    old = tmp_path / "old"
    shutil.copytree(trained, old)
    record = old / "experiment.json"
    text = record.read_text(encoding="utf-8")
    assert f'"minigan": "{minigan.__version__}"' in text
    record.write_text(text.replace(f'"minigan": "{minigan.__version__}"', '"minigan": "0.1.0"'), encoding="utf-8")
    runs = minigan.load(trained), minigan.load(old)
    np.testing.assert_array_equal(*(run.sample(4) for run in runs))
    more = runs[0].iteration + 2
    shutil.copytree(trained, tmp_path / "new")
    runs = [minigan.load(tmp_path / name).resume(iterations=more, quiet=True) for name in ("old", "new")]
    assert [run.iteration for run in runs] == [more, more]
    np.testing.assert_array_equal(*(run.sample(4) for run in runs))
