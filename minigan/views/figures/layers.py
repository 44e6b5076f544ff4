"""What the figures of a discriminator's layers show, as plain numbers: from checkpoints, logs and diagnostics."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial
from pathlib import Path

from minigan.errors import WrongUse, listed
from minigan.studies.seeds import of_seeds, over_seeds
from minigan.training.run_record import Points, Run
from minigan.views.figures.data import (
    Missing,
    choose_measure,
    critic_losses,
    find_runs,
    gradient_ratios,
    group,
    higher_is_better,
    lack,
    last_score,
    layers_of,
    logged,
    of_layer,
    spectra,
)
from minigan.views.figures.plots import Ask, Panel, Plot, Series, against, by_dataset, few, lines, spread_note


def singular_values(paths: list[Path], ask: Ask) -> Plot:
    """Squared, the largest scaled to 1, of the weights in use; a panel for each layer, a line for each method.

    Of each method the setting with the best last score, as in Miyato et al. 2018, and of that the first seed.
    """
    found, notes = find_runs(paths)
    groups = best_of_each_method(found, ask.measure)
    values = {name: spectra(mine[0]) for name, mine in groups.items()}
    notes.append("of " + ", ".join(mine[0].folder.name for mine in groups.values()))
    layers = [layer for layer in next(iter(values.values())) if all(
        layer in has and len(has[layer]) > 1 and has[layer][0] > 0 for has in values.values())]
    if not layers:
        raise Missing("these runs have no layer in common")
    panels = []
    for layer in layers:
        series = []
        for name, mine in groups.items():
            s = (values[name][layer] / values[name][layer][0]) ** 2
            series.append(Series(name, range(1, len(s) + 1), s, method=mine[0].method))
        panels.append(Panel(layer, series))
    return Plot("lines", "index of the singular value", "squared singular value, largest = 1", panels, notes=notes)


def _loss(both: dict[Path, tuple[float, float]], part: int, run: Run) -> float:
    """A run's loss on the training set, or on the test set."""
    return both[run.folder][part]


def critic(paths: list[Path], ask: Ask) -> Plot:
    """The critic's loss on training and on held-out images, a pair of bars for each group of runs."""
    found, notes = find_runs(paths)
    panels = []
    for dataset, mine in by_dataset(found).items():
        series = []
        for name, same in few(group(mine)).items():
            both = {run.folder: critic_losses(run) for run in same}
            values = [of_seeds(same, partial(_loss, both, part)) for part in (0, 1)]
            series.append(Series(name, ["train", "test"], [v[0] for v in values], [v[1] for v in values],
                                 same[0].method))
        panels.append(Panel(dataset, series))
    notes.append("of 1,000 images each, by the newest checkpoint; the paper shows it during training")
    notes += spread_note(found, False)
    return Plot("bars", "real images", "mean D(made) - mean D(real)", panels, notes=notes, signed=True)


def best_of_each_method(found: list[Run], asked: str = "") -> dict[str, list[Run]]:
    """Of the groups of each method the one with the best mean score at the end; all where each method has one."""
    groups = group(found)
    methods = [mine[0].method for mine in groups.values()]
    if len(set(methods)) == len(methods):
        return groups
    measure = choose_measure(found, "is", asked)
    sign = 1 if higher_is_better(measure) else -1

    def score(name: str) -> float:
        mean, _ = of_seeds(groups[name], lambda run: last_score(run, measure))
        return -math.inf if math.isnan(mean) else sign * mean
    kept = {method: max((name for name in groups if groups[name][0].method == method), key=score)
            for method in methods}
    return {name: groups[name] for name in kept.values()}


def layer_courses(paths: list[Path], ask: Ask, key: str, y: str, log: str = "y", convolutions: bool = False) -> Plot:
    """A panel for each group of runs, a line for each layer: a number of the diagnostics, or sigma of the log."""
    found, notes = find_runs(paths)
    panels = []
    for name, mine in few(group(found)).items():
        if key == "sigma":  # exact, and in every log
            layers = layers_of(mine, "log", convolutions)
            reads = {layer: logged("sigma", layer) for layer in layers}
        else:
            layers = layers_of(_diagnosed(mine), "diagnostics", convolutions)
            reads = {layer: of_layer(layer, key) for layer in layers}
        series = []
        for i, (layer, read) in enumerate(reads.items()):
            x, mean, spread = over_seeds(mine, read)
            if len(x):
                series.append(Series(layer, x, mean, spread, place=i / max(1, len(layers) - 1)))
        if not series:
            raise Missing(f"{mine[0].folder} has no '{key}' of its layers")
        panels.append(Panel(name, series))
    if key == "sigma":
        flat = [value for panel in panels for series in panel.series for value in series.y]
        log = "y" if max(flat) > 4 * min(flat) > 0 else ""
        last = max(panel.series[0].x[-1] for panel in panels)
        panels = [Panel(p.title, [*p.series, Series("spectral norm 1", [0, last], [1, 1], bound=True)]) for p in panels]
    return Plot("lines", "iteration", y, panels, log, [*notes, *spread_note(found, False)])


