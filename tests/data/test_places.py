"""Where the files of data sets may lie."""

import os
from pathlib import Path

import platformdirs
import pytest

from minigan.data import locations
from minigan.errors import FailedWork


def test_the_cache_folder_is_chosen_by_the_environment(cache, monkeypatch):
    assert locations.cache_folder() == cache
    monkeypatch.setenv("MINIGAN_CACHE", "")  # as if it were not set
    assert locations.cache_folder() == platformdirs.user_cache_path("minigan")


def test_the_users_home_may_be_written_as_a_tilde(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MINIGAN_CACHE", "~/of mine")
    assert locations.cache_folder() == tmp_path / "of mine"


@pytest.mark.skipif(os.name != "posix", reason="other systems' users always have a home")
@pytest.mark.parametrize(("chosen", "said"), [(None, "there is no cache folder: no home folder"),
                                              ("~/x", "MINIGAN_CACHE is ~/x, but no home folder")])
def test_a_user_without_a_home_is_told_of_the_variable(chosen, said, monkeypatch):
    """As in a container with a user id of its own: no HOME, no entry in passwd."""
    import pwd  # Windows has none

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    monkeypatch.setattr(pwd, "getpwuid", unknown)
    for name in ("HOME", "MINIGAN_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    if chosen:
        monkeypatch.setenv("MINIGAN_CACHE", chosen)
    with pytest.raises(FailedWork, match=f"^{said} .*; set MINIGAN_CACHE to a folder"):
        locations.cache_folder()
    monkeypatch.setenv("MINIGAN_CACHE", "/var/tmp/minigan")
    assert locations.cache_folder() == Path("/var/tmp/minigan")
