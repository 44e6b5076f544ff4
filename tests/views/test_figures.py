"""The numbers behind the figures, against numbers that the tests put into runs; and the images' promises."""

import dataclasses
import json
import shlex
import statistics
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from figure_runs import LAYERS, make
from tiny import tiny

from minigan.cli import main
from minigan.engine.autograd import Tensor
from minigan.errors import FailedWork, WrongUse
from minigan.experiment import experiment, presets
from minigan.experiment.methods import METHODS
from minigan.metrics import stored_scores
from minigan.metrics.protocols import NAMES
from minigan.metrics.stored_scores import Score
from minigan.networks.norms import NORMS
from minigan.studies import grid, reproduce
from minigan.training import checkpoints, run_folder, sampling
from minigan.training.gan import Training
from minigan.views.figures import catalogue, data, draw, layers, plots
from minigan.views.figures.plots import Ask

IS, FID = "IS (sn-gan)", "FID (sn-gan)"


@pytest.fixture
def trained(tmp_path, rng):
    """(run folder, Training) of a norm, at its beginning: no iteration."""
    def build(norm, **chosen):
        e = tiny(norm=norm, **chosen)
        training = Training(e, rng.integers(0, 256, (4, 16, 16, 3), np.uint8), np.arange(4) % 3)
        folder = tmp_path / norm
        folder.mkdir()
        run_folder.write_experiment(folder, e, {})
        run_folder.write_done(folder, True)
        checkpoints.save_in(folder, 0, training.state())
        return folder, training
    return build


def line(plot, name, panel=0):
    return next(series for series in plot.panels[panel].series if series.name == name)


# ---- runs and seeds ------------------------------------------------------------------------------------------------

def test_mean_and_spread_over_seeds_are_those_of_the_statistics_module(tmp_path):
    values = [3.0, 4.5, 7.25]
    for seed, value in enumerate(values):
        make(tmp_path / str(seed), seed=seed, norm="sn", setting="C", thumbnails=value)
    bars = plots.score_bars([tmp_path], Ask(), "fid").panels[0].series[0]
    assert bars.y == [pytest.approx(statistics.mean(values))]
    assert bars.spread == [pytest.approx(statistics.stdev(values))]
    course = plots.score_curves([tmp_path], Ask(), "fid", error=True).panels[0].series[0]
    assert course.y[-1] == pytest.approx(statistics.mean(values))
    assert course.spread[-1] == pytest.approx(statistics.stdev(values) / 3 ** 0.5)


def test_runs_that_differ_in_the_seed_alone_are_one_group_and_others_are_told_apart(tmp_path):
    for setting in "AC":
        for seed in (0, 1):
            make(tmp_path / f"sn-{setting}-{seed}", norm="sn", setting=setting, seed=seed)
    make(tmp_path / "gp", norm="none", loss="wasserstein", gp=10.0, setting="A")
    make(tmp_path / "scaled", norm="ssn", scale=1.75, setting="A")
    groups = data.group(data.find_runs([tmp_path])[0])
    assert {name: len(mine) for name, mine in groups.items()} == {
        "WGAN-GP, setting A": 1, "SN, setting A": 2, "SN, setting C": 2, "SSN, setting A": 1}


def test_an_unfinished_run_of_a_sweep_is_left_out_and_a_named_one_is_not(tmp_path):
    make(tmp_path / "sn", norm="sn")
    slow = make(tmp_path / "wn", norm="wn")
    log = (slow / "log.jsonl").read_text().splitlines(keepends=True)
    (slow / "log.jsonl").write_text("".join(log[:-1]))
    found, notes = data.find_runs([tmp_path])
    assert [run.method for run in found] == ["sn"] and notes == ["left out, not finished: wn"]
    assert [run.method for run in data.find_runs([slow])[0]] == ["wn"]
    (slow / "failed.txt").write_text("the loss is not finite")
    assert [run.method for run in data.find_runs([tmp_path])[0]] == ["wn", "sn"]


@pytest.mark.parametrize("paths, said", [(["nothing"], "neither a run nor a folder of runs"),
                                         (["a", "a"], "named twice")])