def layer_panels(paths: list[Path], ask: Ask, y: str, read: Callable[[str], Callable[[Run], Points]],
                 bounds: dict[str, Callable[[str], Callable[[Run], Points]]], log: str = "",
                 convolutions: bool = False) -> Plot:
    """A panel for each layer: a course of the diagnostics for each group of runs, and bounds, of the first that has
    them."""
    found, notes = find_runs(paths)
    groups = group(_diagnosed(found))
    panels = []
    for layer in layers_of(found, "diagnostics", convolutions):
        series = []
        for name, mine in groups.items():
            x, mean, spread = over_seeds(mine, read(layer))
            if len(x):
                series.append(Series(name, x, mean, spread, mine[0].method))
        if not series:
            continue
        for name, bound in bounds.items():
            known = (over_seeds(mine, bound(layer)) for mine in groups.values())
            first = next((found for found in known if len(found[0])), None)
            if first:
                series.append(Series(name, first[0], first[1], bound=True))
        panels.append(Panel(layer, series))
    if not panels:
        raise Missing(f"the diagnostics of {found[0].folder} do not have it")
    return Plot("lines", "iteration", y, panels, log, [*notes, *spread_note(found, False)])


def over_sigma(key: str) -> Callable[[str], Callable[[Run], Points]]:
    """Of a layer the course of a number of the diagnostics over the norm of its matrix."""
    def of(layer: str) -> Callable[[Run], Points]:
        def read(run: Run) -> Points:
            over, under = of_layer(layer, key)(run), of_layer(layer, "sigma_bar")(run)
            return {i: over[i] / under[i] for i in over if under.get(i)}
        return read
    return of


def diagnosis_curves(paths: list[Path], ask: Ask, read: Callable[[Run], Points], y: str, log: str) -> Plot:
    """A number of the diagnostics during training; a line for each group of runs, a panel for each data set."""
    found, notes = find_runs(paths)
    panels = [Panel(dataset, lines(_diagnosed(mine), read, False)) for dataset, mine in by_dataset(found).items()]
    return Plot("lines", "iteration", y, panels, log, [*notes, *spread_note(found, False)])


def _gradient(layer: str, at: int, run: Run) -> float:
    """The norm of a layer's gradient at an iteration."""
    return of_layer(layer, "gradient_bar")(run).get(at, math.nan)


def gradient_layers(paths: list[Path], ask: Ask) -> Plot:
    """The norm of each layer's gradient at one moment; a line for each group of runs, a panel for each data set."""
    found, notes = find_runs(paths)
    panels = []
    for dataset, mine in by_dataset(_diagnosed(found)).items():
        layers, series = layers_of(mine, "diagnostics"), []
        for name, same in few(group(mine)).items():
            at = _moment(same, ask.at)
            values = [of_seeds(same, partial(_gradient, layer, at)) for layer in layers]
            series.append(Series(name, layers, [v[0] for v in values], [v[1] for v in values], same[0].method))
            notes.append(f"{name}: iteration {at:,}")
        panels.append(Panel(dataset, series))
    return Plot("lines", "layer", "norm of the gradient", panels, "y", [*notes, *spread_note(found, False)])


def ratio_points(paths: list[Path], ask: Ask) -> Plot:
    """Ratios of gradient norms, layers to the first, over inverse ones of spectral norms (Lin et al. 2021, Eq. (2))."""
    found, notes = find_runs(paths)
    if not any(run.experiment.scale_spread for run in found):
        notes.append("the norms are those of the runs; the paper scales layers by random factors (--scale-spread)")
    panels = []
    for name, mine in few(group(_diagnosed(found))).items():
        layers = layers_of(mine, "diagnostics")
        series = []
        for i, layer in enumerate(layers[1:], start=1):
            pairs = [pair for run in mine for pair in gradient_ratios(run, layer, layers[0])]
            if pairs:
                x, y = zip(*pairs, strict=True)
                series.append(Series(f"{layer} / {layers[0]}", x, y, place=i / (len(layers) - 1)))
        if not series:
            raise Missing(f"{mine[0].folder} has no gradients and spectral norms of two layers")
        panels.append(Panel(name, series))
    return Plot("points", "inverse ratio of spectral norms", "ratio of gradient norms", panels, "xy", notes)


def variance_products(paths: list[Path], ask: Ask) -> Plot:
    """The logarithm of the product of all layers' parameter variances over --scale, at the end of the runs."""
    found, notes = find_runs(paths)

    def product(run: Run) -> float:
        last = run.diagnoses[-1]
        values = [of_layer(path, "variance")(run).get(last["iteration"], math.nan) for path in last["layers"]]
        return sum(math.log(value) if value > 0 else math.nan for value in values)
    panels = [Panel(dataset, against(_diagnosed(mine), "scale", product, False))
              for dataset, mine in by_dataset(found).items()]
    return Plot("lines", "scale", "log of the product of parameter variances", panels, "",
                [*notes, *spread_note(found, False)], option=True, signed=True)


# ---- inside ----------------------------------------------------------------------------------------------------------

def _diagnosed(mine: list[Run]) -> list[Run]:
    lacking = [str(run.folder) for run in mine if not run.diagnoses]
    if lacking:
        raise Missing(f"{lack(lacking)} no diagnostics.jsonl")
    return mine


def _moment(mine: list[Run], at: int | None) -> int:
    """The newest iteration that all have diagnosed, or the one that was asked for."""
    common = sorted(set.intersection(*({line["iteration"] for line in run.diagnoses} for run in mine)))
    whose = listed([str(run.folder) for run in mine], 3)
    if not common:
        raise Missing(f"no iteration has a diagnosis in each of {whose}")
    if at is not None and at not in common:
        raise WrongUse(f"--at {at}: {whose} {'has' if len(mine) == 1 else 'have'} no diagnosis of that iteration; "
                       f"choose from {listed([str(i) for i in common])}")
    return common[-1] if at is None else at
