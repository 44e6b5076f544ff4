"""`minigan.train`: from images, however they are given, to a run."""

from __future__ import annotations

import difflib
import os
import shutil
import tempfile
from pathlib import Path
from typing import Any

from numpy.typing import ArrayLike

from minigan.data import datasets
from minigan.data.dataset import Dataset
from minigan.errors import WrongUse
from minigan.experiment.presets import experiment
from minigan.library import arrays, options
from minigan.library.options import in_python, sayer
from minigan.library.runs import Run, train_in_python
from minigan.networks.own import Network, Own
from minigan.networks.own import own as as_own
from minigan.training import loop, run_folder
from minigan.training.assembly import with_own

ARGUMENTS = ("labels", "range", "out", "overwrite", "quiet", "callback", "tensorboard", "generator", "discriminator")


def train(images_or_path: str | os.PathLike[str] | ArrayLike, *, labels: ArrayLike | None = None,
          range: tuple[float, float] | None = None, out: str | os.PathLike[str] | None = None, overwrite: bool = False,
          quiet: bool = False, callback: loop.Callback | None = None, tensorboard: bool = False,
          generator: Network | None = None, discriminator: Network | None = None, **chosen: Any) -> Run:
    """Train a generator and a discriminator; gives the Run, which samples, scores, reports and goes on.

    images_or_path is one of
      - an array (N, H, W) or (N, H, W, C), square, at least 16 x 16, C 1 or 3: uint8, or floats whose black and white
        are said, range=(0, 1) or range=(-1, 1). labels: (N,) whole numbers from 0, for condition="projection" and such
      - the name of a data set: "shapes", "cifar10", "svhn:extra", ...; of some with data_root, as for `minigan train`
      - a folder, a zip archive or an .npz of images, or an .h5 that `minigan pack` wrote, as a str or a Path
      - the folder of a run, which goes on.

    chosen: the options of `minigan train`, with its names and defaults: iterations=5000, norm="sn", model="resnet",
    width=0.25, batch_size=32, seed=1, ... A run has the same bytes as the command's with the same seed, on one machine.

    out: the run's folder, as `minigan train` makes it; None: a temporary one that is removed with the Run (Run.keep
    moves it). overwrite: replace the run that is there. The images of an array are kept in it, as images.h5, so that
    the run can be resumed and scored wherever the folder is moved.
    quiet: no progress and no remarks (alarms are in run.log all the same).
    callback: a function that is called with each line of the log, a dict as in run.log: iteration, seconds, loss_dis,
    loss_gen, sigma, now and then thumbnails, diversity, scores, alarms. If it returns True the run is saved and stops;
    if it raises, the run is saved and the exception comes out of here.
    tensorboard: write TensorBoard's event file into the folder, too, with the log's numbers and the samples
    (pip install "minigan[tensorboard]").

    generator, discriminator: networks of your own in place of the model's, one of them or both: a Layer, or a pair
    (function, parameters). The function gets the parameters as a dict and a Tensor, and makes one: images
    (N, H, W, C) in [-1, 1] of latents (N, dim_z), or one number (N,) for each image. Of the parameters, Tensors made
    with requires_grad=True are trained, and arrays are remembered, such as the u of minigan.spectral_norm(W, u). With
    device="cuda" all of them lie on the GPU. Copies are trained, so yours stay as they are; run.generator.network and
    run.discriminator.network are the trained ones.
    minigan.load(folder, generator=..., discriminator=...) takes such a run up again.

    Ctrl-C saves and stops. At a prompt and in a notebook the Run is returned, and run.resume() goes on; a script gets
    KeyboardInterrupt. WrongUse (a ValueError) says in one sentence what was given and what to write, FailedWork (a
    RuntimeError) what could not be done.

    >>> import numpy as np, minigan
    >>> images = np.random.default_rng(0).integers(0, 256, (64, 16, 16, 3), dtype=np.uint8)
    >>> losses = []
    >>> run = minigan.train(images, width=0.05, batch_size=8, iterations=4, quiet=True,
    ...                     callback=lambda line: losses.append(line["loss_dis"]))
    >>> len(losses), run.sample(9).shape
    (4, (9, 16, 16, 3))
    >>> minigan.train(images / 255, iterations=4)
    Traceback (most recent call last):
    minigan.errors.WrongUse: images: float64 numbers from 0 to 1; say which numbers are black and white: range=(0, 1)

    Two networks of your own, each a matrix; the discriminator's is divided by its spectral norm:

    >>> from minigan import Tensor, spectral_norm
    >>> from minigan.engine.ops import tanh
    >>> def generator(p, z):
    ...     return tanh(z @ p["W"]).reshape(-1, 16, 16, 3)
    >>> def discriminator(p, x):
    ...     return (x.reshape(len(x), -1) @ spectral_norm(p["W"], p["u"])).reshape(-1)
    >>> rng = np.random.default_rng(0)
    >>> gen = {"W": Tensor(rng.standard_normal((8, 768), np.float32), requires_grad=True)}
    >>> dis = {"W": Tensor(rng.standard_normal((768, 1), np.float32), requires_grad=True),
    ...        "u": rng.standard_normal(768, np.float32)}
    >>> run = minigan.train(images, generator=(generator, gen), discriminator=(discriminator, dis), dim_z=8,
    ...                     batch_size=8, iterations=4, quiet=True)
    >>> run.sample(9).shape, run.discriminator(images).shape, sorted(run.discriminator.network.params)
    ((9, 16, 16, 3), (64,), ['W'])
    """
    given = options.of_experiment(chosen, "train", ARGUMENTS)
    overwrite, quiet = options.switch("overwrite", overwrite), options.switch("quiet", quiet)
    tensorboard = options.switch("tensorboard", tensorboard)
    own = as_own(generator, discriminator)
    if isinstance(images_or_path, (str, os.PathLike)):
        with in_python():
            of = _named(images_or_path)
        for name, value in (("labels", labels), ("range", range)):
            if value is not None:
                raise WrongUse(f"{name}: goes with an array of images; of {images_or_path} the files say it; leave it "
                               "out")
        if of.root is not None and run_folder.is_run(of.root):
            if out is not None or overwrite:
                raise WrongUse(f"{of.root} is a run, and goes on in its own folder; leave out= and overwrite= away")
            return Run(of.root, own=own).resume(quiet=quiet, callback=callback, tensorboard=tensorboard,
                                                    **chosen)
        for name, said in (("data_root", None if of.root is None else str(of.root)), ("split", of.split)):
            if said is not None and given.get(name) is not None:
                raise WrongUse(f"{name}: {images_or_path} says already which images; leave one of them out")
            given |= {} if said is None else {name: said}
        if of.remark:
            sayer(quiet)(of.remark)
        return _train(of.dataset, given, None, out, overwrite, quiet, callback, own, tensorboard)
    if isinstance(images_or_path, Run):
        raise WrongUse("images_or_path: got a Run; run.resume(iterations=...) goes on with it")
    arrays.check_given(images_or_path, "images_or_path", "an array of images, the name of a data set, or a path: a "
                       "folder, a zip archive or an .npz of images, or a run")
    if "data_root" in given:
        raise WrongUse("data_root: the images are given as an array; leave one of them out")
    with in_python():
        data = arrays.dataset(images_or_path, labels, range, given.get("size"), given.get("resize"))
    if labels is not None and given.get("condition", "none") == "none":
        sayer(quiet)("the labels are kept, but not trained with: condition='projection' does that")
    return _train("packed", given, data, out, overwrite, quiet, callback, own, tensorboard)


