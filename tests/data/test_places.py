"""Where the files of data sets may lie."""

import platformdirs

from minigan.data import places


def test_the_cache_folder_is_chosen_by_the_environment(cache, monkeypatch):
    assert places.cache_folder() == cache
    monkeypatch.setenv("MINIGAN_CACHE", "")  # as if it were not set
    assert places.cache_folder() == platformdirs.user_cache_path("minigan")