def test_folders_that_are_no_runs_are_refused(tmp_path, paths, said):
    make(tmp_path / "a")
    with pytest.raises(WrongUse, match=said):
        data.find_runs([tmp_path / path for path in paths])


def test_broken_lines_and_foreign_numbers_are_passed_over(tmp_path):
    run = make(tmp_path / "run", norm="ssn", scale=1.0)
    begun = '{"iteration": 200, "seconds": 1, '
    for name, text in (("log.jsonl", begun + '"loss_dis": "high", "scores": 7, "sigma": []}\n{'),
                       ("diagnostics.jsonl", begun + '"layers": {"conv1": 3}}\n{"iter')):
        with (run / name).open("a") as file:
            file.write(text)
    assert plots.losses([run], Ask()).panels[0].series[0].x[-1] == 100
    assert line(layers.layer_courses([run], Ask(), "gradient_bar", ""), "conv1").x[-1] == 100
    other = make(tmp_path / "other", norm="ssn", scale=2.0)
    products = line(layers.variance_products([run, other], Ask()), "SSN")
    assert products.x == [1.0, 2.0] and np.isfinite(products.y).tolist() == [False, True]


# ---- scores --------------------------------------------------------------------------------------------------------

def test_bars_show_the_last_score_of_each_setting_and_nothing_where_the_loss_was_not_finite(tmp_path):
    for setting, score in (("A", 6.0), ("F", 2.0)):
        make(tmp_path / f"sn-{setting}", norm="sn", setting=setting, scores={IS: score, FID: 30.0})
    make(tmp_path / "wn-A", norm="wn", setting="A", scores={IS: 5.0, FID: 20.0})
    (make(tmp_path / "wn-F", norm="wn", setting="F") / "failed.txt").write_text("not finite")
    plot = plots.score_bars([tmp_path], Ask(), "is")
    assert plot.y == "Inception score (sn-gan), higher is better" and "a loss was not finite: wn-F" in plot.notes
    assert line(plot, "SN").y == [6.0, 2.0] and line(plot, "SN").x == ["A", "F"]
    assert line(plot, "WN").y[0] == 5.0 and np.isnan(line(plot, "WN").y[1])
    assert plots.score_bars([tmp_path], Ask(), "fid").y == "FID (sn-gan), lower is better"


def test_one_figure_never_mixes_measures_or_protocols(tmp_path):
    for name, scores in (("a", {IS: 6.0, "IS (bssn)": 7.0}), ("b", {IS: 5.0}), ("c", None)):
        make(tmp_path / name, setting="C", seed=ord(name), scores=scores)
    with pytest.raises(WrongUse, match="one measure; choose it with --measure"):
        plots.score_bars([tmp_path / "a"], Ask(), "is")
    with pytest.raises(data.Missing, match=r"b has no measure 'IS \(bssn\)'"):
        plots.score_bars([tmp_path / "a", tmp_path / "b"], Ask("IS (bssn)"), "is")
    with pytest.raises(data.Missing, match=r"c has no measure 'IS \(sn-gan\)'; .*--measure chooses another"):
        plots.score_bars([tmp_path / "b", tmp_path / "c"], Ask(), "is")
    assert plots.score_bars([tmp_path], Ask("thumbnails"), "is").y.startswith("thumbnail distance (no score)")


def stored(run, value, name="FID", best=False, **how):
    """Put a score into a run's scores.json."""
    score = Score(name=name, value=value, spread=None, protocol="bssn", network="inception", weights="w", resize="tf",
                  pixels="float", n_real=5000, n_fake=10000, splits=0, seed=0, data="fashion-mnist train")
    stored_scores.append(run / "scores.json",
                         [stored_scores.Stored(dataclasses.replace(score, **how), 60 if best else 100, best)])


def test_scores_of_scores_json_have_their_protocols_and_the_best_is_not_the_last(tmp_path):
    run = make(tmp_path / "run", norm="sn", setting="A")
    stored(run, 25.0, best=True)
    stored(run, 30.0)
    plot = plots.score_bars([run], Ask(), "fid")
    assert plot.y == "FID (bssn), lower is better" and line(plot, "SN").y == [30.0]
    assert data.best_score(data.find_runs([run])[0][0], "FID (bssn)") == 25.0


