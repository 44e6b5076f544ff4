"""Run folders as `minigan train --diagnose` makes them, with numbers that a test chooses: no training."""

import json
from pathlib import Path

import numpy as np

from minigan.experiment.experiment import Experiment
from minigan.experiment.presets import experiment
from minigan.training import run_folder

LAYERS = {"conv1": (8, 3, 3, 1), "conv2": (16, 4, 4, 8), "dense": (1, 256)}


def layer(i: int, iteration: int, size: float = 1.0, shape: tuple[int, ...] = (8, 3, 3, 1)) -> dict:
    """One layer of a line of diagnostics: the numbers that figures are drawn from, each another one."""
    bound = 1 / max(shape[0], int(np.prod(shape[1:])))
    return {"shape": list(shape), "sigma": 2.0 + i, "sigma_bar": size, "sigma_conv": size * (2 + 0.1 * i),
            "conv_lower": size * 0.9, "conv_upper": size * 3.5, "gradient": 0.5 * (i + 1),
            "gradient_bar": size ** -1 * (i + 1) * 10 ** (-iteration / 50000), "gradient_output": (i + 1) / size,
            "variance": size ** 2 * bound / 2, "variance_bounds": [bound / 9, bound]}


def make(folder: Path, iterations: int = 100, thumbnails: float = 1.0, scores: dict | None = None,
         diagnosed: bool = True, size: float = 1.0, layers: dict = LAYERS, dataset: str = "fashion-mnist",
         steps: int = 10, e: Experiment | None = None, **chosen) -> Path:
    """A run of `iterations` that logged `steps` times; its scores come last, thumbnails fall towards `thumbnails`."""
    folder.mkdir(parents=True)
    e = e or experiment(dataset, iterations=iterations, **chosen)
    iterations = e.iterations
    run_folder.write_experiment(folder, e, {})
    run_folder.write_done(folder, True)
    log, diagnoses = [], []
    for i in range(1, steps + 1):
        at = iterations * i // steps
        line = {"iteration": at, "seconds": 0.25 * at, "loss_dis": 1 + 1 / i, "loss_gen": -1 / i,
                "sigma": {path: size * (1 + 0.01 * k) for k, path in enumerate(layers)},
                "thumbnails": thumbnails * (1 + (steps - i) / 4)}
        if scores:
            line["scores"] = {name: value * (0.5 + 0.5 * i / steps) for name, value in scores.items()}
        log.append(line)
        diagnoses.append({"iteration": at, "seconds": 0.1, "accuracy": 0.75, "alarms": [], "layers": {
            path: layer(k, at, size * (1 + 0.05 * k), shape) for k, (path, shape) in enumerate(layers.items())}})
    (folder / "log.jsonl").write_text("".join(json.dumps(line) + "\n" for line in log))
    if diagnosed:
        (folder / "diagnostics.jsonl").write_text("".join(json.dumps(line) + "\n" for line in diagnoses))
    return folder
