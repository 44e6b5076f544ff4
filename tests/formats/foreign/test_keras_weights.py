"""keras_weights.read on HDF5 files of Keras' layouts, and its refusals of what points elsewhere."""

import io

import h5py
import numpy as np
import pytest
from weight_samples import refusal

from minigan.formats.foreign import keras_weights


def image(fill) -> bytes:
    """An HDF5 file; fill(file) puts something into it."""
    made = io.BytesIO()
    with h5py.File(made, "w") as file:
        fill(file)
    return made.getvalue()


def refused(data: bytes) -> str:
    return refusal(keras_weights.read, data, "some.h5", 10_000_000 + 2 * len(data))


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("conv2d_1/conv2d_1/kernel:0", "conv2d_1/kernel"),  # Keras 2
        ("conv2d/conv2d/kernel", "conv2d/kernel"),  # Keras 3
        ("model_weights/conv2d/model/conv2d/kernel:0", "conv2d/kernel"),  # model.save
        ("layers/conv2d_7/vars/0", "conv2d_7/0"),  # .weights.h5
    ],
)
@pytest.mark.parametrize("dtype", ["<f4", "<f8", "<f2", ">f4"])
def test_variables_are_found_in_every_layout(path, name, dtype, rng):
    array = rng.random((3, 2, 4)).astype(dtype)

    def fill(file):
        file[path] = array
        file["optimizer_weights/iterations"] = np.arange(3)
        file.create_group("model_weights/activation" if path.startswith("model") else "empty")
        file.attrs["model_config"] = "not JSON {"

    found = keras_weights.read(image(fill), "f")
    assert list(found) == [name]
    np.testing.assert_array_equal(found[name], array)


def test_what_keras_saves_is_read(tmp_path):
    keras = pytest.importorskip("keras")
    model = keras.Sequential([keras.Input((8, 8, 3)), keras.layers.Conv2D(4, 3, use_bias=False, name="conv2d"),
                              keras.layers.BatchNormalization(scale=False, name="batch_normalization"),
                              keras.layers.Flatten(), keras.layers.Dense(2, name="predictions")])
    variables = {"conv2d": ["kernel"], "batch_normalization": ["beta", "moving_mean", "moving_variance"],
                 "predictions": ["kernel", "bias"]}
    model.save(tmp_path / "model.h5")
    model.save_weights(tmp_path / "model.weights.h5")
    for file in ("model.h5", "model.weights.h5"):
        found = keras_weights.read((tmp_path / file).read_bytes(), "f")
        for layer, names in variables.items():
            for i, (name, array) in enumerate(zip(names, model.get_layer(layer).get_weights(), strict=True)):
                own = f"{layer}/{name}" if file == "model.h5" else f"{layer.replace('predictions', 'dense')}/{i}"
                np.testing.assert_array_equal(found[own], array)


def test_links_to_elsewhere_are_not_followed(tmp_path, rng):
    secret = tmp_path / "secret.h5"
    secret.write_bytes(image(lambda file: file.create_dataset("a", data=rng.random(3))))
    (tmp_path / "raw").write_bytes(bytes(100))
    virtual = h5py.VirtualLayout((3,), "f4")
    virtual[:] = h5py.VirtualSource(str(secret), "a", (3,))

    def soft(file):
        file["x/a"] = np.ones(3)
        file["conv2d"] = h5py.SoftLink("/x")

    def twice(file):
        file["c/kernel"] = file["c/x/kernel:0"] = np.ones(3)

    external = [(str(tmp_path / "raw"), 0, 12)]
    link, block = "a link to elsewhere", "not stored as one plain block"
    for fill, named in [
        (lambda file: file.__setitem__("conv2d", h5py.ExternalLink(str(secret), "/")), link),
        (lambda file: file.__setitem__("model_weights", h5py.ExternalLink(str(secret), "/")), link),
        (soft, link),
        (lambda file: file.create_dataset("c/kernel", (3,), "f4", external=external), block),
        (lambda file: file.create_virtual_dataset("c/kernel", virtual), block),
        (lambda file: file.create_dataset("c/kernel", (3,), "f4", chunks=(2,)), block),
        (lambda file: file.create_dataset("c/kernel", (2**40,), "f4", chunks=(2**20,), compression="gzip"), block),
        (lambda file: file.create_dataset("c/kernel", (2**40,), "f4"), "never written"),
        (lambda file: file.create_dataset("c/kernel", data=h5py.Empty("f4")), block),
        (twice, "twice"),
        (lambda file: file.__setitem__("model_weights", np.ones(3)), "no group"),
    ]:
        assert named in refused(image(fill))


def test_groups_in_themselves_are_refused():
    def ring(file):
        group = file.create_group("a")
        group["a"] = group

    def fan(file):  # 20 ways from each level to the next: 20**7 paths
        levels = [file.create_group(f"level {i}") for i in range(8)]
        for above, below in zip(levels[:-1], levels[1:], strict=True):
            for i in range(20):
                above[f"{i}"] = below

    assert "deeper than" in refused(image(ring))
    assert "more than 20000" in refused(image(fan))


def test_texts_and_integers_are_passed_over(rng):
    def fill(file):
        file["a/note"] = "text"
        file["a/steps"] = np.arange(3)
        file["kernel"] = rng.random(3)  # in no layer
        file["a/mixed"] = np.zeros(2, [("x", "f4")])
        file["type"] = np.dtype("f8")  # a named type

    assert keras_weights.read(image(fill), "f") == {}


def test_every_truncation_is_refused(rng):
    data = image(lambda file: [file.create_dataset(f"layer_{i}/kernel:0", data=rng.random(200)) for i in range(3)])
    for n in [*range(0, len(data), 101), len(data) - 1]:
        assert "broken or cut off" in refused(data[:n])