@pytest.mark.parametrize("how", [{"n_fake": 500}, {"weights": "others"}, {"data": "fashion-mnist test"}])
def test_scores_that_do_not_compare_are_in_no_figure(tmp_path, how):
    for seed in (0, 1):
        stored(make(tmp_path / str(seed), seed=seed), 30.0, **(how if seed else {}))
    with pytest.raises(WrongUse, match=r"the 'FID \(bssn\)' of .*0 and .*1 do not compare: different"):
        plots.score_bars([tmp_path], Ask(), "fid")


def test_without_any_score_the_thumbnail_distance_is_drawn_and_called_so(tmp_path):
    plot = plots.score_curves([make(tmp_path / "run", thumbnails=2.0)], Ask(), "is")
    assert plot.y == "thumbnail distance (no score), lower is better" and plot.panels[0].series[0].y[-1] == 2.0


def test_the_best_score_is_the_highest_is_and_the_lowest_distance(tmp_path):
    found, _ = data.find_runs([make(tmp_path / "run", scores={IS: 8.0, "IS (falls)": -8.0, FID: -30.0})])
    assert data.best_score(found[0], IS) == 8.0  # half of it at first
    assert data.best_score(found[0], "IS (falls)") == pytest.approx(-8 * 0.55)
    assert data.best_score(found[0], FID) == -30.0


@pytest.mark.parametrize("name", NAMES)
def test_a_measure_is_called_by_its_name_and_what_is_better_is_what_its_paper_says(name, tmp_path):
    measure = f"{name} x, 0123abcd"  # as the log has it
    run = make(tmp_path / "run", scores={measure: 0.5})  # half of it at first
    more = name in ("IS", "precision", "recall", "density", "coverage")
    found, _ = data.find_runs([run])
    assert plots.score_curves([run], Ask(measure), "is").y == (
        f"{'Inception score' if name == 'IS' else name} (x, 0123abcd), {'higher' if more else 'lower'} is better")
    assert data.best_score(found[0], measure) == pytest.approx(0.5 if more else 0.275)


def test_a_score_over_an_option_has_its_values_and_runs_that_differ_otherwise_are_refused(tmp_path):
    for n in (1, 10, 5):
        make(tmp_path / f"sn-{n}", norm="sn", setting="D", n_dis=n, scores={IS: 7 - n / 10})
    plot = plots.score_against([tmp_path], Ask(), "is", "n_dis", "n_dis")
    assert line(plot, "SN").x == [1, 5, 10] and line(plot, "SN").y == [6.9, 6.5, 6.0]
    make(tmp_path / "other", norm="sn", setting="D", n_dis=2, lr=1e-5, scores={IS: 7.0})
    with pytest.raises(WrongUse, match="the runs of SN differ in lr, not in n_dis alone"):
        plots.score_against([tmp_path], Ask(), "is", "n_dis", "n_dis")


def test_the_factor_on_lecuns_weights_is_a_scale(tmp_path):
    for scale in (0.2, 1.2):
        make(tmp_path / f"lecun-{scale}", norm="none", init_dis=f"lecun-{scale}", scores={IS: scale})
        make(tmp_path / f"ssn-{scale}", norm="ssn", scale=scale, scores={IS: 2 * scale})
    plot = plots.score_against([tmp_path], Ask(), "is", "scale", "scale", best=True)
    lecun = line(plot, "no normalization, LeCun's weights")
    assert lecun.x == [0.2, 1.2] == lecun.y and line(plot, "SSN").y == [0.4, 2.4]


def test_a_factor_that_nobody_chose_is_1(tmp_path):
    for width in (None, 2.0):
        make(tmp_path / str(width), norm="sn", last_width=width, scores={IS: width or 1.5})
    plot = catalogue.FIGURES["sn-gan/4"].make([tmp_path], ask=Ask())
    assert line(plot, "SN").x == [1.0, 2.0] and line(plot, "SN").y == [1.5, 2.0]


# ---- layers --------------------------------------------------------------------------------------------------------