def _train(dataset: str, given: dict[str, Any], data: Dataset | None, out: str | os.PathLike[str] | None,
           overwrite: bool, quiet: bool, callback: loop.Callback | None, own: Own,
           tensorboard: bool) -> Run:
    """Train on a data set by its name, or on `data` in memory."""
    temporary = out is None
    folder = Path(tempfile.mkdtemp(prefix="minigan-")) if out is None else options.path_of(out)
    try:
        if data is not None:
            given = given | {"data_root": run_folder.own_images(folder)}
        with in_python():
            e = with_own(experiment(dataset, **given), own, given)
        train_in_python(folder, quiet, callback, lambda told, say: loop.fit(
            e, folder, overwrite, quiet, given=data, callback=told, say=say, own=own,
            tensorboard=tensorboard), temporary)
        return Run(folder, temporary, own)
    except BaseException:
        if temporary:
            shutil.rmtree(folder, ignore_errors=True)
        raise


def _named(given: str | os.PathLike[str]) -> datasets.Named:
    """The data set that a text names, or the images at a path. WrongUse, with the near names, if it is neither."""
    if isinstance(given, os.PathLike):  # a path is no name of a data set, even if it is spelt so
        return datasets.named(os.path.join(".", given))
    try:
        return datasets.named(given)
    except WrongUse as error:
        near = difflib.get_close_matches(given, datasets.DATASETS, n=3)
        raise WrongUse(f"did you mean {' or '.join(near)}? {error}" if near else str(error)) from None
