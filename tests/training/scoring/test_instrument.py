"""Which protocol and which network: what is missing is said with the way to get it."""

from scored import said

from minigan.formats import image_files


def test_what_is_missing_is_said_with_the_way_to_get_it(run, images, tmp_path, capsys, monkeypatch):
    image_files.save_npz(tmp_path / "a.npz", images)
    assert "--data" in said(["score", tmp_path / "a.npz"], capsys, 2)[1]
    assert "--count 120 shrinks it" in said(["score", tmp_path / "a.npz", "--data", "shapes", "-q"], capsys, 2)[1]
    assert "unknown protocol" in said(["score", run, "--protocol", "x"], capsys, 2)[1]
    assert "expected a run's folder" in said(["score", tmp_path / "nothing"], capsys, 2)[1]
    monkeypatch.setenv("MINIGAN_CACHE", str(tmp_path / "empty"))
    assert "minigan classifier train shapes --size 16" in said(["score", run], capsys, 2)[1]


def test_inceptions_weights_are_told_from_a_classifiers(run, tmp_path, capsys):
    (tmp_path / "w.pth").write_bytes(b"PK\x03\x04")
    error = said(["score", run, "--weights", tmp_path / "w.pth"], capsys, 1)[1]
    assert "--protocol sn-gan" in error and error.count("\n") == 1