def rows_of_length_one(W):
    matrix = W.reshape(len(W), -1)
    return matrix / np.linalg.norm(matrix, axis=1, keepdims=True)


@pytest.mark.parametrize("norm, used", [("none", lambda W: W.reshape(len(W), -1)), ("wn", rows_of_length_one)])
@pytest.mark.parametrize("condition", ["none", "projection"])
def test_spectra_are_those_of_the_weights_in_use(trained, norm, used, condition):
    folder, training = trained(norm, condition=condition)
    found = data.spectra(data.find_runs([folder])[0][0])
    layers = {path: layer for path, layer in training.dis.walk() if "W" in layer.params}
    assert found.keys() == layers.keys() and len(layers) > 7
    for path, s in found.items():
        np.testing.assert_allclose(s, np.linalg.svd(used(layers[path].params["W"].data), compute_uv=False), rtol=1e-4,
                                   atol=1e-5)  # float32 weights


def test_singular_values_are_squared_and_the_largest_is_one(trained):
    folder, training = trained("none")
    plot = layers.singular_values([folder], Ask())
    s = np.linalg.svd(training.dis.layers["conv2"].params["W"].data.reshape(3, -1), compute_uv=False)
    conv2 = next(panel for panel in plot.panels if panel.title == "conv2").series[0]
    np.testing.assert_allclose(conv2.y, (s / s[0]) ** 2, rtol=1e-4)
    assert conv2.y[0] == 1 and "dense" not in [panel.title for panel in plot.panels]  # one singular value


def test_of_each_method_the_setting_with_the_best_last_score_is_taken(tmp_path):
    for method, setting, value in (("sn", "A", 3.0), ("sn", "C", 1.0), ("wn", "A", 2.0), ("wn", "C", 5.0)):
        make(tmp_path / f"{method}-{setting}", norm=method, setting=setting, thumbnails=value, scores={IS: value})
    found, _ = data.find_runs([tmp_path])
    best = {"thumbnails": ["WN, setting A", "SN, setting C"], IS: ["WN, setting C", "SN, setting A"]}
    for measure, names in best.items():
        assert list(layers.best_of_each_method(found, measure)) == names


def test_ratios_are_of_gradients_over_inverse_ones_of_norms(tmp_path):
    """At conv2: norms 2.1 * 1.05 and 2 * 1 of the convolutions, gradients 2 / 1.05 and 1 of the output."""
    plot = layers.ratio_points([make(tmp_path / "run")], Ask())
    points = line(plot, "conv2 / conv1")
    assert points.x[0] == pytest.approx(2 / (2.1 * 1.05)) and points.y[0] == pytest.approx(2 / 1.05)
    assert len(points.x) == 10 and plot.log == "xy"


def test_the_ratio_of_norms_has_its_bounds(tmp_path):
    plot = catalogue.FIGURES["bssn/20"].make([make(tmp_path / "run", norm="sn", size=0.7)], ask=Ask())
    assert [panel.title for panel in plot.panels] == ["conv1", "conv2"]  # convolutions only
    second = {series.name: series.y[0] for series in plot.panels[1].series}
    assert second == pytest.approx({"SN": 2.1, "upper bound": 3.5, "lower bound": 0.9})


def test_variances_stand_beside_the_bound_of_the_theorem(tmp_path):
    plot = catalogue.FIGURES["bssn/7"].make([make(tmp_path / "run", norm="sn")], ask=Ask())
    for panel, shape in zip(plot.panels, LAYERS.values(), strict=True):
        bound = panel.series[1]
        assert bound.bound and bound.y[0] == pytest.approx(1 / max(shape[0], np.prod(shape[1:])))


def test_the_product_of_variances_is_that_of_all_layers(tmp_path):
    for scale in (1.0, 2.0):
        make(tmp_path / str(scale), norm="ssn", scale=scale, size=scale)
    y = layers.variance_products([tmp_path], Ask()).panels[0].series[0].y
    assert y[1] - y[0] == pytest.approx(3 * np.log(4))  # three layers, four times the variance


