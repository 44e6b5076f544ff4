"""The Frechet distance against closed forms and other packages (golden_scores.py), and files of statistics."""

import io
import json
import zipfile

import golden_scores
import numpy as np
import pytest

from minigan.errors import FailedWork, WrongUse
from minigan.formats import arrays_in_files
from minigan.metrics import thumbnails
from minigan.metrics.frechet import Moments, Statistics, distance, read, statistics, write

GOLDEN = json.loads(golden_scores.FILE.read_text())["FID"]


@pytest.mark.parametrize("name", golden_scores.cases())
def test_distance_is_that_of_torch_fidelity_and_pytorch_fid(name):
    real, fake = golden_scores.cases()[name]
    # where covariances are singular, theirs take square roots of rounding: 4e-8 (the next tests show which is right)
    for expected in GOLDEN[name]:
        assert distance(real, fake) == pytest.approx(expected, rel=1e-7 if "few" in name else 1e-11, abs=1e-12)


@pytest.mark.parametrize("name", golden_scores.cases())
def test_features_and_their_statistics_are_as_far_apart(name):
    real, fake = golden_scores.cases()[name]
    known = [Statistics(x.mean(0), np.cov(x, rowvar=False)) for x in (real, fake)]
    # 1e-9: a covariance of few images has the square root of its rounding, some 1e-8 of the largest, to offer
    assert distance(*known) == pytest.approx(distance(real, fake), rel=1e-9, abs=1e-12)
    assert distance(known[0], fake) == pytest.approx(distance(real, fake), rel=1e-9, abs=1e-12)


def test_distance_of_diagonal_gaussians_is_the_closed_form(rng):
    m1, m2, s1, s2 = rng.uniform(0, 2, (4, 23))
    s1[4] = s2[9] = s1[7] = s2[7] = 0
    # sum of (m1 - m2)^2 + (s1 - s2)^2 of each direction
    expected = ((m1 - m2) ** 2 + (s1 - s2) ** 2).sum()
    real, fake = Statistics(m1, np.diag(s1 ** 2)), Statistics(m2, np.diag(s2 ** 2))
    assert distance(real, fake) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("zeros", [1, 20])
def test_directions_without_spread_add_nothing(rng, zeros):
    # turned Gaussians whose covariances commute; rounding leaves some +- 1e-16 of the zeros, whose roots would count
    turn = np.linalg.qr(rng.standard_normal((40, 40)))[0]
    s1, s2 = rng.uniform(1, 2, (2, 40))
    s1[:zeros] = 0
    real, fake = (Statistics(np.zeros(40), turn * s ** 2 @ turn.T) for s in (s1, s2))
    for shift in (0, 1e-15):  # singular up to rounding on either side
        shifted = Statistics(real.mean, real.covariance + shift * np.eye(40))
        assert distance(shifted, fake) == pytest.approx(((s1 - s2) ** 2).sum(), rel=1e-12)


@pytest.mark.parametrize("count", [7, 200])
def test_a_set_is_at_distance_0_from_itself_and_at_the_square_of_its_shift(rng, count):
    x, shift = rng.standard_normal((count, 40)), rng.standard_normal(40)
    assert distance(x, x) == pytest.approx(0, abs=1e-12)
    assert distance(x, x + shift) == pytest.approx((shift ** 2).sum(), rel=1e-12)


def test_distance_is_symmetric_and_keeps_under_rotations(rng):
    real, fake = rng.standard_normal((30, 12)), rng.standard_normal((9, 12)) + 1
    turn = np.linalg.qr(rng.standard_normal((12, 12)))[0]
    assert distance(fake, real) == pytest.approx(distance(real, fake), rel=1e-12)
    assert distance(real @ turn, fake @ turn) == pytest.approx(distance(real, fake), rel=1e-12)


def test_few_pictures_give_the_distance_of_low_rank_gaussians_exactly():
    # two pairs of points in 100 dimensions: variances 2 a^2 and 2 b^2 along axes at an angle t, closed form by hand
    a, b, t = 3.0, 0.5, 0.7
    real, fake = np.zeros((2, 2, 100))
    real[:, 5] = a, -a
    fake[:, 5], fake[:, 80] = (b * np.cos(t), -b * np.cos(t)), (b * np.sin(t), -b * np.sin(t))
    expected = 2 * a * a + 2 * b * b - 2 * (2 * a * b * np.cos(t))
    assert distance(real, fake) == pytest.approx(expected, rel=1e-12)
    assert distance(statistics(real), statistics(fake)) == pytest.approx(expected, rel=1e-12)


def test_sets_without_any_spread_differ_by_their_means():
    assert distance(np.zeros((3, 5)), np.ones((4, 5))) == 5
    assert distance(np.zeros((30, 5)), np.ones((40, 5))) == 5


