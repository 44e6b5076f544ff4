"""What an experiment names and cannot have is refused before the data are read."""

import dataclasses
import re
from collections.abc import Callable

import pytest

from minigan.cli.score import score_command
from minigan.cli.train import train_command
from minigan.data import datasets
from minigan.errors import WrongUse
from minigan.experiment.experiment import Experiment
from minigan.experiment.presets import compose
from minigan.training.validate import check_names


@pytest.mark.parametrize("dataset, chosen, line", [
    ("cifar10", {"model": "resnet", "size": 33}, "multiple of 8, got 33; use --size 40"),
    ("mnist", {"model": "resnet"}, "multiple of 8, got 28; use --size 32"),
    ("svhn", {"model": "resnet-stl", "size": 40}, "multiple of 16, got 40"),
    ("cifar10", {"model": "dcgan", "size": 16}, None), ("mnist", {"model": "mnist-bssn"}, None),
    ("imagenet", {"model": "resnet-imagenet"}, None), ("packed", {"model": "resnet"}, None)])
def test_a_size_that_a_network_cannot_have_is_refused_before_the_data_are_read(dataset, chosen, line):
    e, _ = compose(dataset, **chosen)
    if line is None:
        check_names(e)
    else:
        with pytest.raises(WrongUse, match=line):
            check_names(e)


@pytest.mark.parametrize("dataset, split, line", [
    ("celeba", None, "and celeba has none; use cifar10, cifar100, svhn or imagenet"),
    ("stl10", None, "and stl10 has none in its split unlabeled; use --split train, or cifar10, cifar100, svhn or "
                    "imagenet"),
    ("stl10", "unlabeled", "use --split train"), ("stl10", "train", None), ("stl10", "test", None),
    ("svhn", "extra", None), ("imagenet", None, None), ("shapes", None, None), ("folder", None, None),
    ("packed", None, None)])
def test_a_condition_needs_a_split_with_labels(dataset, split, line):
    e, _ = compose(dataset, condition="ac", model="resnet-wgan-gp", **({"split": split} if split else {}))
    if line is None:
        check_names(e)
    else:
        with pytest.raises(WrongUse, match="--condition ac needs labels, and") as caught:
            check_names(e)
        assert line in str(caught.value)


# ---- texts that cannot ask the rows of data sets ----


def names(row: Callable[[datasets.Facts], object]) -> set[str]:
    return {name for name, facts in datasets.DATASETS.items() if row(facts)}


def named(text: str) -> set[str]:
    """The data sets that a text names."""
    return {*re.findall(r"[a-z0-9-]+", text)} & datasets.DATASETS.keys()


def test_the_options_help_says_what_the_rows_of_data_sets_say():
    helps = {field.name: field.metadata["help"] for field in dataclasses.fields(Experiment)}
    protocol = next(option.help for option in score_command.params if option.name == "protocol")
    assert named(helps["score"]) == named(protocol) == set()  # they say what the row says, not of whom
    assert named(train_command.help.split("\n\n")[1]) == datasets.DATASETS.keys()
    assert f"{datasets.DATASETS['folder'].size} for a folder" in helps["size"]
    crop = {name: facts.crop for name, facts in datasets.DATASETS.items() if facts.crop}
    assert named(helps["crop"]) == crop.keys() and f"[{crop['celeba']}]" in helps["crop"]
    # [train; stl10 unlabeled], [lanczos; imagenet bilinear; celeba, stl10 plain]
    for option, of in (("split", "split"), ("resize", "resize")):
        usual, *others = re.search(r"\[(.*)\]", helps[option])[1].split("; ")
        said = {name: part.split()[-1] for part in others for name in named(part)}
        assert {name: said.get(name, usual) for name in datasets.DATASETS} == {
            name: getattr(facts, of) for name, facts in datasets.DATASETS.items()}, option
    splits = {split for facts in datasets.DATASETS.values() for split in facts.splits}
    assert set(re.findall(r"train|test|unlabeled|extra", helps["split"])) == splits
    for split, name in re.findall(r"(\w+) \((\w+)\)", helps["split"]):
        assert names(lambda facts, split=split: split in facts.splits) == {name}


def test_bad_images_can_be_left_out_where_the_row_says_so():
    for name, facts in datasets.DATASETS.items():
        e = Experiment(dataset=name, skip_bad=True, size=32, data_root="somewhere", model="cnn")
        if facts.skips_bad:
            check_names(e)
        else:
            with pytest.raises(WrongUse, match="--skip-bad does nothing here: .* celeba, folder"):
                check_names(e)
