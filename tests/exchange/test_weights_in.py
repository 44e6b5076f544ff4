"""Others' weights become runs that compute what the others' networks compute (PyTorch twins, foreign_networks.py)."""

import json

import numpy as np
import pytest
from PIL import Image
from scored import few_drawings, said

import minigan
from minigan.cli import main
from minigan.engine.autograd import Tensor, no_grad
from minigan.exchange.weights_in import import_weights
from minigan.metrics import classifier, stored_scores
from minigan.training import restore

torch = pytest.importorskip("torch")
from foreign_networks import Discriminator, Generator, chainers, checkpoint, snapshot, stirred  # noqa: E402

CHAINER = {"mode": "nearest", "eps": 2e-5}
UP = {"32": (8, 8, 8, 8), "48": (16, 8, 4, 2), "64": (16, 8, 4, 2, 1), "128": (16, 16, 8, 4, 2, 1)}
DOWN = {"32": ((4, 4, 4, 4), 2), "48": ((2, 4, 8, 16, 32), 4), "64": ((2, 4, 8, 16, 32), 5),
        "128": ((2, 4, 8, 16, 32, 32), 5)}
SIDE = {"48": 6}
MODELS = {"32": "resnet", "48": "resnet-stl", "64": "resnet-64", "128": "resnet-imagenet"}


def pair(size, classes=0, chainer=False, seed=0, **dis):
    """Both networks of a tool; `last` as its files have it."""
    if chainer:
        dis = {"bias": size != "32"} | dis
    elif size == "48":
        dis = {"last": "l5"} | dis  # mimicry's SNGAN, with five blocks
    more = (CHAINER | {"last": "c" if size == "32" else "l"}) if chainer else {}
    torch.manual_seed(seed)
    return (stirred(Generator(UP[size], SIDE.get(size, 4), classes=classes, **more), seed),
            stirred(Discriminator(*DOWN[size], classes=classes, **dis), seed + 1))


def written(gen, dis, folder, chainer, **how):
    """Their files."""
    if chainer:
        return [snapshot(folder / "ResNetGenerator_850000.npz", **chainers(gen)),
                snapshot(folder / "SNResNetProjectionDiscriminator_850000.npz", **chainers(dis))]
    return [checkpoint(gen, folder / "netG_100000_steps.pth", **how),
            checkpoint(dis, folder / "netD_100000_steps.pth", **how)]


def exactly(network, x, *y):
    """What a twin computes in float64: the truth, whatever kernels PyTorch takes on this machine, at this load."""
    seen = network.double()(torch.tensor(x, dtype=torch.float64), *y).numpy()
    network.float()  # the same weights as before
    return seen


def compare(run, gen, dis, classes, tolerance=1e-5):
    """The run's networks and the twins, on the same inputs; the run's, twice, to the byte."""
    saved = restore.newest(run)
    rng = np.random.default_rng(3)
    z = rng.standard_normal((5, saved.e.dim_z)).astype(np.float32)
    x = rng.uniform(-1, 1, (5, saved.state["size"], saved.state["size"], 3)).astype(np.float32)
    y = (rng.integers(0, classes, 5),) if classes else (None,)
    their_y = [torch.tensor(a) for a in y if a is not None]
    with no_grad(), torch.no_grad():
        images, again = (saved.gen(Tensor(z), False, *y).data for _ in range(2))
        np.testing.assert_array_equal(images, again)
        theirs = exactly(gen, z, *their_y)
        assert theirs.std() > 0.05
        np.testing.assert_allclose(images, theirs.transpose(0, 2, 3, 1), atol=tolerance)
        if dis is not None:
            said, again = (saved.discriminator()(Tensor(x), False, *y).data for _ in range(2))
            np.testing.assert_array_equal(said, again)
            theirs = exactly(dis, x.transpose(0, 3, 1, 2), *their_y)
            assert theirs.std() > 1e-3
            np.testing.assert_allclose(said, theirs, atol=tolerance * np.abs(theirs).max())
    return saved


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("size", ["32", "64", "128"])
def test_a_snapshot_of_sngan_projection_computes_the_same(size, classes, tmp_path):
    gen, dis = pair(size, classes, chainer=True)
    made = import_weights(written(gen, dis, tmp_path, True), tmp_path / "run")
    saved = compare(tmp_path / "run", gen, dis, classes)
    e = saved.e
    assert (made.iteration, made.classes, made.remarks, saved.iteration) == (850_000, classes, [], 850_000)
    assert (e.model, e.norm, e.condition) == (MODELS[size], "sn", "projection" if classes else "none")
    assert (e.profile, e.bn_eps, e.upsample, e.scaling, e.dequantize) == ("sngan-projection", 2e-5, None, "128", True)