def test_gradients_at_one_moment_are_the_last_or_those_asked_for(tmp_path):
    run = make(tmp_path / "run", norm="sn")
    last, asked = (layers.gradient_layers([run], ask).panels[0].series[0] for ask in (Ask(), Ask(at=50)))
    assert asked.y[0] / last.y[0] == pytest.approx(10 ** (50 / 50_000)) and list(last.x) == list(LAYERS)
    with pytest.raises(WrongUse, match=r"--at 51: .*run has no diagnosis of that iteration; choose from 10, 20"):
        layers.gradient_layers([run], Ask(at=51))


def test_runs_of_one_method_that_were_diagnosed_at_other_moments_have_no_common_one(tmp_path):
    for seed in (0, 1):
        folder = make(tmp_path / str(seed), norm="sn", seed=seed)
        rows = [json.loads(line) for line in (folder / "diagnostics.jsonl").read_text().splitlines()]
        (folder / "diagnostics.jsonl").write_text("".join(
            json.dumps(row | {"iteration": row["iteration"] + seed}) + "\n" for row in rows))
    with pytest.raises(data.Missing, match="no iteration has a diagnosis in each of"):
        layers.gradient_layers([tmp_path], Ask())


def test_the_norm_of_all_gradients_is_the_root_of_the_sum_of_squares(tmp_path):
    found, _ = data.find_runs([make(tmp_path / "run")])
    sizes = [(k + 1) / (1 + 0.05 * k) * 10 ** (-100 / 50_000) for k in range(3)]
    assert data.gradient_norm(found[0])[100] == pytest.approx(sum(g * g for g in sizes) ** 0.5)


def test_possible_singular_values_keep_what_defines_them():
    """Miyato et al. 2018, Figure 14: the area under WN's is 1, SN's largest is 1, all in increasing order."""
    sets = plots.possible_singular_values([], Ask()).panels[0].series
    for one in sets:
        assert (np.diff(one.y) >= 0).all() and min(one.y) >= 0
        assert one.y[-1] == 1 if one.method == "sn" else np.sum(one.y) == pytest.approx(1)
    assert max(one.y[-1] for one in sets if one.method == "wn") > 0.9  # nearly of rank one


def test_the_critics_losses_are_on_training_and_on_held_out_pictures(trained, tmp_path, monkeypatch, rng):
    """By hand: D's mean over each part of other images, and over the generator's."""
    folder, training = trained("sn")
    parts = {part: rng.integers(0, 256, (5, 16, 16, 3), np.uint8) for part in ("train", "test")}
    monkeypatch.setattr(data.datasets, "load", lambda name, split, **how: SimpleNamespace(images=parts[split]))
    found = data.critic_losses(data.find_runs([folder])[0][0], count=5)
    z = np.random.default_rng(0).standard_normal((5, training.e.dim_z), np.float32)
    made = sampling.draw(training.gen, z)
    real, held, fake = (training.dis(Tensor(x / np.float32(127.5) - 1), False).data.mean()
                        for x in (parts["train"], parts["test"], made))
    assert found == pytest.approx((fake - real, fake - held), abs=1e-5) and found[0] != found[1]


# ---- time ----------------------------------------------------------------------------------------------------------

def test_seconds_of_100_updates_come_from_the_log_whatever_one_pause_took(tmp_path):
    run = make(tmp_path / "run")  # 0.25 s an iteration
    lines = run_folder.read_log(run)
    for later in lines[6:]:
        later["seconds"] += 1000
    (run / "log.jsonl").write_text("".join(json.dumps(values) + "\n" for values in lines))
    assert plots.seconds([run], Ask()).panels[0].series[0].y == [pytest.approx(25)]


def test_seconds_come_from_the_bench_too(tmp_path):
    rows = [{"method": name, "seconds_per_100": value} for name, value in (("wn", 3.5), ("wgan-gp", 9.0))]
    file = tmp_path / "overhead.json"
    file.write_text(json.dumps({"machine": {"processor": "P", "threads": 2}, "batch": 64, "width": 1,
                                "results": {"32": rows, "48": rows[:1]}}))
    plot = plots.seconds([file], Ask())
    assert [panel.title for panel in plot.panels] == ["32 x 32 pixels", "48 x 48 pixels"]
    assert line(plot, "WGAN-GP").y == [9.0] and plot.notes == ["P, 2 threads, batch 64"]
    file.write_text("{}")
    with pytest.raises(FailedWork, match="is not what bench/overhead.py --json prints"):
        plots.seconds([file], Ask())


