"""Data sets, each read by one function to uint8 images (N, H, W, C) and labels.

A published data set is taken from the folder the user names, else from the cache folder or where Debian
installs it, else it is downloaded to the cache folder. Files are data, whoever made them: pickles are read
by pickles.py, gzip and tar by archives.py, pictures by image_folder.py.
What was downloaded must have the published checksum; what somebody put there by hand must have the right
format, and a digest other than the published one is remarked on.
"""

import hashlib
import os
import struct
import sys
from collections.abc import Callable
from dataclasses import dataclass
from math import prod
from pathlib import Path

import numpy as np
import platformdirs
from PIL import Image

from minigan import image_folder, pickles
from minigan import shapes as drawings
from minigan.archives import read_whole, reading, take, tar_members
from minigan.download import Progress, Published, fetch, md5_of, progress_bar
from minigan.errors import FailedWork, WrongUse, choose, listed
from minigan.image_folder import FITS

SPLITS = ("train", "test")
SYSTEM_FOLDER = Path("/usr/share/datasets")  # Debian's package dataset-fashion-mnist


@dataclass(frozen=True)
class Dataset:
    """Images with their labels, as they lie in the files."""

    images: np.ndarray  # uint8 (N, H, W, C), C = 1 or 3
    labels: np.ndarray  # int64 (N,)
    classes: tuple[str, ...]  # labels index it
    source: str  # one line: where it was read from, and how it was checked


@dataclass(frozen=True)
class Request:
    """What was asked of a data set: `load`'s arguments."""

    root: Path | None
    split: str
    size: int | None
    fit: str
    skip_bad: bool
    seed: int
    say: Callable[[str], None]
    progress: Progress


def _to_stderr(line: str) -> None:
    print(line, file=sys.stderr)


def load(
    name: str,
    *,
    root: str | os.PathLike | None = None,
    split: str = "train",
    size: int | None = None,
    fit: str = "crop",
    skip_bad: bool = False,
    seed: int = 0,
    say: Callable[[str], None] = _to_stderr,
    progress: Progress = progress_bar,
) -> Dataset:
    """The data set `name` (a key of DATASETS).

    root: a folder that holds the data, or for cifar10 the archive; None: the cache folder, else a download.
    split: "train" or "test".  seed: of the drawings of `shapes`.
    size: side of the images. None is the native one (cifar10 and shapes 32, mnist and fashion-mnist 28), 32
    for a folder. Files of another size are resized with Pillow's LANCZOS, which is antialiased; shapes are
    drawn at any size.
    fit, skip_bad: for a folder of pictures, see image_folder.read.
    say receives remarks, one line each; progress (done, total, what).
    Raises WrongUse for a request that cannot be meant, FailedWork if the data cannot be had.
    """
    choose("data set", name, DATASETS)
    choose("split", split, SPLITS)
    choose("fit", fit, FITS)
    if size is not None and not 4 <= size <= 1024:
        raise WrongUse(f"size {size} is out of range; choose from 4 to 1024")
    path = None if root is None else Path(root)
    if path is not None and not path.exists() and name != "shapes":
        raise FailedWork(f"{path}: no such file or folder; expected data set {name} there")
    try:
        data = DATASETS[name](Request(path, split, size, fit, skip_bad, seed, say, progress))
        if size is not None and data.images.shape[1] != size:
            data = Dataset(_resized(data.images, size), data.labels, data.classes, data.source)
    except MemoryError as error:
        raise FailedWork(f"data set {name} does not fit into memory; choose a smaller size") from error
    if len(data.images) == 0:
        raise FailedWork(f"{data.source}: holds no images")
    return data


def find(name: str, root: str | os.PathLike | None = None) -> str | None:
    """Where the training images of `name` would be read from with no download; None: nowhere."""
    choose("data set", name, DATASETS)
    path = None if root is None else Path(root)
    if name == "shapes":
        return "drawn by the program"
    if name == "folder":
        return str(path) if path is not None and path.is_dir() else None
    found = _find_cifar10(path, "train") if name == "cifar10" else _find_idx(name, path, "train")
    return None if found is None else str(found[0])