@pytest.mark.parametrize("classes", [0, 3])
@pytest.mark.parametrize("size", ["32", "48", "64", "128"])
def test_a_checkpoint_of_mimicry_computes_the_same(size, classes, tmp_path):
    gen, dis = pair(size, classes)
    made = import_weights(written(gen, dis, tmp_path, False), tmp_path / "run", data="cifar10")
    e = compare(tmp_path / "run", gen, dis, classes).e
    assert (made.tool, made.iteration, e.model, e.upsample, e.bn_eps, e.scaling) == (
        "mimicry", 100_000, MODELS[size], "bilinear", 1e-5, "255")
    assert (e.dataset, e.dense_bias, e.pool, e.loss) == ("cifar10", True if size == "32" else None, None, "hinge")


@pytest.mark.parametrize("size", ["32", "48", "64", "128"])
def test_wgan_gp_of_mimicry_pools_by_the_mean(size, tmp_path):
    gen, dis = pair(size, norm=False, pool="mean")
    made = import_weights(written(gen, dis, tmp_path, False), tmp_path / "run")
    e = compare(tmp_path / "run", gen, dis, 0).e
    assert (e.norm, e.loss, e.gp, e.pool) == ("none", "wasserstein", 10.0, "mean")
    assert len(made.remarks) == 1 and "--pool sum for the other" in made.remarks[0]
    dis.pool = "sum"
    import_weights(written(gen, dis, tmp_path, False), tmp_path / "run", pool="sum", overwrite=True)
    compare(tmp_path / "run", gen, dis, 0)


def test_both_formats_of_pytorch_give_the_same_run(tmp_path):
    gen, dis = pair("32", 3)
    found = []
    for zipped in (True, False):
        import_weights(written(gen, dis, tmp_path, False, zipped=zipped), tmp_path / "run", overwrite=True)
        found.append((tmp_path / "run" / "checkpoint-0100000.h5").read_bytes())
    assert found[0] == found[1]


def test_newer_mimicry_with_pytorchs_own_spectral_norm(tmp_path):
    """weight_orig, weight_u, weight_v: sigma is u^T W v of the stored ones, which is ours where they have converged."""
    gen, dis = pair("32")
    for layer in [m for m in dis.modules() if hasattr(m, "sn_u")]:
        del layer.sn_u, layer.sn_sigma
        torch.nn.utils.spectral_norm(layer, n_power_iterations=200)
    dis.train()(torch.zeros(1, 3, 32, 32))
    dis.eval()
    import_weights(written(gen, dis, tmp_path, False), tmp_path / "run")
    compare(tmp_path / "run", gen, dis, 0)


def test_a_trainers_snapshot_holds_both_networks_and_the_iteration(tmp_path):
    gen, dis = pair("32", 3, chainer=True)
    arrays = {f"updater/model:opt_gen/{name}": a for name, a in chainers(gen).items()}
    arrays |= {f"updater/model:opt_dis/{name}": a for name, a in chainers(dis).items()}
    arrays |= {"updater/iteration": np.array(4321), "updater/optimizer:opt_gen/l1/W/m": np.zeros((128, 6), np.float32)}
    made = import_weights([snapshot(tmp_path / "snapshot.npz", **arrays)], tmp_path / "run")
    assert (made.iteration, made.discriminator) == (4321, True)
    compare(tmp_path / "run", gen, dis, 3)


