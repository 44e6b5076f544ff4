"""How a program of somebody else's uses the library: mypy --strict checks it, and nothing runs it.

tests/library/test_typed_use.py runs mypy on it, and on mistakes that it has to find.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, assert_type

import numpy as np

import minigan
from minigan import FailedWork, Run, Tensor, WrongUse, grad, no_grad, spectral_norm
from minigan.engine import ops
from minigan.nn.initializers import he_normal
from minigan.nn.layers import Layer, Linear, Pass


def a_run_and_what_it_answers(images: np.ndarray, folder: Path) -> dict[str, float]:
    losses: list[float] = []

    def told(line: dict[str, Any]) -> bool:
        losses.append(line["loss_dis"])
        return len(losses) > 10

    run = minigan.train(images, labels=[0, 1] * 10, range=(0, 1), iterations=100, norm="sn", out=folder, callback=told)
    assert_type(run, Run)
    run = minigan.train("shapes", quiet=True, width=0.25).keep("kept").resume(iterations=200)
    assert_type(run.folder, Path)
    assert_type(run.log, list[dict[str, Any]])
    rows: np.ndarray = run.sample(16, seed=1, labels=3).grid(columns=4)
    fakes = run.generator(run.generator.latents(16))
    numbers: np.ndarray = run.discriminator(fakes, labels=np.zeros(16, int))
    print(rows.shape, numbers.mean(), run.experiment.lr, run.report().name)
    x, y = run.curve("loss_dis")
    print(x[-1], y.max(initial=0), run.rows[-1])
    assert_type(run.export("torch", network="generator"), list[Path])
    assert_type(run.score("classifier", count=100), dict[str, float])
    return minigan.load(str(folder)).score()


class Rectified(Layer):
    """A layer of the reader's own."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = {"dense": Linear(np.random.default_rng(0), 8, 768, he_normal())}

    def forward(self, x: Tensor, how: Pass) -> Tensor:
        return ops.tanh(self.layers["dense"].forward(x, how)).reshape(-1, 16, 16, 3)


def judge(p: dict[str, Any], x: Tensor) -> Tensor:
    return (x.reshape(len(x), -1) @ spectral_norm(p["W"], p["u"], n_iter=2)).reshape(-1)


def networks_of_ones_own(images: np.ndarray) -> Run:
    rng = np.random.default_rng(0)
    p = {"W": Tensor(rng.standard_normal((768, 1), np.float32), requires_grad=True),
         "u": rng.standard_normal(768, np.float32)}
    try:
        run = minigan.train(images, generator=Rectified(), discriminator=(judge, p), dim_z=8)
    except (WrongUse, FailedWork) as error:
        raise SystemExit(str(error)) from None
    return minigan.load(run.folder, generator=Rectified(), discriminator=(judge, p))


def scores(run: Run, images: np.ndarray, folder: Path) -> float:
    def brightness(images: np.ndarray) -> np.ndarray:
        return np.asarray(images.mean((1, 2)))

    mean, deviation = minigan.kid("cifar10:test", folder, count=1000)
    print(mean + deviation, minigan.inception_score(images / 255, range=(0, 1)).mean)
    print(minigan.precision_recall(run, images, weights=brightness).recall)
    of_all = minigan.score(run)
    assert_type(of_all["FID"].value, float)
    return minigan.fid((images.mean((1, 2)).mean(0), np.eye(3)), run, weights="inception.pth")


def derivatives(x: Tensor) -> Tensor:
    y = (x * x * 2.0 + 1.0).sum()
    slope = grad(y, x, create_graph=True)
    assert_type(slope, Tensor)
    assert_type(grad(y, [x]), list[Tensor])
    with no_grad():
        print((1 - x).mean().item())
    return grad(ops.sum(slope), x)