def cache_folder() -> Path:
    """Where downloads are kept: $MINIGAN_CACHE, else the user's cache folder."""
    chosen = os.environ.get("MINIGAN_CACHE")
    return Path(chosen) if chosen else platformdirs.user_cache_path("minigan")


def _places(name: str, root: Path | None) -> list[Path]:
    """Folders that may hold data set `name`, the likeliest first."""
    bases = [cache_folder(), SYSTEM_FOLDER] if root is None else [root]
    return [place for base in bases for place in (base / name, base)]


def _resized(images: np.ndarray, size: int) -> np.ndarray:
    """Images (N, H, W, C) brought to (N, size, size, C) with LANCZOS, antialiased."""
    resized = np.empty((len(images), size, size, images.shape[3]), np.uint8)
    for image, target in zip(images, resized, strict=True):
        picture = Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)
        target[...] = np.asarray(picture.resize((size, size), Image.Resampling.LANCZOS)).reshape(target.shape)
    return resized


# ---- CIFAR-10 (https://www.cs.toronto.edu/~kriz/cifar.html) ----

CIFAR10_CLASSES = (
    *("airplane", "automobile", "bird", "cat", "deer"),
    *("dog", "frog", "horse", "ship", "truck"),
)
CIFAR10_SPLITS = {"train": tuple(f"data_batch_{i}" for i in range(1, 6)), "test": ("test_batch",)}
CIFAR10_PYTHON = Published(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz", "c58f30108f718f92721af3b95e74349a", 170498071
)
CIFAR10_BINARY_MD5 = "c32a1d4ab5d03f1284b67883e8d87530"  # of cifar-10-binary.tar.gz
CIFAR10_BATCH_MD5 = {  # of the files in the python archive
    "data_batch_1": "c99cafc152244af753f735de768cd75f",
    "data_batch_2": "d4bba439e000b95fd0a9bffe97cbabec",
    "data_batch_3": "54ebc095f3ab1f0389bbae665268c751",
    "data_batch_4": "634d18415352ddfa80567beed471001a",
    "data_batch_5": "482c414d41f54cd18b22e5b47cb7c3cb",
    "test_batch": "40351d587109b95175f43aff81a1287e",
}
MAX_MEMBER = 64 << 20  # bytes; a batch has 31 MB
MAX_ARCHIVE = 512 << 20  # bytes unpacked; the published archives have 186 MB


def cifar10(ask: Request) -> Dataset:
    """32 x 32 photographs of ten classes: 50,000 to train, 10,000 to test (Krizhevsky 2009).

    Reads the python archive (pickles of uint8 (n, 3072), red, green, blue planes) and the binary one
    (records of one label and 3072 bytes), packed or unpacked; the number of images comes from the files.
    """
    found = _find_cifar10(ask.root, ask.split)
    if found is None and ask.root is not None:
        raise FailedWork(
            f"{ask.root}: no CIFAR-10 there for split {ask.split}; looked for cifar-10-python.tar.gz, "
            f"cifar-10-binary.tar.gz, or {listed(CIFAR10_SPLITS[ask.split])} (or the same with .bin), "
            f"also in cifar-10-batches-py, cifar-10-batches-bin and cifar10"
        )
    if found is None:
        path = cache_folder() / "cifar10" / "cifar-10-python.tar.gz"
        ask.say(f"downloading {CIFAR10_PYTHON.url} ({CIFAR10_PYTHON.size / 1e6:.0f} MB) to {path}")
        found = fetch(CIFAR10_PYTHON, path, ask.progress), ""
    path, suffix = found
    names = CIFAR10_SPLITS[ask.split]
    if path.is_dir():
        files = [read_whole(path / (name + suffix), MAX_MEMBER) for name in names]
    else:
        files, suffix = _read_cifar10_archive(path, names)
    read = _binary_batch if suffix else _python_batch
    batches = [read(data, f"{path}: {name}{suffix}") for name, data in zip(names, files, strict=True)]
    checked = "md5 as published"
    if not suffix:
        changed = [n for n, data in zip(names, files, strict=True) if _md5(data) != CIFAR10_BATCH_MD5[n]]
    elif path.is_dir():
        changed, checked = [], "format checked; no md5 is published for these files"
    else:
        changed = [] if md5_of(path) == CIFAR10_BINARY_MD5 else [path.name]
    if changed:
        checked = "md5 not the published one"
        ask.say(f"{path}: md5 of {listed(changed)} is not the published one; the format is right, so used")
    return Dataset(
        np.concatenate([images for images, _ in batches]),
        np.concatenate([labels for _, labels in batches]),
        CIFAR10_CLASSES,
        f"{path} ({checked})",
    )


