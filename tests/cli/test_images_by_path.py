"""minigan train PATH: a folder, a zip archive, an .npz or a packed file, as with --data-root; and its labels."""

import zipfile

import numpy as np
import pytest
from PIL import Image
from tiny import pictures, words

from minigan.cli import main
from minigan.data.datasets import Named, named
from minigan.errors import WrongUse
from minigan.training import restore


def by_path(path, out, **chosen) -> list[str]:
    """The words of a tiny run on what is at a path."""
    long = words("", out, **chosen)
    at = long.index("--data-root")
    return ["train", str(path), *long[2:at], *long[at + 2:], "-q"]


@pytest.fixture
def stores(tmp_path):
    """The same images as a folder, a zip archive and an .npz."""
    folder = pictures(tmp_path / "photos")
    files = sorted(folder.iterdir())
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as archive:
        for file in files:
            archive.write(file, file.name)
    np.savez(tmp_path / "a.npz", images=np.stack([np.asarray(Image.open(file)) for file in files]))
    return {"folder": folder, "zip": tmp_path / "a.zip", "npz": tmp_path / "a.npz"}


def test_a_path_is_the_same_run_as_its_data_root(stores, tmp_path):
    assert main.run([*words(stores["folder"], tmp_path / "long"), "-q"]) == 0
    expected = (tmp_path / "long" / "samples.png").read_bytes()
    for kind, path in stores.items():
        assert main.run(by_path(path, tmp_path / kind)) == 0
        assert (tmp_path / kind / "samples.png").read_bytes() == expected
        e = restore.newest(tmp_path / kind).e
        assert (e.dataset, e.data_root) == ("folder", str(path))


def test_a_packed_file_is_trained_on_by_its_path(stores, tmp_path):
    assert main.run(["pack", "folder", str(tmp_path / "p.h5"), "--data-root", str(stores["npz"]), "--size", "16",
                     "-q"]) == 0
    assert main.run(by_path(tmp_path / "p.h5", tmp_path / "run")) == 0
    assert restore.newest(tmp_path / "run").e.dataset == "packed"


@pytest.mark.parametrize("labels", [{"labels": np.arange(24) % 3}, {"y": np.eye(3)[np.arange(24) % 3]},
                                    {"arr_1": np.arange(24) % 3}], ids=["labels", "one-hot", "ADM"])
def test_an_npz_files_own_labels_condition_the_networks(labels, stores, tmp_path):
    images = np.load(stores["npz"])["images"]
    np.savez(tmp_path / "b.npz", images=images, **labels)
    for path, out in ((tmp_path / "b.npz", "of_npz"), (tmp_path / "classes", "of_folder")):
        for i, image in enumerate(images):  # the same images in class folders, in the order of the labels
            (tmp_path / "classes" / str(i % 3)).mkdir(parents=True, exist_ok=True)
            Image.fromarray(image).save(tmp_path / "classes" / str(i % 3) / f"{i:02}.png")
        assert main.run(by_path(path, tmp_path / out, condition="projection")) == 0
    assert restore.newest(tmp_path / "of_npz").classes == restore.newest(tmp_path / "of_folder").classes == 3


def test_labels_change_no_byte_of_a_run_that_does_not_ask_for_them(stores, tmp_path):
    np.savez(tmp_path / "b.npz", images=np.load(stores["npz"])["images"], labels=np.arange(24) % 3)
    for path in (stores["npz"], tmp_path / "b.npz"):
        assert main.run(by_path(path, tmp_path / path.stem)) == 0
    assert (tmp_path / "a" / "samples.png").read_bytes() == (tmp_path / "b" / "samples.png").read_bytes()


def test_a_name_that_is_both_is_the_data_set_and_that_is_said(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    pictures(tmp_path / "shapes")
    assert main.run(["explain", "shapes"]) == 0
    out, error = capsys.readouterr()
    assert out.startswith("data set            shapes\n") and "./shapes would be that" in error
    assert named("./shapes") == Named("folder", tmp_path / "shapes") or named("./shapes").root.samefile("shapes")


def test_a_split_may_follow_a_name():
    assert named("cifar10:test") == Named("cifar10", None, "test")


@pytest.mark.parametrize("word, said", [
    ("photo", "or a path: a folder, a zip archive"), ("no/photos", "no/photos: no such file or folder, and no data"),
    ("a.npz", "a.npz: no such file"), ("notes.txt", "is a file; expected"), ("page.zip", "is an HTML page")])
def test_a_word_that_names_nothing_is_refused(word, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "notes.txt").write_text("nothing")
    (tmp_path / "page.zip").write_text("<html>")
    with pytest.raises(WrongUse) as caught:
        named(word)
    assert said in str(caught.value) and "\n" not in str(caught.value)


def test_a_run_and_a_place_said_twice_are_refused(stores, tmp_path, capsys):
    assert main.run(by_path(stores["npz"], tmp_path / "run")) == 0
    assert main.run(["train", str(tmp_path / "run")]) == 2
    assert f"minigan train --resume {tmp_path / 'run'}" in capsys.readouterr().err
    assert main.run(["train", str(stores["npz"]), "--data-root", "x"]) == 2
    assert "leave --data-root out" in capsys.readouterr().err
    assert main.run(["train", "cifar10:test", "--split", "train"]) == 2
