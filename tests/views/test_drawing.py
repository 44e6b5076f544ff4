"""How figures are drawn and what they say of runs that were mixed, repeated or asked for in a wrong way."""

import dataclasses
import itertools
import shutil

import pytest
from figure_runs import make

from minigan.cli import main
from minigan.errors import WrongUse
from minigan.views.figures import catalogue, data, draw, plots
from minigan.views.figures.plots import Ask, Panel, Plot, Series


@pytest.fixture
def drawn(monkeypatch):
    """What `draw.draw` draws, as matplotlib's own figure with all its texts laid out."""
    figure = pytest.importorskip("matplotlib.figure")
    seen = []
    save = figure.Figure.savefig
    monkeypatch.setattr(figure.Figure, "savefig", lambda self, *a, **k: (seen.append(self), save(self, *a, **k))[1])

    def of(plot):
        draw.draw(plot, "", ".png")
        seen[-1].draw_without_rendering()  # at the dots per inch that it has again
        return seen[-1]
    return of


# ---- one seed twice ------------------------------------------------------------------------------------------------

def test_one_seed_twice_is_no_mean_of_two_seeds(tmp_path, capsys):
    a = make(tmp_path / "a", norm="sn")
    shutil.copytree(a, tmp_path / "b")
    assert main.run(["figure", "sn-gan/9", str(a), str(tmp_path / "b"), "--out", str(tmp_path / "x.png")]) == 2
    said = capsys.readouterr().err
    assert "are one experiment with one seed, 0" in said and said.count("\n") == 1
    assert not (tmp_path / "x.png").exists()
    with pytest.raises(WrongUse, match="one experiment with one seed"):
        data.find_runs([tmp_path])


def test_the_number_of_seeds_is_that_of_every_group(tmp_path):
    for norm, seeds in (("sn", 3), ("wn", 1)):
        for seed in range(seeds):
            make(tmp_path / f"{norm}{seed}", norm=norm, seed=seed, setting="C")
    assert "mean and standard deviation of 1 to 3 seeds" in plots.score_bars([tmp_path], Ask(), "fid").notes
    assert plots.score_bars([tmp_path / "wn0"], Ask(), "fid").notes == ["one seed"]
    both = plots.score_bars([tmp_path / "sn0", tmp_path / "sn2"], Ask(), "fid")
    assert both.notes == ["mean and standard deviation of 2 seeds"]


# ---- titles --------------------------------------------------------------------------------------------------------

def mixed(folder):
    """Runs of several data sets, networks and methods, as somebody has them after a week."""
    make(folder / "a", norm="sn")
    make(folder / "b", norm="sn", width=0.5, batch_size=16, lr=1e-3)
    make(folder / "c", dataset="cifar10", norm="sn", profile="paper", iterations=100)
    make(folder / "d", dataset="cifar10", norm="sn", model="resnet", iterations=100, condition="projection")
    make(folder / "e", dataset="cifar10", norm="bsn-gamma-shared", loss="wasserstein", n_dis=5, iterations=100)
    make(folder / "long" / "c", dataset="cifar10", norm="sn", loss="ns", iterations=100, lr=1e-3, n_dis=2,
         batch_size=32)
    return [folder, folder / "long"]


def test_titles_of_mixed_runs_neither_overlap_nor_leave_the_image(tmp_path, drawn):
    plot = catalogue.FIGURES["sn-gan/9"].make(mixed(tmp_path), ask=Ask())
    figure = drawn(plot)
    assert len({panel.title for panel in plot.panels}) == 6
    boxes = [ax.title.get_window_extent() for ax in figure.axes if ax.get_visible()]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    assert all(0 <= box.x0 and box.x1 <= figure.bbox.x1 and box.y1 <= figure.bbox.y1 for box in boxes)


def test_long_titles_and_legends_are_broken_into_lines(drawn):
    name = "SN, latent uniform, dim z 256, init normal-0.02, batch size 128, gen batch size 256"
    one = Series(name, [1, 2], [1.0, 2.0], method="sn")
    figure = drawn(Plot("lines", "iteration", "loss", [Panel(f"{name} {i}", [one]) for i in range(4)]))
    boxes = [ax.title.get_window_extent() for ax in figure.axes]
    assert not any(one.overlaps(other) for one, other in itertools.combinations(boxes, 2))
    (legend,) = figure.legends
    assert legend.get_window_extent().x0 >= 0 and legend.get_window_extent().x1 <= figure.bbox.x1
    assert all(ax.get_window_extent().height > 80 for ax in figure.axes)  # the lines take no room from the axes


def test_runs_that_differ_in_few_options_are_named_by_these(tmp_path):
    make(tmp_path / "x", norm="sn", width=0.5)
    make(tmp_path / "y", norm="sn", width=0.25)
    assert list(data.group(data.find_runs([tmp_path])[0])) == ["SN, width 0.5", "SN, width 0.25"]


# ---- error bars ----------------------------------------------------------------------------------------------------

def reach(figure):
    """The lowest and the highest point of all error bars and bands."""
    ys = [y for ax in figure.axes for part in ax.collections for path in
          ([path.vertices for path in part.get_paths()]) for y in path[:, 1]]
    return min(ys), max(ys)


@pytest.mark.parametrize("kind", ["bars", "lines"])
def test_no_error_bar_goes_below_0_where_nothing_can_be(kind, drawn):
    """1 +- 2 and 5 +- 2: from 0 to 7."""
    plot = Plot(kind, "setting", "FID", [Panel("", [Series("SN", [1, 2], [1.0, 5.0], [2.0, 2.0], "sn")])])
    assert reach(drawn(plot)) == (0, 7)
    assert reach(drawn(dataclasses.replace(plot, signed=True))) == (-1, 7)


# ---- options that would do nothing ---------------------------------------------------------------------------------

@pytest.mark.parametrize("words, said", [
    (["sn-gan/9", "--at", "77"], "--at 77 does nothing in sn-gan/9; leave it out, it is for bssn/12, bssn/13"),
    (["classic", "--at", "7"], "--at 7: no figure of classic shows one moment; leave it out"),
    (["report/losses", "--measure", "FID"], "--measure FID does nothing in report/losses; leave it out"),
    (["bssn/12", "--at", "77"], "no diagnosis of that iteration; choose from 10, 20")])
def test_an_option_that_would_do_nothing_is_refused(words, said, tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    run = make(tmp_path / "run", norm="sn")
    monkeypatch.chdir(tmp_path)
    assert main.run(["figure", words[0], str(run), *words[1:]]) == 2
    assert said in capsys.readouterr().err and [path.name for path in tmp_path.iterdir()] == ["run"]


def test_a_figure_without_a_place_lies_with_its_run(tmp_path, capsys, monkeypatch):
    pytest.importorskip("matplotlib")
    run, other = (make(tmp_path / name, norm="sn") for name in ("run", "other"))
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    assert main.run(["figure", "report/losses", str(run)]) == 0
    assert (run / "report-losses.png").is_file()
    capsys.readouterr()
    assert main.run(["figure", "report/losses", str(run), str(other)]) == 2
    assert "say with --out where to draw report/losses, such as --out report-losses.png" in capsys.readouterr().err
    assert list((tmp_path / "work").iterdir()) == []


def test_one_moment_is_the_one_that_was_asked_for(tmp_path):
    run = make(tmp_path / "run", norm="sn")
    for name in ("bssn/12", "bssn/13"):
        assert "SN: iteration 70" in catalogue.FIGURES[name].make([run], ask=Ask(at=70)).notes