def _find_cifar10(root: Path | None, split: str) -> tuple[Path, str] | None:
    """A folder with all the split's batches and their suffix, or an archive and ""; None if there is none."""
    if root is not None and root.is_file():
        return root, ""
    for place in _places("cifar10", root):
        for kind, suffix in (("py", ""), ("bin", ".bin")):
            for folder in (place / f"cifar-10-batches-{kind}", place):
                if all((folder / (name + suffix)).is_file() for name in CIFAR10_SPLITS[split]):
                    return folder, suffix
        for kind in ("python", "binary"):
            archive = place / f"cifar-10-{kind}.tar.gz"
            if archive.is_file():
                return archive, ""
    return None


def _read_cifar10_archive(path: Path, names: tuple[str, ...]) -> tuple[list[bytes], str]:
    """The split's files from the python or the binary archive, whichever this is, and their suffix."""
    folders = {"": "cifar-10-batches-py", ".bin": "cifar-10-batches-bin"}
    wanted = {f"{folder}/{n}{suffix}": n + suffix for suffix, folder in folders.items() for n in names}
    files: dict[str, bytes] = {}
    for member, data in tar_members(path, set(wanted), MAX_MEMBER, MAX_ARCHIVE):
        files.setdefault(wanted[member], data)
        for suffix in folders:
            if all(name + suffix in files for name in names):
                return [files[name + suffix] for name in names], suffix
    missing = [name for name in names if name not in files and name + ".bin" not in files]
    raise FailedWork(
        f"{path}: {listed(missing or list(names))} not found in the archive; expected "
        f"cifar-10-batches-py/{names[0]} or cifar-10-batches-bin/{names[0]}.bin and so on"
    )


def _python_batch(data: bytes, file: str) -> tuple[np.ndarray, np.ndarray]:
    """Images (n, 32, 32, 3) and labels (n,) of one pickled batch."""
    batch = pickles.load(data, pickles.numpy_globals(len(data)), file)
    if not isinstance(batch, dict):
        raise FailedWork(f"{file}: holds a {type(batch).__name__}, expected a dict with data and labels")
    # Python 2 wrote the keys as bytes; written again by Python 3 they may be text.
    fields = {key.decode("latin-1") if isinstance(key, bytes) else key: value for key, value in batch.items()}
    planes = getattr(fields.get("data"), "array", None)
    labels = fields.get("labels")
    if planes is None or planes.dtype != np.uint8 or planes.ndim != 2 or planes.shape[1] != 3072:
        raise FailedWork(f"{file}: its 'data' is not an array of uint8 (n, 3072)")
    if not isinstance(labels, list) or len(labels) != len(planes):
        raise FailedWork(f"{file}: its 'labels' are not a list of {len(planes)}, one for each image")
    if not all(type(label) is int and 0 <= label < 10 for label in labels):
        raise FailedWork(f"{file}: its 'labels' are not all numbers from 0 to 9")
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


# ---- MNIST and Fashion-MNIST (IDX files: http://yann.lecun.com/exdb/mnist) ----


@dataclass(frozen=True)
class IdxFile:
    """One of the four files, as published; `unpacked_md5` is that of the content without gzip."""

    published: Published
    unpacked_md5: str