def test_gamma_of_use_gamma_is_sn_gamma(tmp_path):
    gen, dis = pair("32", 3, chainer=True)
    for layer in dis.modules():
        if hasattr(layer, "sn_u"):
            layer.register_buffer("gamma", torch.rand((1,) * layer.weight.ndim) + 0.5)
    import_weights(written(gen, dis, tmp_path, True), tmp_path / "run")
    assert compare(tmp_path / "run", gen, dis, 3).e.norm == "sn-gamma"


def test_concat_of_sngan_projection_computes_the_same(tmp_path):
    gen, dis = pair("128", 3, chainer=True, concat=4)  # 128 at 64 channels
    import_weights(written(gen, dis, tmp_path, True), tmp_path / "run")
    assert compare(tmp_path / "run", gen, dis, 3).e.condition == "concat"


def test_an_absent_bias_as_chainer_wrote_it_is_never_loaded(tmp_path):
    gen, dis = pair("32", chainer=True)
    files = written(gen, dis, tmp_path, True)
    snapshot(files[1], **chainers(dis), **{"l5/b": np.array(None)})  # an array of objects: a pickle
    import_weights(files, tmp_path / "run")
    compare(tmp_path / "run", gen, dis, 0)


# ---- what can be done with such a run ------------------------------------------------------------------------------

@pytest.fixture(scope="module", params=[0, 3])
def run(request, tmp_path_factory):
    """A run of a 32-pixel mimicry, a folder of images by class, and the twins."""
    folder = tmp_path_factory.mktemp("imported")
    gen, dis = pair("32", request.param)
    import_weights(written(gen, dis, folder, False), folder / "run")
    rng = np.random.default_rng(0)
    for i in range(30):
        place = folder / "images" / f"class{i % 3}"
        place.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (32, 32, 3)).astype(np.uint8)).save(place / f"{i}.png")
    return folder, gen, dis, request.param


def test_samples_are_the_twins_images_rounded(run, tmp_path):
    folder, gen, _, classes = run
    assert main.run(["sample", str(folder / "run"), "-n", "9", "--out", str(tmp_path / "x.npz")]) == 0
    images = np.load(tmp_path / "x.npz")["images"]
    z = np.random.default_rng(0).standard_normal((9, 6), dtype=np.float32)
    labels = (torch.arange(9) % classes,) if classes else ()
    with torch.no_grad():
        theirs = gen(torch.tensor(z), *labels).numpy().transpose(0, 2, 3, 1)
    np.testing.assert_array_equal(minigan.load(folder / "run").sample(9), images)
    exact = (theirs + 1) * 127.5
    assert np.abs(images - exact).max() <= 0.5 + 1e-3
    assert (folder / "run" / "samples.png").is_file()