def test_moments_are_numpys_and_the_same_bytes_however_rows_come(rng):
    x = (rng.standard_normal((2500, 6)) + 1e4).astype(np.float32)
    found = []
    for batch in (1, 64, 1024, 1500, 2500):
        moments = Moments(6)
        for at in range(0, len(x), batch):
            moments.add(x[at:at + batch])
            if at == 1200:
                moments.statistics()  # asking in between changes nothing
        found.append(moments.statistics())
    for one in found[1:]:
        assert one.mean.tobytes() == found[0].mean.tobytes()
        assert one.covariance.tobytes() == found[0].covariance.tobytes()
    assert found[0].count == 2500
    np.testing.assert_allclose(found[0].mean, x.astype(np.float64).mean(0), rtol=1e-14)
    np.testing.assert_allclose(found[0].covariance, np.cov(x.astype(np.float64), rowvar=False), atol=1e-11)


def test_there_is_one_frechet_distance(rng):
    real, fake = rng.uniform(size=(2, 50, 192))
    assert thumbnails.distance(real, fake) == distance(real, fake)


def test_unfit_features_are_refused(rng):
    x = rng.standard_normal((20, 4))
    broken = x.copy()
    broken[3, 2] = np.nan
    for real, fake, said in ((x, x[:, :3], "4 features"), (x, x[:1], "at least 2"), (x[:1], x, "at least 2")):
        with pytest.raises(WrongUse, match=said):
            distance(real, fake)
    for part in (broken, broken[:4]):
        with pytest.raises(FailedWork, match="not finite"):
            distance(part, x)
    with pytest.raises(WrongUse, match="at least 2"):
        Moments(3).statistics()
    with pytest.raises(WrongUse, match=r"expected \(n, 3\)"):
        Moments(3).add(x)


# ---- files ----------------------------------------------------------------------------------------------------------

def test_statistics_come_back_from_their_file_and_numpy_reads_them(tmp_path, rng):
    known = statistics(rng.standard_normal((50, 8)))
    write(tmp_path / "s.npz", known)
    again = read(tmp_path / "s.npz")
    assert again.count == 50
    assert again.mean.tobytes() == known.mean.tobytes() and again.covariance.tobytes() == known.covariance.tobytes()
    with np.load(tmp_path / "s.npz", allow_pickle=False) as file:  # as TTUR and pytorch-fid read it
        np.testing.assert_array_equal(file["mu"], known.mean)
        np.testing.assert_array_equal(file["sigma"], known.covariance)
    before = (tmp_path / "s.npz").read_bytes()
    write(tmp_path / "s.npz", known)
    assert (tmp_path / "s.npz").read_bytes() == before


@pytest.mark.parametrize("how", ["savez", "savez_compressed", "float32", "fortran", "more arrays"])
def test_files_of_others_are_read(tmp_path, rng, how):
    x = rng.standard_normal((50, 8))
    mean, covariance = x.mean(0), np.cov(x, rowvar=False)
    if how == "float32":
        mean, covariance = mean.astype(np.float32), covariance.astype(np.float32)
    save = np.savez_compressed if how == "savez_compressed" else np.savez
    save(tmp_path / "s.npz", mu=mean, sigma=np.asfortranarray(covariance) if how == "fortran" else covariance,
         **{"images": x} if how == "more arrays" else {})
    known = read(tmp_path / "s.npz")
    assert known.count == 0 and known.mean.dtype == known.covariance.dtype == np.float64
    np.testing.assert_array_equal(known.mean, mean)
    np.testing.assert_array_equal(known.covariance, covariance)


@pytest.mark.parametrize("mean_name, covariance_name", [("mean", "cov"), ("m", "s")])
def test_other_programs_names_are_the_same_statistics(mean_name, covariance_name, tmp_path, rng):
    x, y = rng.standard_normal((50, 8)), rng.standard_normal((60, 8)) * 2
    arrays = x.mean(0), np.cov(x, rowvar=False)
    np.savez(tmp_path / "a.npz", mu=arrays[0], sigma=arrays[1])
    np.savez(tmp_path / "b.npz", **{mean_name: arrays[0], covariance_name: arrays[1]})
    fake = statistics(y)
    assert distance(read(tmp_path / "a.npz"), fake) == distance(read(tmp_path / "b.npz"), fake) > 1
    np.savez(tmp_path / "c.npz", **{mean_name: arrays[0], covariance_name: np.triu(arrays[1])})
    with pytest.raises(FailedWork, match=f"{covariance_name} is no covariance"):
        read(tmp_path / "c.npz")


