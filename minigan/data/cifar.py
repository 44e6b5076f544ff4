"""CIFAR-10 and CIFAR-100 (https://www.cs.toronto.edu/~kriz/cifar.html): archives of pickles, or of binary records."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from minigan.data.dataset import Dataset, Request, download, md5
from minigan.data.locations import cache_folder, places
from minigan.errors import FailedWork, listed
from minigan.formats import pickles
from minigan.formats.archives import read_whole, tar_members
from minigan.formats.download import Published, md5_of

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
CIFAR100_CLASSES = tuple("""
    apple aquarium_fish baby bear beaver bed bee beetle bicycle bottle bowl boy bridge bus butterfly camel can castle
    caterpillar cattle chair chimpanzee clock cloud cockroach couch crab crocodile cup dinosaur dolphin elephant
    flatfish forest fox girl hamster house kangaroo keyboard lamp lawn_mower leopard lion lizard lobster man maple_tree
    motorcycle mountain mouse mushroom oak_tree orange orchid otter palm_tree pear pickup_truck pine_tree plain plate
    poppy porcupine possum rabbit raccoon ray road rocket rose sea seal shark shrew skunk skyscraper snail snake spider
    squirrel streetcar sunflower sweet_pepper table tank telephone television tiger tractor train trout tulip turtle
    wardrobe whale willow_tree wolf woman worm
""".split())  # the fine labels, in the order of the archive's file meta
MAX_ARCHIVE = 512 << 20  # bytes unpacked; the published archives have 186 MB


@dataclass(frozen=True)
class Form:
    """One of the two data sets: how its files are called and what they hold."""

    name: str
    title: str
    classes: tuple[str, ...]
    label_key: str  # in the pickled dict
    files: dict[str, tuple[str, ...]]  # split -> its files
    stem: str  # of archives and folders
    python: Published
    kinds: tuple[str, ...]  # "python", and "binary" if that is read, too
    most: int  # bytes that a file may have


CIFAR10 = Form(
    "cifar10", "CIFAR-10", CIFAR10_CLASSES, "labels",
    {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}, "cifar-10",
    Published("https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", 170498071),
    ("python", "binary"), 64 << 20)  # a batch has 31 MB
CIFAR100 = Form(
    "cifar100", "CIFAR-100", CIFAR100_CLASSES, "fine_labels", {"train": ("train",), "test": ("test",)}, "cifar-100",
    Published("https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz", "eb9058c3a382ffc7106e4002c42a8d85",
              169001437),
    ("python",), 256 << 20)  # train has 155 MB
BINARY_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of cifar-10-binary.tar.gz
FILE_MD5 = {  # of the files in the python archives
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
    "train": "16019d7e3df5f24257cddd939b257f8d",
    "test": "f0ef6b0ae62326f3e7ffdfab6717acfc",
}


def cifar10(ask: Request) -> Dataset:
    """32 x 32 photographs of ten classes: 50,000 to train, 10,000 to test (Krizhevsky 2009).

    Reads the python archive (pickles of uint8 (n, 3072), red, green, blue planes) and the binary one
    (records of one label and 3072 bytes), packed or unpacked; the number of images comes from the files.
    """
    return _read(CIFAR10, ask)


def cifar100(ask: Request) -> Dataset:
    """The same kind of photographs in a hundred classes (the fine labels), 500 and 100 of each; the python archive."""
    return _read(CIFAR100, ask)


def _folders(form: Form) -> tuple[str, ...]:
    """Where the files lie in an archive. CIFAR-10's folders end in batches-py and -bin, CIFAR-100's in python."""
    if form.kinds == ("python",):
        return (f"{form.stem}-python",)
    return f"{form.stem}-batches-py", f"{form.stem}-batches-bin"


def find(form: Form, root: Path | None, split: str) -> tuple[Path, str] | None:
    """A folder with all the split's files and their suffix, or an archive and ""; None if there is none."""
    if root is not None and root.is_file():
        return root, ""
    for place in places(form.name, root):
        for inner, suffix in zip(_folders(form), ("", ".bin"), strict=False):
            for folder in (place / inner, place):
                if all((folder / (name + suffix)).is_file() for name in form.files[split]):
                    return folder, suffix
        for kind in form.kinds:
            archive = place / f"{form.stem}-{kind}.tar.gz"
            if archive.is_file():
                return archive, ""
    return None


