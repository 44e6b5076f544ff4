"""CIFAR-100, SVHN, STL-10, CelebA and ImageNet from files written here in their published formats; then broken ones."""

import gzip
import io
import re
import struct
import tarfile
import tracemalloc
import zipfile
import zlib
from pathlib import Path

import numpy as np
import pytest
from cifar_pickles import py2_batch
from PIL import Image
from published_files import archive, planes, put, read, refused, tar_header, write_tar

from minigan.data import dataset, datasets, stl10, svhn
from minigan.data.cifar import CIFAR100_CLASSES
from minigan.data.datasets import find, open_source
from minigan.data.resize import resized
from minigan.formats.download import Published

# ---- resampling ----


def test_plain_at_half_the_size_is_the_rounded_mean_of_two_by_two():
    images = np.random.default_rng(3).integers(0, 256, (3, 10, 10, 3), np.uint8)
    mean = images.astype(float).reshape(3, 5, 2, 5, 2, 3).mean((2, 4))
    np.testing.assert_array_equal(resized(images, 5, "plain"), np.floor(mean + 0.5))


@pytest.mark.parametrize("size", [3, 7, 9, 20])
def test_plain_weighs_the_four_pixels_around(size):
    images = np.random.default_rng(4).integers(0, 256, (1, 9, 14, 3), np.uint8)
    expected = np.empty((size, size, 3))
    for i, j in np.ndindex(size, size):
        y, x = (min(max((k + 0.5) * n / size - 0.5, 0), n - 1) for k, n in ((i, 9), (j, 14)))
        top, left = int(y), int(x)
        bottom, right = min(top + 1, 8), min(left + 1, 13)
        corners = images[0, [[top, top], [bottom, bottom]], [[left, right]] * 2].astype(float)
        weights = np.outer([1 - (y - top), y - top], [1 - (x - left), x - left])[..., None]
        expected[i, j] = (corners * weights).sum((0, 1))
    made = resized(images, size, "plain")[0].astype(float)
    assert np.abs(made - expected).max() < 0.501  # rounded; float32 on the way


@pytest.mark.parametrize("how", ["bilinear", "lanczos"])
@pytest.mark.parametrize("channels", [1, 3])
def test_the_others_are_pillows(how, channels):
    method = Image.Resampling[how.upper()]
    images = np.random.default_rng(5).integers(0, 256, (2, 12, 12, channels), np.uint8)
    one = np.asarray(Image.fromarray(images[1].squeeze()).resize((7, 7), method)).reshape(7, 7, channels)
    np.testing.assert_array_equal(resized(images, 7, how)[1], one)


# ---- CIFAR-100 ----


def cifar100_file(images: np.ndarray, labels: list[int]) -> bytes:
    """As cPickle writes it, with the other entries of the published files: names, coarse labels."""
    data = py2_batch(planes(images), labels)
    assert data.count(b"U\x06labels") == 1 and data.endswith(b"u.")
    names = b"U\x09filenames](" + b"U\x05a.png" * len(labels) + b"e"
    coarse = b"U\x0dcoarse_labels](" + b"K\x03" * len(labels) + b"e"
    return data[:-2].replace(b"U\x06labels", b"U\x0bfine_labels") + names + coarse + b"u."


@pytest.fixture
def hundred() -> dict[str, tuple[np.ndarray, list[int]]]:
    rng = np.random.default_rng(6)
    return {split: (rng.integers(0, 256, (n, 32, 32, 3), np.uint8), rng.integers(0, 100, n).tolist())
            for split, n in (("train", 7), ("test", 5))}


