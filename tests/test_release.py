"""A release is refused, in one line, unless HEAD is clean, dated and new; nothing is built or changed then."""

import configparser
import datetime
import re
import runpy
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import minigan

ROOT = Path(__file__).resolve().parents[1]
TODAY = datetime.date.today()
RELEASE = runpy.run_path(str(ROOT / ".ci" / "release.py"))

if shutil.which("git") is None:
    pytest.skip("git is missing: releases are made of what it has", allow_module_level=True)


def git(repository, *words):
    who = ("-c", "user.name=a", "-c", "user.email=a@b.invalid", "-c", "commit.gpgsign=false")
    subprocess.run(["git", *who, *words], cwd=repository, check=True, capture_output=True)


def commit(repository, **files):
    """Commit these texts: version is that of minigan/__init__.py, title the first of CHANGELOG.md."""
    if "version" in files:
        (repository / "minigan" / "__init__.py").write_text(f'__version__ = "{files["version"]}"\n')
    if "title" in files:
        text = f"# Changelog\n\n## {files['title']}\n\n- New.\n\n## 0.8.0 (2020-01-01)\n\n- Old.\n"
        (repository / "CHANGELOG.md").write_text(text)
    git(repository, "add", "--all")
    git(repository, "commit", "--allow-empty", "-m", "a change")


@pytest.fixture
def repository(tmp_path):
    """A checkout of 0.9.0 that may be released."""
    for folder in (".ci", "minigan"):
        (tmp_path / folder).mkdir()
    shutil.copy(ROOT / ".ci" / "release.py", tmp_path / ".ci")
    (tmp_path / ".gitignore").write_text("/dist/\n")
    git(tmp_path, "init", "--quiet")
    commit(tmp_path, version="0.9.0", title=f"0.9.0 ({TODAY})")
    return tmp_path


def release(repository, *options):
    before = sorted(repository.rglob("*"))
    done = subprocess.run([sys.executable, str(repository / ".ci" / "release.py"), *options], cwd=repository.parent,
                          capture_output=True, text=True, timeout=60)
    after = sorted(repository.rglob("*"))
    assert [path for path in after if ".git" not in path.parts] == [path for path in before if ".git" not in path.parts]
    return done


def refused(repository):
    done = release(repository)
    assert (done.returncode, done.stdout) == (1, "") and done.stderr.count("\n") == 1, done.stdout + done.stderr
    assert done.stderr.startswith("release: ")
    return done.stderr


def test_a_clean_dated_and_new_version_may_be_released(repository):
    done = release(repository, "--check")
    assert (done.returncode, done.stderr) == (0, "") and "minigan 0.9.0 can be released" in done.stdout


def test_what_is_not_committed_is_refused(repository):
    (repository / "minigan" / "new.py").touch()
    assert "not as in HEAD: minigan/new.py; commit" in refused(repository)
    (repository / "CHANGELOG.md").write_text("other\n")
    assert "not as in HEAD: CHANGELOG.md and 1 more; commit" in refused(repository)


@pytest.mark.parametrize("title", ["0.9.0 (not released)", "0.9.0", f"0.8.9 ({TODAY})", f"0.9.01 ({TODAY})",
                                   f"0x9.0 ({TODAY})", "0.9.0 (27 November 2026)"])
def test_a_changelog_that_does_not_begin_with_the_version_and_a_date_is_refused(repository, title):
    commit(repository, title=title)
    said = refused(repository)
    assert f"CHANGELOG.md begins with '## {title}'; expected '## 0.9.0 ({TODAY})'" in said


@pytest.mark.parametrize("date, why", [("2026-02-30", "which is no day"),
                                       (str(TODAY + datetime.timedelta(2)), "which is to come")])
def test_a_date_that_cannot_be_is_refused(repository, date, why):
    commit(repository, title=f"0.9.0 ({date})")
    assert why in refused(repository)


def test_a_released_version_is_refused(repository):
    git(repository, "tag", "v0.9.0")
    assert "the tag v0.9.0 is there" in refused(repository)
    commit(repository, version="0.9.1", title=f"0.9.1 ({TODAY})")
    assert release(repository, "--check").returncode == 0


@pytest.mark.parametrize("version", ["0.9", "0.9.0.dev1", "1.0.0rc1", "v0.9.0", ""])
def test_a_version_that_is_not_three_numbers_is_refused(repository, version):
    commit(repository, version=version)
    assert f"has the version {version!r}; expected one like" in refused(repository)


def test_files_of_the_same_version_in_dist_are_refused(repository):
    (repository / "dist").mkdir()
    (repository / "dist" / "minigan-0.9.0.tar.gz").touch()
    assert "dist/ has minigan-0.9.0.tar.gz already" in refused(repository)


def test_what_cannot_be_built_is_refused_with_what_the_tool_said(repository):
    (repository / "setup.cfg").write_text("[metadata]\nlong_description = file: README.md\n")
    (repository / "README.md").write_text("# a\n")
    (repository / "pyproject.toml").write_text('[build-system]\nrequires = []\nbuild-backend = "gone"\n')
    commit(repository)
    done = release(repository)
    assert done.returncode == 1 and "Traceback" not in done.stderr.split("failed:")[0]
    assert re.match(r"release: .* -m build .* failed:\n.", done.stderr)


def test_an_index_is_given_a_description_whose_links_lead_somewhere():
    given = ("# a\n\n![A ring](docs/ring.png)\n\n<!-- ci: x -->\n[one](docs/a.md#b), [two](https://b.invalid/c), "
             "[three](#d)\n\n| ![x](y.png) |\n")
    made = RELEASE["for_index"](given)
    assert made.startswith("# a\n\nThe files that")
    assert made.endswith("\n(Image: A ring.)\n\none (`docs/a.md`), [two](https://b.invalid/c), "
                         "[three](#d)\n\n| (Image: x.) |\n")
    whole = RELEASE["for_index"]((ROOT / "README.md").read_text(encoding="utf-8"))
    assert "](" not in whole.replace("](http", "") and "<!--" not in whole and whole.count("(Image: ") == 3


def test_the_description_takes_readmes_place_in_the_settings(tmp_path):
    for name in ("setup.cfg", "README.md"):
        shutil.copy(ROOT / name, tmp_path)
    RELEASE["describe"](tmp_path)
    settings = configparser.ConfigParser()
    settings.read(tmp_path / "setup.cfg", encoding="utf-8")
    assert settings["metadata"]["long_description"] == "file: DESCRIPTION.md"
    assert (tmp_path / "DESCRIPTION.md").is_file()


def test_the_changelog_begins_with_this_version():
    title = re.search(r"^## (.*)$", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.M)[1]
    assert re.fullmatch(rf"{re.escape(minigan.__version__)} \((not released|\d\d\d\d-\d\d-\d\d)\)", title)