# ---- the table -----------------------------------------------------------------------------------------------------

TRAINED = sorted(catalogue.FIGURES.keys() - {"sn-gan/10", "sn-gan/14"})


def cells_of(command):
    """The experiments that a command of the table trains."""
    _, kind, target, *words = shlex.split(command)
    options = {name.lstrip("-"): value for name, value in zip(words[::2], words[1::2], strict=True)}
    assert options.pop("diagnose", "1000") == "1000" and hasattr(experiment.Experiment, "diagnose")
    if kind == "reproduce":
        assert not options
        return reproduce.cells(target)
    if kind == "train":
        assert not options
        return [grid.Cell("sn", "default", 0, presets.experiment(target))]
    lists = [options.pop(name).split(",") for name in ("methods", "settings")]
    return grid.grid(target, *lists, int(options.pop("seeds")), **options)


@pytest.mark.parametrize("name", TRAINED)
def test_the_command_of_a_figure_makes_runs_that_it_can_be_drawn_from(name, tmp_path):
    """The experiments are those of the command; the numbers are made up."""
    if name in ("sn-gan/3", "sn-gan/15a"):
        pytest.skip("reads checkpoints")
    for cell in cells_of(catalogue.FIGURES[name].command):
        make(tmp_path / cell.name, e=cell.experiment, scores={IS: 6.0, FID: 30.0}, steps=3)
    plot = catalogue.FIGURES[name].make([tmp_path], ask=Ask())
    assert plot.panels and all(panel.series for panel in plot.panels)
    for series in (series for panel in plot.panels for series in panel.series):
        assert len(series.x) == len(series.y) > 0 and np.isfinite(series.y).all(), series