@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize("split", ["train", "test"])
def test_cifar100_gives_the_fine_labels(packed, split, hundred, tmp_path, said):  # noqa: F811
    files = {name: cifar100_file(*content) for name, content in hundred.items()} | {"meta": b"not read"}
    if packed:
        root = archive(tmp_path / "root" / "cifar-100-python.tar.gz", files, "cifar-100-python").parent
    else:
        root = put(tmp_path / "root" / "cifar-100-python", files).parent
    data = read("cifar100", root, said, split=split)
    np.testing.assert_array_equal(data.images, hundred[split][0])
    assert data.labels.tolist() == hundred[split][1] and data.labelled
    assert len(said) == 1 and "not the published" in said[0]


def test_cifar100_has_a_hundred_classes_in_the_order_of_the_alphabet():
    assert len(set(CIFAR100_CLASSES)) == 100 and list(CIFAR100_CLASSES) == sorted(CIFAR100_CLASSES)
    assert CIFAR100_CLASSES[0] == "apple" and CIFAR100_CLASSES[99] == "worm"


def test_cifar100_is_downloaded_if_it_is_nowhere(cache, hundred, said, monkeypatch):  # noqa: F811
    def fetched(published: Published, path: Path, progress: object) -> Path:
        assert published.size == 169001437
        files = {name: cifar100_file(*content) for name, content in hundred.items()}
        return archive(path, files, "cifar-100-python")

    monkeypatch.setattr(dataset, "fetch", fetched)
    assert len(read("cifar100", None, said).images) == 7
    assert "downloading https://www.cs.toronto.edu/~kriz/cifar-100-python.tar.gz (169 MB)" in said[0]
    assert find("cifar100") == str(cache / "cifar100" / "cifar-100-python.tar.gz")


def test_cifar100_that_is_absent_or_cifar10_is_refused(hundred, tmp_path):
    (tmp_path / "empty").mkdir()
    line = refused("cifar100", tmp_path / "empty")
    assert "looked for cifar-100-python.tar.gz, or train, also in cifar-100-python and cifar100" in line
    root = put(tmp_path / "root", {"train": py2_batch(planes(hundred["train"][0]), hundred["train"][1])})
    assert "its 'fine_labels' are not a list of 7" in refused("cifar100", root)
    root = put(tmp_path / "more", {"train": cifar100_file(hundred["train"][0], [100] * 7)})
    assert "0 to 99" in refused("cifar100", root)


# ---- SVHN ----


def element(kind: int, data: bytes, order: str = "<") -> bytes:
    if len(data) <= 4:  # in the tag itself
        words = (kind, len(data)) if order == "<" else (len(data), kind)
        return struct.pack(f"{order}2H", *words) + data.ljust(4, b"\0")
    return struct.pack(f"{order}2I", kind, len(data)) + data + bytes(-len(data) % 8)


def matrix(name: str, array: np.ndarray, order: str = "<", code: int | None = None) -> bytes:
    kind, number = {"u1": (9, 2), "f8": (6, 9)}[array.dtype.str[1:]]
    flags = struct.pack(f"{order}2I", kind, 0)
    shape = struct.pack(f"{order}{array.ndim}i", *array.shape)
    data = array.astype(array.dtype.newbyteorder(order)).tobytes("F")
    return element(14, element(6, flags, order) + element(5, shape, order) + element(1, name.encode(), order)
                   + element(code or number, data, order), order)


def mat(*elements: bytes, order: str = "<", zipped: bool = True) -> bytes:
    head = b"MATLAB 5.0 MAT-file, Platform: GLNXA64".ljust(124)
    head += struct.pack(f"{order}H", 0x0100) + (b"IM" if order == "<" else b"MI")
    if zipped:
        elements = tuple(struct.pack(f"{order}2I", 15, len(z)) + z for z in map(zlib.compress, elements))
    return head + b"".join(elements)


@pytest.fixture
def numbers() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(7)
    return rng.integers(0, 256, (32, 32, 3, 5), np.uint8), np.array([[1], [10], [9], [2], [10]], np.uint8)