def _idx_files(url: str, rows: tuple[tuple[str, str, int, str], ...]) -> dict[str, IdxFile]:
    return {name: IdxFile(Published(f"{url}{name}.gz", md5, n), plain) for name, md5, n, plain in rows}


IDX_FILES = {
    "mnist": _idx_files(
        "https://ossci-datasets.s3.amazonaws.com/mnist/",
        (
            ("train-images-idx3-ubyte", "f68b3c2dcbeaaa9fbdd348bbdeb94873", 9912422,
             "6bbc9ace898e44ae57da46a324031adb"),
            ("train-labels-idx1-ubyte", "d53e105ee54ea40749a09fcbcd1e9432", 28881,
             "a25bea736e30d166cdddb491f175f624"),
            ("t10k-images-idx3-ubyte", "9fb629c4189551a2d022fa330f9573f3", 1648877,
             "2646ac647ad5339dbf082846283269ea"),
            ("t10k-labels-idx1-ubyte", "ec29112dd5afa0611ce80d1b7f02629c", 4542,
             "27ae3e4e09519cfbb04c329615203637"),
        ),
    ),
    "fashion-mnist": _idx_files(
        "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com/",
        (
            ("train-images-idx3-ubyte", "8d4fb7e6c68d591d4c3dfef9ec88bf0d", 26421880,
             "f4a8712d7a061bf5bd6d2ca38dc4d50a"),
            ("train-labels-idx1-ubyte", "25c81989df183df01b3e8a0aad5dffbe", 29515,
             "9018921c3c673c538a1fc5bad174d6f9"),
            ("t10k-images-idx3-ubyte", "bef4ecab320f06d8554ea6380940ec79", 4422102,
             "8181f5470baa50b63fa0f6fddb340f0a"),
            ("t10k-labels-idx1-ubyte", "bb300cfdad3c16e7a12a480ee83cd310", 5148,
             "15d484375f8d13e6eb1aabb0c3f46965"),
        ),
    ),
}  # fmt: skip
MAX_IDX = 1 << 30  # bytes unpacked; the largest published file has 47 MB


def mnist(ask: Request) -> Dataset:
    """28 x 28 grey handwritten digits: 60,000 to train, 10,000 to test (LeCun et al. 1998)."""
    return _idx_dataset("mnist", tuple("0123456789"), ask)


def fashion_mnist(ask: Request) -> Dataset:
    """28 x 28 grey photographs of clothing, in MNIST's format (Xiao, Rasul and Vollgraf 2017)."""
    classes = (
        *("T-shirt/top", "Trouser", "Pullover", "Dress", "Coat"),
        *("Sandal", "Shirt", "Sneaker", "Bag", "Ankle boot"),
    )
    return _idx_dataset("fashion-mnist", classes, ask)


def _idx_dataset(name: str, classes: tuple[str, ...], ask: Request) -> Dataset:
    wanted = _idx_names(ask.split)
    paths = _find_idx(name, ask.root, ask.split)
    if paths is None and ask.root is not None:
        raise FailedWork(
            f"{ask.root}: no {name} there for split {ask.split}; looked for {wanted[0]} and {wanted[1]} "
            f"(with or without .gz), also in {name}"
        )
    if paths is None:
        folder = cache_folder() / name
        paths = tuple(folder / f"{file}.gz" for file in wanted)
        for file, path in zip(wanted, paths, strict=True):
            if not path.is_file():
                published = IDX_FILES[name][file].published
                ask.say(f"downloading {published.url} ({published.size / 1e6:.1f} MB) to {path}")
                fetch(published, path, ask.progress)
    images, images_md5 = _read_idx(paths[0], 3)
    labels, labels_md5 = _read_idx(paths[1], 1)
    if images.shape[1:] != (28, 28):
        raise FailedWork(f"{paths[0]}: images of {images.shape[1]} x {images.shape[2]}, expected 28 x 28")
    if len(images) != len(labels):
        raise FailedWork(f"{paths[0]}: {len(images)} images, but {paths[1].name} has {len(labels)} labels")
    if labels.max(initial=0) > 9:
        raise FailedWork(f"{paths[1]}: holds label {labels.max()}, expected 0 to 9")
    changed = [
        path.name
        for path, file, md5 in zip(paths, wanted, (images_md5, labels_md5), strict=True)
        if md5 != IDX_FILES[name][file].unpacked_md5
    ]
    if changed:
        ask.say(
            f"{paths[0].parent}: the md5 of what {listed(changed)} unpack to is not {name}'s published one; "
            f"the format is right, so used"
        )
    checked = "md5 not the published one" if changed else "content's md5 as published"
    return Dataset(images[..., None], labels.astype(np.int64), classes, f"{paths[0]} ({checked})")