@pytest.mark.parametrize("name", sorted(catalogue.FIGURES.keys() - {"sn-gan/14"}))
def test_runs_that_lack_what_a_figure_needs_get_one_line(name, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    bare = tmp_path / "bare"
    bare.mkdir()
    run_folder.write_experiment(bare, tiny(), {})
    assert main.run(["figure", name, str(bare), "--out", str(tmp_path / "figure.png")]) in (1, 2)
    said = capsys.readouterr().err
    assert said.count("\n") == 1 and "bare" in said and not (tmp_path / "figure.png").exists()
    assert main.run(["figure", name]) == 2
    assert catalogue.FIGURES[name].command in capsys.readouterr().err


def test_every_method_has_a_colour_of_its_own():
    assert set(NORMS) | set(METHODS) <= draw.STYLES.keys()
    colours = [colour for name, (colour, _) in draw.STYLES.items() if name in NORMS or name in METHODS]
    assert len(set(colours)) == len(colours)


def test_the_list_has_every_figure_with_its_command(capsys):
    assert main.run(["figure", "--list"]) == 0
    said = capsys.readouterr().out
    assert all(name in said and one.command in said for name, one in catalogue.FIGURES.items())
    assert said.index("bssn/2 ") < said.index("bssn/10 ") < said.index("sn-gan/1 ")


@pytest.mark.parametrize("words, said", [
    (["sn-gan/99"], "unknown figure 'sn-gan/99'; did you mean sn-gan/9?"),
    (["sn-gan/14", "--out", "figure.pdf"], "expected a .png or an .svg"),
    (["sn-gan/14", "nowhere"], "needs no runs; leave them out"),
    (["classic"], "classic needs runs; made by: minigan sweep fashion-mnist --diagnose 100"),
    (["classic", "nowhere", "--out", "figures.png"], "expected a folder")])
def test_what_cannot_be_meant_is_said_in_one_line(words, said, capsys, monkeypatch, tmp_path):
    pytest.importorskip("matplotlib")
    monkeypatch.chdir(tmp_path)
    assert main.run(["figure", *words]) == 2
    assert said in capsys.readouterr().err and list(tmp_path.iterdir()) == []


def test_matplotlib_is_imported_only_to_draw_and_its_absence_is_one_line(monkeypatch, capsys):
    code = "import sys, minigan.cli; sys.exit('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
    draw.import_matplotlib.cache_clear()
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main.run(["figure", "sn-gan/14", "--out", "never.png"]) == 2
    assert 'pip install "minigan[plot]"' in capsys.readouterr().err
    draw.import_matplotlib.cache_clear()


# ---- images ------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def several(tmp_path_factory):
    """Runs of some methods, two seeds each, that have all that most figures need."""
    pytest.importorskip("matplotlib")
    folder = tmp_path_factory.mktemp("runs")
    for method in ("none", "sn", "ssn"):
        for scale in (1.0, 1.75) if method == "ssn" else (1.0,):
            for seed in (0, 1):
                make(folder / f"{method}-{scale}-{seed}", norm=method, scale=scale, seed=seed, size=scale + 0.1 * seed,
                     scores={IS: 6.0 + scale + seed, FID: 30.0}, setting="C")
    return folder


DRAWN = ("sn-gan/14", "sn-gan/9", "bssn/3", "bssn/7", "bssn/13", "bssn/19", "report/losses")  # one of each kind


@pytest.mark.parametrize("name", DRAWN)
def test_a_figure_is_drawn(name, several, tmp_path, capsys):
    paths = [] if name == "sn-gan/14" else [str(several)]
    assert main.run(["figure", name, *paths, "--out", str(tmp_path / "figure.png")]) == 0, capsys.readouterr().err
    assert (tmp_path / "figure.png").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("suffix", [".png", ".svg"])
def test_the_same_runs_give_the_same_bytes_without_a_date(several, suffix):
    plot = plots.score_curves([several], Ask(), "is")
    first, second = (draw.draw(plot, "title", suffix) for _ in range(2))
    assert first == second and b"Date" not in first and b"dc:date" not in first


def test_the_users_matplotlibrc_changes_nothing():
    matplotlib = pytest.importorskip("matplotlib")
    plot = plots.possible_singular_values([], Ask())
    plain = draw.draw(plot, "", ".png")
    with matplotlib.rc_context({"font.size": 20, "axes.facecolor": "red"}):
        assert draw.draw(plot, "", ".png") == plain
        assert matplotlib.rcParams["font.size"] == 20  # and the other way round


def test_the_classic_set_is_one_command_and_says_what_it_leaves_out(tmp_path, trained, capsys):
    pytest.importorskip("matplotlib")
    for norm in ("none", "sn"):
        folder, _ = trained(norm)
        make(tmp_path / "log" / norm, layers={"conv1": (3, 3, 3, 3)}, diagnosed=False, norm=norm)
        (folder / "log.jsonl").write_bytes((tmp_path / "log" / norm / "log.jsonl").read_bytes())
    out = tmp_path / "classic"
    assert main.run(["figure", "classic", str(tmp_path / "none"), str(tmp_path / "sn"), "--out", str(out)]) == 0
    assert {path.stem for path in out.iterdir()} == {"bars", "singular-values", "spectral-norms", "losses"}
    assert "left out: bssn/2: " in (said := capsys.readouterr().out) and "--diagnose" in said


def test_the_classic_set_names_the_runs_that_only_its_bars_show(tmp_path, capsys):
    pytest.importorskip("matplotlib")
    for setting, size in (("A", 1.0), ("C", 2.0)):
        make(tmp_path / setting, norm="sn", setting=setting, size=size)
    make(tmp_path / "none", norm="none", setting="A")
    assert main.run(["figure", "classic", str(tmp_path), "--out", str(tmp_path / "classic")]) == 0
    said = capsys.readouterr().out.splitlines()
    assert [line for line in said if "best setting alone" in line] == [
        f"bars aside, without {tmp_path / 'C'}: of each method its best setting alone"]
    alone = [str(tmp_path / "A"), str(tmp_path / "none")]
    assert main.run(["figure", "classic", *alone, "--out", str(tmp_path / "b")]) == 0
    assert "best setting alone" not in capsys.readouterr().out