@pytest.mark.parametrize("order", ["<", ">"])
@pytest.mark.parametrize("zipped", [True, False])
@pytest.mark.parametrize("doubles", [True, False])
@pytest.mark.parametrize("split", ["train", "test", "extra"])
def test_svhn_is_read(order, zipped, doubles, split, numbers, tmp_path, said):  # noqa: F811
    X, y = numbers
    other = matrix("other", np.arange(9.0), order)
    file = mat(other, matrix("X", X, order), matrix("y", y.astype("f8" if doubles else "u1"), order), order=order,
               zipped=zipped)
    data = read("svhn", put(tmp_path / "root", {f"{split}_32x32.mat": file}), said, split=split)
    for i in range(5):
        np.testing.assert_array_equal(data.images[i], X[..., i])
    assert data.labels.tolist() == [1, 0, 9, 2, 0] and data.classes[9] == "9"
    assert len(said) == 1 and "md5 is not the published" in said[0]
    assert find("svhn", tmp_path / "root") == (str(tmp_path / "root/train_32x32.mat") if split == "train" else None)


def test_svhn_is_read_as_scipy_writes_it(numbers, tmp_path):
    scipy_io = pytest.importorskip("scipy.io")
    X, y = numbers
    for i, compressed in enumerate((True, False)):
        (tmp_path / str(i)).mkdir()
        scipy_io.savemat(tmp_path / str(i) / "train_32x32.mat", {"X": X, "y": y}, do_compression=compressed)
        data = read("svhn", tmp_path / str(i))
        np.testing.assert_array_equal(data.images, X.transpose(3, 0, 1, 2))
        assert data.labels.tolist() == [1, 0, 9, 2, 0]


def damaged_svhn(X: np.ndarray, y: np.ndarray) -> dict[str, bytes]:
    whole = mat(matrix("X", X), matrix("y", y))
    bomb = zlib.compress(matrix("X", X)[:-100] + bytes(300_000_000), 1)
    shape = struct.pack("<4i", 32, 32, 3, 5)
    lying, longer = (matrix("X", X).replace(shape, struct.pack("<4i", 32, 32, 3, n)) for n in (1 << 30, 6))
    return {
        "not a MATLAB file": b"x" * 500, "cut off": whole[:2000], "cut off ": whole[:60],
        "holds the arrays X, expected": mat(matrix("X", X)),
        "holds the arrays none": mat(), "5 images, but 4 labels": mat(matrix("X", X), matrix("y", y[:4])),
        "other numbers": mat(matrix("X", X), matrix("y", y + 1)),
        "expected uint8": mat(matrix("X", X.astype("f8")), matrix("y", y)),
        "expected uint8 ": mat(matrix("X", X[:31]), matrix("y", y)),
        "of type 16": mat(matrix("X", X, code=16), matrix("y", y)),
        "has the shape (32, 32, 3, 1073741824)": mat(lying, matrix("y", y)),
        "bytes of uint8": mat(longer, matrix("y", y)),
        "broken or cut off (Error -3": whole[:300] + bytes(40) + whole[340:],
        "holds the arrays X, expected X and y": mat(matrix("X", X)) + struct.pack("<2I", 15, len(bomb)) + bomb,
        "version 5": whole[:124] + b"\x00\x02IM" + whole[128:],
    }


@pytest.mark.parametrize("named", sorted(damaged_svhn(np.zeros((32, 32, 3, 5), np.uint8), np.ones((5, 1), np.uint8))))
def test_a_mat_file_of_another_form_is_refused(named, numbers, tmp_path):
    root = put(tmp_path / "root", {"train_32x32.mat": damaged_svhn(*numbers)[named]})
    tracemalloc.start()
    line = refused("svhn", root)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert named.strip() in line and "train_32x32.mat" in line
    assert peak < 8_000_000


def test_svhn_that_is_absent_says_where_to_get_it(tmp_path):
    (tmp_path / "empty").mkdir()
    assert "get it from http://ufldl.stanford.edu/housenumbers/test_32x32.mat" in refused(
        "svhn", tmp_path / "empty", split="test")
    assert svhn.SVHN_FILES["extra"].size == 1329278602