def _idx_names(split: str) -> tuple[str, str]:
    start = {"train": "train", "test": "t10k"}[split]
    return f"{start}-images-idx3-ubyte", f"{start}-labels-idx1-ubyte"


def _find_idx(name: str, root: Path | None, split: str) -> tuple[Path, ...] | None:
    """The paths of the split's images and labels, or None."""
    for place in _places(name, root):
        paths = []
        for file in _idx_names(split):
            paths += [path for path in (place / f"{file}.gz", place / file) if path.is_file()][:1]
        if len(paths) == 2:
            return tuple(paths)
    return None


def _read_idx(path: Path, ndim: int) -> tuple[np.ndarray, str]:
    """The uint8 array of an IDX file, gzipped or not, and the md5 of its content.

    The format: two zero bytes, 8 for uint8, the number of axes, each axis as 4 bytes (big-endian), the data.
    """
    with reading(path) as stream:
        head = take(stream, 4 + 4 * ndim, path)
        if head[:4] != bytes((0, 0, 8, ndim)):
            raise FailedWork(
                f"{path}: begins with {head[:4].hex(' ')}, expected 00 00 08 {ndim:02x} "
                f"(an IDX file of bytes with {ndim} axes)"
            )
        shape = struct.unpack(f">{ndim}I", head[4:])
        if prod(shape) > MAX_IDX:
            raise FailedWork(f"{path}: promises {prod(shape)} bytes, expected at most {MAX_IDX}")
        data = take(stream, prod(shape), path)
        if stream.read(1):
            raise FailedWork(f"{path}: holds more than the {prod(shape)} bytes that its header promises")
    return np.frombuffer(data, np.uint8).reshape(shape), _md5(head + data)


def _md5(data: bytes) -> str:
    return hashlib.md5(data, usedforsecurity=False).hexdigest()


# ---- pictures of one's own, and drawings ----


def folder(ask: Request) -> Dataset:
    """Any folder of pictures, brought to ask.size (default 32) x the same: see image_folder.read."""
    if ask.root is None:
        raise WrongUse("data set 'folder' needs to know which folder; give it with --data-root")
    if not ask.root.is_dir():
        raise WrongUse(f"{ask.root}: is a file, expected a folder of pictures")
    if ask.split != "train":
        raise WrongUse(f"a folder of pictures has no split '{ask.split}'; choose from: train")
    images, labels, classes, checked = image_folder.read(
        ask.root, ask.size or 32, ask.fit, ask.skip_bad, ask.say, ask.progress
    )
    return Dataset(images, labels, classes, f"{ask.root} ({checked})")


def shapes(ask: Request) -> Dataset:
    """Ten kinds of drawings made by code, see shapes.py: 20,000 to train, 10,000 to test; no files needed."""
    n = {"train": 20_000, "test": 10_000}[ask.split]
    images, labels = drawings.draw(n, ask.size or 32, ask.seed, ask.split)
    return Dataset(images, labels, drawings.CLASSES, f"drawn by the program (seed {ask.seed}, {ask.split})")


DATASETS: dict[str, Callable[[Request], Dataset]] = {
    "cifar10": cifar10,
    "fashion-mnist": fashion_mnist,
    "folder": folder,
    "mnist": mnist,
    "shapes": shapes,
}