def test_it_is_diagnosed_with_images_that_are_named(run, capsys):
    folder, _, _, _ = run
    assert main.run(["diagnose", str(folder / "run")]) == 2
    assert "name some to look with: --data NAME, --data-root FOLDER" in capsys.readouterr().err
    assert main.run(["diagnose", str(folder / "run"), "--data-root", str(folder / "images"), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["iteration"] == 100_000 and len(found["layers"]) == (12 if run[3] else 11)


def test_it_is_scored_against_images_that_are_named(run, capsys, tmp_path):
    folder, _, _, classes = run
    with few_drawings(tmp_path):
        judge = classifier.train("shapes", size=32, epochs=1, batch_size=50)
        classifier.save(classifier.place("shapes", 32), judge)
        command = ["score", folder / "run", "--protocol", "classifier", "--count", 60, "-q", "--out",
                   tmp_path / "s.json"]
        assert "say what to compare it with: minigan score" in said(command, capsys, 1)[1]
        said([*command, "--data", "shapes"], capsys)
    stored = {one.score.name: one.score for one in stored_scores.read(tmp_path / "s.json")}
    assert stored["FID"].value > 0 and (stored["FID"].n_fake, stored["FID"].size_real) == (60, 32)
    assert "accuracy of D" not in stored  # these are not the images that it was trained on


def test_it_is_not_trained_on(run, capsys):
    folder, _, _, _ = run
    for more in ([], ["--iterations", "900000"]):
        assert main.run(["train", "--resume", str(folder / "run"), *more]) == 2
        assert ("was imported from mimicry's netG_100000_steps.pth, netD_100000_steps.pth: it cannot be trained on"
                in capsys.readouterr().err)


def test_it_is_never_advised_to_go_on_with_it(run, capsys):
    folder, _, _, _ = run
    files = [str(folder / name) for name in ("netG_100000_steps.pth", "netD_100000_steps.pth")]
    assert main.run(["import", *files, "--out", str(folder / "run")]) == 2
    assert "run exists already and holds a run; replace it (--overwrite) or choose another" in capsys.readouterr().err
    assert main.run(["log", str(folder / "run")]) == 1
    assert "was imported, and has no log" in capsys.readouterr().err
    assert repr(minigan.load(folder / "run")).endswith("iteration 100,000, imported>")


def test_its_page_says_whose_it_is_and_no_command_that_trains_it(run, tmp_path):
    folder, _, _, _ = run
    page = minigan.load(folder / "run").report(tmp_path / "x.html").read_text(encoding="utf-8")
    assert "Imported from mimicry&#x27;s netG_100000_steps.pth, netD_100000_steps.pth" in page
    assert "100,000 of 100,000 iterations, imported" in page and "To repeat it" not in page


@pytest.mark.parametrize("words", [["report"], ["export", "--to", "torch"]])
def test_it_is_reported_and_exported(run, words, tmp_path, capsys):
    folder, _, _, _ = run
    out = tmp_path / ("x.html" if words[0] == "report" else "x")
    assert main.run([words[0], str(folder / "run"), *words[1:], "--out", str(out)]) == 0, capsys.readouterr().err


def test_a_generator_alone_is_enough_to_draw(tmp_path, capsys):
    gen, dis = pair("32", 3)
    files = written(gen, dis, tmp_path, False)
    assert main.run(["import", str(files[0]), "--out", str(tmp_path / "run")]) == 0
    said = capsys.readouterr()
    assert said.out.strip() == f"mimicry's resnet for 32 x 32 pixels, 3 classes, iteration 100,000: {tmp_path / 'run'}"
    assert "no discriminator" in said.err
    compare(tmp_path / "run", gen, None, 3)
    assert main.run(["export", str(tmp_path / "run"), "--out", str(tmp_path / "x")]) == 0
    assert [path.name for path in (tmp_path / "x").iterdir()] == ["generator.safetensors"]
    assert main.run(["export", str(tmp_path / "run"), "--network", "discriminator"]) == 2
    assert main.run(["diagnose", str(tmp_path / "run"), "--data", "shapes"]) == 2
    assert "has no discriminator: it was imported without one" in capsys.readouterr().err


# ---- files that are not what they should be --------------------------------------------------------------------------

def without(name, arrays):
    return {key: a for key, a in arrays.items() if key != name}


@pytest.mark.parametrize("change, said", [
    (lambda a: without("block3/c1/W", a), "block3/c1/W is missing"),
    (lambda a: without("block2/b1/avg_var", a), "block2/b1/avg_var is missing, for a network as"),
    (lambda a: without("l1/b", a), "l1/b is missing"),
    (lambda a: without("c5/W", a), "c5/W is missing"),
    (lambda a: a | {"block2/c3/W": np.zeros(3, np.float32)}, "block2/c3/W has no place in a network of sngan_proj"),
    (lambda a: a | {"block3/c2/b": np.zeros(5, np.float32)}, "block3/c2/b is (5,), expected (8,)"),
    (lambda a: a | {"block3/c_sc/W": np.zeros((8, 8, 3, 3), np.float32)}, "is (8, 8, 3, 3), expected (8, 8, 1, 1)"),
    (lambda a: a | {"block3/c2/W": np.zeros((7, 8, 3, 3), np.float32)}, "generator with 8, 8, 7, 8 channels; expected"),
    (lambda a: a | {"l1/W": np.zeros((120, 6), np.float32)}, "has 120 rows; expected a square number"),
    (lambda a: a | {"c5/b": np.full(3, np.nan, np.float32)}, "c5/b holds numbers that are not finite"),
    (lambda a: a | {"block2/b1/avg_var": np.full(8, -1, np.float32)}, "variances below 0"),
    (lambda a: a | {"c5/b": np.zeros(3, np.int64)}, "c5/b holds int64, expected float16"),
    (lambda a: {"x": np.zeros(3, np.float32)}, "neither a generator (with l1/...) nor a discriminator"),
    (lambda a: {"x": np.array(None)}, "no array of numbers"),
])
def test_another_network_is_one_line_that_names_what_differs(change, said, tmp_path, capsys):
    gen, _ = pair("32", chainer=True)
    file = snapshot(tmp_path / "x_100.npz", **change(chainers(gen)))
    assert main.run(["import", str(file), "--out", str(tmp_path / "run")]) == 1
    line = capsys.readouterr().err
    assert said in line and line.startswith("minigan: ") and line.count("\n") == 1
    assert not (tmp_path / "run").exists()


def test_networks_that_do_not_go_together_are_refused(tmp_path):
    gen, dis = pair("32", 3)
    other, larger = pair("32")[0], pair("64")[1]
    files = [checkpoint(n, tmp_path / f"{i}.pth") for i, n in enumerate((gen, dis, other, larger))]
    theirs = snapshot(tmp_path / "d.npz", **chainers(dis))
    for given, words in (([files[2], files[1]], "is for 3 classes, the generator knows 0"),
                        ([files[2], files[3]], "channels; the generator is that of resnet"),
                        ([files[1]], "expected one generator, and one discriminator or none, found 0 and 1"),
                        ([files[0], files[2]], "found 2 and 0"), ([files[0], theirs], "the discriminator sngan_proj")):
        with pytest.raises((ValueError, RuntimeError), match=words):
            import_weights(given, tmp_path / "run")
    assert not (tmp_path / "run").exists()


@pytest.mark.parametrize("chainer", [True, False])
def test_a_damaged_file_is_one_line(chainer, tmp_path):
    """Cut off, or a byte changed: never more than the two errors of a request, and nothing is written."""
    gen, dis = pair("32", chainer=chainer)
    file = written(gen, dis, tmp_path, chainer)[0]
    whole, rng = file.read_bytes(), np.random.default_rng(5)
    refused = 0
    for trial in range(60):
        data = bytearray(whole)
        if trial % 2:
            data[rng.integers(len(data))] ^= 1 << rng.integers(8)
        else:
            data = data[:rng.integers(len(data))]
        file.write_bytes(data)
        try:
            import_weights([file], tmp_path / "run", overwrite=True)
        except (ValueError, RuntimeError) as error:
            refused += 1
            assert type(error).__name__ in ("FailedWork", "WrongUse") and "\n" not in str(error)
    assert refused >= 30


def test_what_cannot_be_meant_is_refused_before_the_files_are_read(tmp_path, capsys):
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    assert main.run(["import", "no.npz", "--out", str(tmp_path / "run")]) == 2
    assert "holds other files" in capsys.readouterr().err
    assert main.run(["import", str(tmp_path / "no.npz"), "--out", str(tmp_path / "new")]) == 1
    assert "no.npz: cannot be read: No such file" in capsys.readouterr().err
    page = tmp_path / "page.npz"
    page.write_text("<!doctype html><title>Sign in</title>")
    assert main.run(["import", str(page), "--out", str(tmp_path / "new")]) == 1
    assert "is an HTML page" in capsys.readouterr().err