# ---- STL-10 ----


@pytest.fixture
def birds() -> dict[str, np.ndarray]:
    rng = np.random.default_rng(8)
    return {"unlabeled": rng.integers(0, 256, (7, 96, 96, 3), np.uint8),
            "train": rng.integers(0, 256, (3, 96, 96, 3), np.uint8)}


def stl10_files(birds: dict[str, np.ndarray]) -> dict[str, bytes]:
    """Each image as three planes, each plane column by column; labels from 1 on."""
    files = {f"{split}_X.bin": b"".join(image[:, :, c].T.tobytes() for image in images for c in range(3))
             for split, images in birds.items()}
    return {**files, "train_y.bin": bytes([1, 10, 3])}


def stl10_root(form: str, root: Path, files: dict[str, bytes]) -> Path:
    if form == "archive":
        return archive(root / "stl10_binary.tar.gz", files, "stl10_binary").parent
    return put(root / "stl10_binary", files).parent


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_stl10_takes_the_unlabeled_ones_at_48_pixels(form, birds, tmp_path, monkeypatch):
    monkeypatch.setattr(stl10, "BLOCK", 3)
    root = stl10_root(form, tmp_path / "root", stl10_files(birds))
    data = read("stl10", root)
    mean = birds["unlabeled"].astype(float).reshape(7, 48, 2, 48, 2, 3).mean((2, 4))
    np.testing.assert_array_equal(data.images, np.floor(mean + 0.5))
    assert data.classes == () and (data.labels == -1).all() and not data.labelled
    smooth = read("stl10", root, resize="bilinear").images[3]
    picture = Image.fromarray(birds["unlabeled"][3]).resize((48, 48), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(smooth, np.asarray(picture))
    whole = read("stl10", root, split="train", size=96)
    np.testing.assert_array_equal(whole.images, birds["train"])
    assert whole.labels.tolist() == [0, 9, 2] and whole.classes[9] == "truck" and whole.labelled
    assert find("stl10", root) is not None


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_a_source_goes_on_from_any_picture(form, birds, tmp_path, monkeypatch):
    monkeypatch.setattr(stl10, "BLOCK", 3)
    source = open_source("stl10", root=stl10_root(form, tmp_path / "root", stl10_files(birds)), size=96)
    for start in range(8):
        parts = list(source.blocks(start))
        rows = np.concatenate([index for _, _, index in parts]) if parts else []
        assert list(rows) == list(range(start, 7))
        for end, images, index in parts:
            assert end == index[-1] + 1
            np.testing.assert_array_equal(images, birds["unlabeled"][index])


@pytest.mark.parametrize("form", ["archive", "folder"])
def test_stl10_that_is_broken_is_refused(form, birds, tmp_path):
    files = stl10_files(birds)
    cases = {
        "no multiple of 27648": files | {"unlabeled_X.bin": files["unlabeled_X.bin"][:-1]},
        "holds no images": files | {"unlabeled_X.bin": b""},
    }
    for i, (named, content) in enumerate(cases.items()):
        assert named in refused("stl10", stl10_root(form, tmp_path / str(i), content))
    for labels, named in ((b"\1\2", "3 images in train_X.bin, but 2 labels"), (b"\1\2\0", "other labels")):
        root = stl10_root(form, tmp_path / f"y{len(labels)}", files | {"train_y.bin": labels})
        assert named in refused("stl10", root, split="train")


def test_stl10_that_is_absent_or_cut_off_is_refused(birds, tmp_path):
    (tmp_path / "empty").mkdir()
    line = refused("stl10", tmp_path / "empty")
    assert "looked for stl10_binary.tar.gz or unlabeled_X.bin, also in" in line and "http://ai.stanford.edu" in line
    root = stl10_root("archive", tmp_path / "root", stl10_files(birds))
    path = root / "stl10_binary.tar.gz"
    path.write_bytes(path.read_bytes()[:-30_000])
    assert "cut off" in refused("stl10", root)
    with tarfile.open(path, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("stl10_binary/other"), io.BytesIO())
    assert "stl10_binary/unlabeled_X.bin not found in the archive" in refused("stl10", root)


def test_an_archive_cannot_ask_for_memory_or_a_place(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    name = "stl10_binary/unlabeled_X.bin"
    for header, named in ((tar_header(name, 0, b"2", "/etc/passwd"), "is a link"),
                          (tar_header(name, 27648 * 100_000), "cut off"), (tar_header(name, 5 << 30), "unpack to more"),
                          (tar_header("../" + name, 0), "not found")):
        write_tar(root / "stl10_binary.tar.gz", header)
        tracemalloc.start()
        line = refused("stl10", root)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        # A source knows the size before the content: memory for the result of 48 pixels is counted, but not touched.
        assert named in line and (peak < 20_000_000 or named == "cut off")
    assert sorted(tmp_path.rglob("*")) == [root, root / "stl10_binary.tar.gz"]


# ---- CelebA ----


@pytest.fixture
def faces(tmp_path) -> tuple[Path, np.ndarray]:
    """Four pictures of 178 x 218 in a folder and in a zip archive (PNG inside, so that pixels can be compared)."""
    images = np.random.default_rng(9).integers(0, 256, (4, 218, 178, 3), np.uint8)
    folder = tmp_path / "root" / "img_align_celeba"
    folder.mkdir(parents=True)
    with zipfile.ZipFile(tmp_path / "img_align_celeba.zip", "w") as file:
        file.writestr("img_align_celeba/", "")
        for i in (2, 0, 3, 1):
            path = folder / f"{i:06}.jpg"
            Image.fromarray(images[i]).save(path, "PNG")
            file.write(path, f"img_align_celeba/{i:06}.jpg")
    return tmp_path, images


@pytest.mark.parametrize("form", ["root", "root/img_align_celeba", "img_align_celeba.zip", ""])
def test_celeba_has_the_crops_of_both_sources(form, faces):
    root = faces[0] / form
    if form == "":
        (root / "root").rename(root / "elsewhere")
    bssn = read("celeba", root)
    middle = faces[1][:, 45:173, 25:153].astype(float).reshape(4, 64, 2, 64, 2, 3).mean((2, 4))
    np.testing.assert_array_equal(bssn.images, np.floor(middle + 0.5))
    assert (bssn.labels == -1).all() and bssn.classes == ()
    mimicry = read("celeba", root, crop=178, resize="bilinear").images
    for image, made in zip(faces[1], mimicry, strict=True):
        picture = Image.fromarray(image[20:198]).resize((64, 64), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(made, np.asarray(picture))
    assert find("celeba", root) is not None


def test_celeba_that_is_absent_or_broken_is_refused(faces, tmp_path):
    (tmp_path / "empty").mkdir()
    assert "looked for img_align_celeba.zip and a folder img_align_celeba" in refused("celeba", tmp_path / "empty")
    assert "mmlab.ie.cuhk.edu.hk" in refused("celeba", None)
    path = faces[0] / "img_align_celeba.zip"
    whole = path.read_bytes()
    path.write_bytes(whole[:-200])
    assert "not a zip archive, or cut off" in refused("celeba", path)
    at = whole.index(b"IDAT", 3000) + 500
    path.write_bytes(whole[:at] + bytes(80) + whole[at + 80:])
    line = refused("celeba", path)
    assert "1 of 4 pictures cannot be used: img_align_celeba/00000" in line and "--skip-bad" in line
    assert len(read("celeba", path, skip_bad=True).images) == 3
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("readme.txt", "")
    assert "no pictures" in refused("celeba", path)
    assert "smaller than the crop of 200 x 200" in refused("celeba", faces[0] / "root", crop=200)


def test_a_zip_archive_can_neither_name_a_path_nor_fill_the_memory(tmp_path, monkeypatch):
    path = tmp_path / "img_align_celeba.zip"
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("../../evil.jpg", bytes(300_000_000))
    monkeypatch.setattr("minigan.data.image_folder.MAX_FILE", 1 << 20)
    tracemalloc.start()
    line = refused("celeba", path)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert "unpacks to more than 1048576 bytes" in line and peak < 10_000_000
    assert sorted(tmp_path.iterdir()) == [path]


# ---- ImageNet ----


@pytest.fixture
def kinds(tmp_path) -> tuple[Path, list[np.ndarray]]:
    rng = np.random.default_rng(10)
    images = []
    for name, shape in (("n02000000/b.JPEG", (150, 201)), ("n01440764/z.JPEG", (257, 256)),
                        ("n02000000/a.png", (90, 60))):
        path = tmp_path / "root" / "train" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        images.append(rng.integers(0, 256, (*shape, 3), np.uint8))
        Image.fromarray(images[-1]).save(path, "PNG")
    return tmp_path / "root", images


@pytest.mark.parametrize("below", ["", "train"])
def test_imagenet_takes_the_square_in_the_middle_and_labels_by_sorted_folder(below, kinds):
    root, (b, z, a) = kinds
    data = read("imagenet", root / below)
    assert data.classes == ("n01440764", "n02000000") and data.labels.tolist() == [0, 1, 1]
    squares = (z[0:256], a[15:75], b[:, 25:175])  # the middle, rounded down as in both sources
    for made, square in zip(data.images, squares, strict=True):
        picture = Image.fromarray(np.ascontiguousarray(square)).resize((128, 128), Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(made, np.asarray(picture))
    plain = read("imagenet", root / below, resize="plain").images
    mean = z[0:256].astype(float).reshape(128, 2, 128, 2, 3).mean((1, 3))
    np.testing.assert_array_equal(plain[0], np.floor(mean + 0.5))


def test_imagenet_that_is_absent_is_said_with_the_folders_that_were_looked_for(kinds, tmp_path):
    line = refused("imagenet", kinds[0], split="test")
    assert "looked for class folders (n01440764 and so on) in val" in line
    (kinds[0] / "val").symlink_to(kinds[0] / "train")
    assert len(read("imagenet", kinds[0], split="test").images) == 3
    (tmp_path / "empty").mkdir()
    assert "in train and itself, also in imagenet" in refused("imagenet", tmp_path / "empty")


# ---- all of them ----


def test_a_set_that_would_fill_the_memory_is_to_be_packed(kinds, monkeypatch):
    monkeypatch.setattr("os.sysconf", lambda name: 1 if name == "SC_PAGE_SIZE" else 100_000)
    line = refused("imagenet", kinds[0])
    assert "minigan pack imagenet FILE.h5" in line and "minigan train packed --data-root FILE.h5" in line
    assert re.search(r"3 pictures take 0\.0 GiB", line)


def test_wrong_choices_name_the_right_ones(kinds):
    assert "has no split 'valid'; choose from: extra, test, train" in refused(
        "svhn", None, datasets.WrongUse, split="valid")
    assert "bilinear, lanczos, plain" in refused("imagenet", kinds[0], datasets.WrongUse, resize="cubic")
    assert "takes no crop" in refused("imagenet", kinds[0], datasets.WrongUse, crop=64)
    assert "4 to 1024" in refused("celeba", kinds[0], datasets.WrongUse, crop=2)


def test_gzip_around_a_mat_file_is_data_too(numbers, tmp_path):
    X, y = numbers
    file = gzip.compress(mat(matrix("X", X), matrix("y", y)))
    assert len(read("svhn", put(tmp_path / "root", {"train_32x32.mat": file})).images) == 5
