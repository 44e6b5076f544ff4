"""The tables of `minigan networks`: shapes and counts against the networks themselves, and the command."""

import numpy as np
import pytest

from minigan.cli import main
from minigan.engine.autograd import Tensor, no_grad
from minigan.errors import WrongUse
from minigan.networks import layer_table
from minigan.networks.models import MODELS
from minigan.networks.norms import Normalization


def by_layer(rows):
    return {row.layer: row for row in rows}


@pytest.mark.parametrize("model", MODELS)
def test_parameters_are_the_networks_and_every_layer_is_there_once(model):
    tables = layer_table.pair(model, size=32, width=0.1, classes=3, condition="projection")
    m, rng = MODELS[model], np.random.default_rng(0)
    gen = m.generator(rng, 32, m.channels, m.dim_z, 0.1, 3)
    dis = m.discriminator(rng, 32, m.channels, Normalization(features=m.features, gain=True), 0.1, 3, "projection")
    for network, rows in zip((gen, dis), tables.values(), strict=True):
        sizes = {path: sum(p.size for p in layer.params.values()) for path, layer in network.walk() if layer.params}
        assert {row.layer: row.parameters for row in rows} == sizes and len(rows) == len(sizes)
    with no_grad():
        z = Tensor(np.zeros((1, m.dim_z), np.float32))
        assert tables["generator"][-1].shape == gen(z, False, np.zeros(1, int)).shape[1:] == (32, 32, m.channels)


def test_shapes_kernels_and_multiplications_of_table_3():
    tables = layer_table.pair("cnn")
    gen, dis = (by_layer(rows) for rows in tables.values())
    assert gen["dense"].shape == (8192,) and gen["dense"].multiplications == 128 * 8192
    deconv = gen["deconv1"]  # each of 4 x 4 pixels meets all the weights
    assert (deconv.shape, deconv.kernel) == ((8, 8, 256), "4 x 4, stride 2, transposed")
    assert deconv.multiplications == 4 * 4 * 512 * 256 * 16
    assert (dis["conv2"].shape, dis["conv2"].kernel) == ((16, 16, 64), "4 x 4, stride 2")
    assert dis["conv2"].multiplications == 16 * 16 * 64 * 64 * 16
    assert [row.shape[-1] for row in tables["discriminator"]] == [64, 64, 128, 128, 256, 256, 512, 1]
    assert [row.shape[0] for row in tables["discriminator"][:-1]] == [32, 16, 16, 8, 8, 4, 4]


def test_multiplications_of_resampled_convolutions_are_those_of_the_maps_they_meet():
    gen, dis = (by_layer(rows) for rows in layer_table.pair("resnet").values())
    assert gen["blocks/block1/residual/conv1"].multiplications == 8 * 8 * 256 * 256 * 9
    assert gen["blocks/block1/shortcut"].multiplications == 4 * 4 * 256 * 256
    assert dis["blocks/block2/residual/conv2"].multiplications == 16 * 16 * 128 * 128 * 9
    assert dis["blocks/block2/shortcut"].multiplications == 8 * 8 * 128 * 128
    assert dis["blocks/block3/residual/conv2"].multiplications == 8 * 8 * 128 * 128 * 9


def test_the_command_prints_the_table_with_its_total_beside_the_sources(capsys):
    assert main.run(["networks", "cnn-code"]) == 0
    out = capsys.readouterr().out
    assert out.count("total") == 2
    for number in ("3,828,739", "5,860,865"):
        assert out.count(number) == 2, "the total, and the source's"
    conv1, = (line for line in out.splitlines() if line.startswith("conv1"))
    assert conv1.split() == ["conv1", "32", "x", "32", "x", "64", "3", "x", "3", "1,792",
                             f"{32 * 32 * 64 * 27:,}"]
    assert all(len(line) <= 120 and line == line.rstrip() for line in out.splitlines())


def test_the_command_without_a_name_lists_all_models(capsys):
    assert main.run(["networks"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[1:]] == list(MODELS)


def test_classes_and_size_change_the_table(capsys):
    assert main.run(["networks", "resnet", "--classes", "10", "--condition", "concat", "--size", "64",
                    "--width", "0.25"]) == 0
    out = capsys.readouterr().out
    assert "64 x 64 x 3, z of 128, width 0.25, 10 classes, concat" in out
    embed, = (line for line in out.splitlines() if line.startswith("embed"))
    assert embed.split()[1:3] == ["32", "320"]
    assert "at 32 pixels, width 1, without classes" in out


@pytest.mark.parametrize("words, parts", [
    (["alexnet"], ["unknown model 'alexnet'", "resnet-stl"]),
    (["resnet-stl", "--size", "40"], ["multiple of 16", "--size 48"]),
    (["cnn", "--size", "8"], ["--size", "16"]),
    (["cnn", "--width", "nan"], ["--width"]),
    (["cnn", "--classes", "-1"], ["--classes"]),
    (["cnn", "--condition", "projection"], ["needs labels"]),
    (["cnn", "--classes", "10", "--condition", "concat"], ["'concat'", "projection, ac", "resnet"]),
    (["cnn", "--classes", "10", "--condition", "guess"], ["unknown condition 'guess'"]),
    (["resnet-imagenet", "--width", "8"], ["200,000,000", "--width"]),
    (["cnn", "--size", "1024", "--width", "2"], ["--size", "--width"]),
    (["--width", "2"], ["name it"]),
])
def test_wrong_input_is_one_line(words, parts, capsys):
    assert main.run(["networks", *words]) == 2
    out, err = capsys.readouterr()
    assert out == "" and len(err.strip().splitlines()) == 1
    for part in parts:
        assert part in err


def test_too_many_parameters_are_refused_before_memory_is_taken():
    zeros = layer_table.Zeros()
    with pytest.raises(WrongUse, match="200,000,000"):
        zeros.standard_normal((10**6, 10**6))
