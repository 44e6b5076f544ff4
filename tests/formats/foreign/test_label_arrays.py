"""Labels beside the images of an .npz file: those of other programs are the same labels, and anything else is said."""

import zipfile

import numpy as np
import pytest

from minigan.formats.foreign.label_arrays import read_labels

TRUE = [2, 0, 1, 1, 0]

# What programs write of the same labels -> their classes.
WAYS = {
    "plain": ({"labels": TRUE}, "012"),
    "ADM": ({"arr_0": np.zeros((5, 4, 4, 3)), "arr_1": np.array(TRUE, np.int32)}, "012"),
    "BigGAN and Keras": ({"y": np.array(TRUE, np.uint8)}, "012"),
    "a column": ({"y": np.array(TRUE)[:, None]}, "012"),
    "whole floats": ({"labels": np.array(TRUE, np.float32)}, "012"),
    "one-hot": ({"labels": np.eye(3, dtype=np.float32)[TRUE]}, "012"),
    "one-hot in Fortran's order, with a class without images": ({"labels": np.asfortranarray(np.eye(4)[TRUE])}, "0123"),
    "named classes": ({"labels": TRUE, "class_names": ["a", "b", "c"]}, "abc"),
    "named classes, one-hot": ({"labels": np.eye(3)[TRUE], "classes": np.array([b"a", b"b", b"c"])}, "abc"),
    "names": ({"labels": [("a", "b", "c")[i] for i in TRUE]}, "abc"),
}


@pytest.mark.parametrize("way", WAYS)
def test_other_programs_labels_are_the_same(way, tmp_path):
    arrays, classes = WAYS[way]
    np.savez(tmp_path / "a.npz", **arrays)
    said = []
    labels, found = read_labels(tmp_path / "a.npz", 5, said.append)
    assert labels.dtype == np.int64 and labels.tolist() == TRUE and found == tuple(classes)
    assert f"labels of {len(classes)} classes" in said[-1]


def test_without_labels_there_are_none_and_nothing_is_said(tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((5, 4, 4, 3)), z=np.zeros((5, 2)))
    said = []
    assert read_labels(tmp_path / "a.npz", 5, said.append) is None and not said


@pytest.mark.parametrize("labels, word", [
    (np.arange(4), "there are 5 images"),
    (np.array([0.5, 1, 2, 3, 4]), "not whole"),
    (np.array([np.nan, 1, 2, 3, 4]), "not whole"),
    (np.array([-2, 0, 0, 0, 0]), "from -2 to 0"),
    (np.array([1 << 20, 0, 0, 0, 0]), "from 0 to 1.04858e+06"),
    (np.full(5, -1), "from -1 to -1"),
    (np.array([[1, 1], [1, 0], [1, 0], [1, 0], [1, 0]]), "not one 1 among zeros"),
    (np.zeros((5, 2, 2)), "(5, 2, 2)"),
    (np.array([{}] * 5, object), "object"),
])
def test_what_holds_no_labels_is_said_and_passed_over(labels, word, tmp_path):
    np.savez(tmp_path / "a.npz", images=np.zeros((5, 4, 4, 3)), y=labels)
    said = []
    assert read_labels(tmp_path / "a.npz", 5, said.append) is None
    assert len(said) == 1 and word in said[0] and "not taken as labels" in said[0] and "\n" not in said[0]


@pytest.mark.parametrize("names", [["a", "b"], ["a", "a", "b"], [1, 2, 3], np.array([{}], object)])
def test_names_that_do_not_fit_are_said_and_the_labels_taken(names, tmp_path):
    np.savez(tmp_path / "a.npz", labels=TRUE, classes=names)
    said = []
    labels, classes = read_labels(tmp_path / "a.npz", 5, said.append)
    assert labels.tolist() == TRUE and classes == ("0", "1", "2") and "not taken as the names" in said[0]


def test_an_image_without_a_label_has_the_label_minus_1(tmp_path):
    np.savez(tmp_path / "a.npz", labels=[0, 1, -1])
    assert read_labels(tmp_path / "a.npz", 3, [].append)[0].tolist() == [0, 1, -1]


def test_labels_that_end_too_early_are_said(tmp_path):
    np.savez(tmp_path / "whole.npz", labels=TRUE)
    with zipfile.ZipFile(tmp_path / "whole.npz") as whole, zipfile.ZipFile(tmp_path / "cut.npz", "w") as archive:
        archive.writestr("labels.npy", whole.read("labels.npy")[:-8])
    said = []
    assert read_labels(tmp_path / "cut.npz", 5, said.append) is None
    assert "labels cannot be read (broken or cut off" in said[0]