def test_images_in_place_of_statistics_say_how_they_are_compared(tmp_path):
    np.savez(tmp_path / "a.npz", np.zeros((2, 8, 8, 3), np.uint8))
    with pytest.raises(FailedWork, match="holds images, .* --data folder --data-root .*a.npz$"):
        read(tmp_path / "a.npz")


def bad_files():
    """Name -> what np.savez is given."""
    mean, covariance = np.zeros(3), np.eye(3)
    skew = np.array([[1, 0.5, 0], [0, 1, 0], [0, 0, 1]])
    return {"no sigma": {"mu": mean}, "another size": {"mu": mean, "sigma": np.eye(4)},
            "not square": {"mu": mean, "sigma": np.ones((3, 2))}, "matrix mu": {"mu": np.eye(3), "sigma": covariance},
            "text": {"mu": np.array(["a", "b", "c"]), "sigma": covariance},
            "objects": {"mu": np.array([1, 2, None]), "sigma": covariance},
            "complex": {"mu": mean * 1j, "sigma": covariance}, "nan": {"mu": mean * np.nan, "sigma": covariance},
            "inf": {"mu": mean, "sigma": covariance + np.inf}, "skew": {"mu": mean, "sigma": skew},
            "negative": {"mu": mean, "sigma": -covariance}, "empty": {"mu": np.zeros(0), "sigma": np.zeros((0, 0))},
            "bad count": {"mu": mean, "sigma": covariance, "count": np.int64(-5)},
            "large count": {"mu": mean, "sigma": covariance, "count": np.float64(np.inf)}}


@pytest.mark.parametrize("version", [(1, 0), (2, 0), (3, 0)])
def test_numpys_versions_for_plain_numbers_are_read_and_no_other(tmp_path, version):
    with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
        for name, array in (("mu", np.arange(3.0)), ("sigma", np.diag([1.0, 2, 3]))):
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array, version)
    if version == (3, 0):  # for names of fields outside Latin-1
        with pytest.raises(FailedWork, match=r"version \(3, 0\)"):
            read(tmp_path / "s.npz")
    else:
        assert np.array_equal(read(tmp_path / "s.npz").covariance, np.diag([1.0, 2, 3]))


@pytest.mark.parametrize("name", bad_files())
def test_bad_statistics_are_refused_in_one_line(tmp_path, name):
    np.savez(tmp_path / "s.npz", **bad_files()[name])
    with pytest.raises(FailedWork) as caught:
        read(tmp_path / "s.npz")
    assert "s.npz" in str(caught.value) and "\n" not in str(caught.value)


def test_a_size_that_is_only_claimed_takes_no_memory(tmp_path, monkeypatch):
    def member(shape):
        file = io.BytesIO()
        np.lib.format.write_array_header_1_0(file, {"descr": "<f8", "fortran_order": False, "shape": shape})
        return file.getvalue()

    for shapes, said in (((8192,), (8192, 8192)), "cut off"), (((1 << 40,), (1 << 40, 1 << 40)), "mu is float64"):
        with zipfile.ZipFile(tmp_path / "s.npz", "w") as archive:
            for name, shape in zip(("mu", "sigma"), shapes, strict=True):
                archive.writestr(f"{name}.npy", member(shape) + bytes(8 * 8192))
        monkeypatch.setattr(arrays_in_files.np, "empty", lambda count, dtype, empty=np.empty: empty(count, dtype)
                            if count < 1 << 17 else pytest.fail("memory was taken"))
        with pytest.raises(FailedWork, match=said):
            read(tmp_path / "s.npz")
        monkeypatch.undo()


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 no archive", b"\x93NUMPY\x01\x00"])
def test_no_archive_is_refused(tmp_path, content):
    for page in (b"<!DOCTYPE html>", b"version https://git-lfs.github.com/spec/v1"):
        (tmp_path / "p.npz").write_bytes(page)
        with pytest.raises(FailedWork, match="HTML page|Git LFS pointer"):
            read(tmp_path / "p.npz")
    (tmp_path / "s.npz").write_bytes(content)
    with pytest.raises(FailedWork, match="no statistics"):
        read(tmp_path / "s.npz")
    with pytest.raises(FailedWork, match="cannot be read"):
        read(tmp_path / "absent.npz")


def test_a_cut_off_file_is_refused(tmp_path, rng):
    write(tmp_path / "s.npz", statistics(rng.standard_normal((50, 30))))
    whole = (tmp_path / "s.npz").read_bytes()
    for length in range(0, len(whole), 97):
        (tmp_path / "s.npz").write_bytes(whole[:length])
        with pytest.raises(FailedWork):
            read(tmp_path / "s.npz")
    flipped = bytearray(whole)
    flipped[len(whole) // 2] ^= 1
    (tmp_path / "s.npz").write_bytes(flipped)
    with pytest.raises(FailedWork):  # the archive's checksum
        read(tmp_path / "s.npz")