def _read(form: Form, ask: Request) -> Dataset:
    names = form.files[ask.split]
    found = find(form, ask.root, ask.split)
    if found is None and ask.root is not None:
        archives = ", ".join(f"{form.stem}-{kind}.tar.gz" for kind in form.kinds)
        binary = " (or the same with .bin)" if "binary" in form.kinds else ""
        raise FailedWork(f"{ask.root}: no {form.title} there for split {ask.split}; looked for {archives}, or "
                         f"{listed(names)}{binary}, also in {', '.join(_folders(form))} and {form.name}")
    if found is None:
        found = download(form.python, cache_folder() / form.name / f"{form.stem}-python.tar.gz", ask), ""
    path, suffix = found
    if path.is_dir():
        files = [read_whole(path / (name + suffix), form.most) for name in names]
    else:
        files, suffix = _read_archive(form, path, names)
    batches = []
    for name, data in zip(names, files, strict=True):
        file = f"{path}: {name}{suffix}"
        batches.append(_binary_batch(data, file) if suffix else _python_batch(form, data, file))
    checked = "md5 as published"
    if not suffix:
        changed = [n for n, data in zip(names, files, strict=True) if md5(data) != FILE_MD5[n]]
    elif path.is_dir():
        changed, checked = [], "format checked; no md5 is published for these files"
    else:
        changed = [] if md5_of(path) == BINARY_MD5 else [path.name]
    if changed:
        checked = "md5 not the published one"
        ask.say(f"{path}: md5 of {listed(changed)} is not the published one; the format is right, so used")
    images, labels = (np.concatenate(parts) for parts in zip(*batches, strict=True))
    return Dataset(images, labels, form.classes, f"{path} ({checked})")


def _read_archive(form: Form, path: Path, names: tuple[str, ...]) -> tuple[list[bytes], str]:
    """The split's files from the python or the binary archive, whichever this is, and their suffix."""
    folders = dict(zip(("", ".bin"), _folders(form), strict=False))
    wanted = {f"{folder}/{n}{suffix}": n + suffix for suffix, folder in folders.items() for n in names}
    files: dict[str, bytes] = {}
    for member, data in tar_members(path, set(wanted), form.most, MAX_ARCHIVE):
        files.setdefault(wanted[member], data)
    for suffix in folders:
        if all(name + suffix in files for name in names):
            return [files[name + suffix] for name in names], suffix
    missing = [name for name in names if name not in files and name + ".bin" not in files]
    expected = " or ".join(f"{folder}/{names[0]}{suffix}" for suffix, folder in folders.items())
    raise FailedWork(f"{path}: {listed(missing or list(names))} not found in the archive; expected {expected}"
                     + " and so on" * (len(names) > 1))


def _python_batch(form: Form, data: bytes, file: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) and labels (n,) of one pickled batch."""
    batch = pickles.load(data, pickles.numpy_globals(len(data)), file)
    if not isinstance(batch, dict):
        raise FailedWork(f"{file}: holds a {type(batch).__name__}, expected a dict with data and {form.label_key}")
    # Python 2 wrote the keys as bytes; written again by Python 3 they may be text.
    fields = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    planes = getattr(fields.get("data"), "array", None)
    labels = fields.get(form.label_key)
    if planes is None or planes.dtype != np.uint8 or planes.ndim != 2 or planes.shape[1] != 3072:
        raise FailedWork(f"{file}: its 'data' is not an array of uint8 (n, 3072)")
    if not isinstance(labels, list) or len(labels) != len(planes):
        raise FailedWork(f"{file}: its '{form.label_key}' are not a list of {len(planes)}, one for each image")
    most = len(form.classes) - 1
    if not all(type(label) is int and 0 <= label <= most for label in labels):
        raise FailedWork(f"{file}: its '{form.label_key}' are not all numbers from 0 to {most}")
    return _from_planes(planes), np.array(labels, np.int64)


def _binary_batch(data: bytes, file: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) and labels (n,) of one binary batch."""
    if len(data) % 3073:
        raise FailedWork(f"{file}: {len(data)} bytes are no multiple of 3073 (a label and 32 x 32 x 3 bytes)")
    records = np.frombuffer(data, np.uint8).reshape(-1, 3073)
    if records[:, 0].max(initial=0) > 9:
        raise FailedWork(f"{file}: holds label {records[:, 0].max()}, expected 0 to 9")
    return _from_planes(records[:, 1:]), records[:, 0].astype(np.int64)


def _from_planes(planes: np.ndarray) -> np.ndarray:
    return np.ascontiguousarray(planes.reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1))
