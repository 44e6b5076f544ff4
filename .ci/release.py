#!/usr/bin/env python3
"""Build and try what a release uploads, and upload nothing.

    pip install ".[release]"
    python .ci/release.py --check      only whether HEAD may be released
    python .ci/release.py              then wheel and sdist into dist/, each tried in an environment of its own

Everything is taken from HEAD, so what git does not have is not in a release; only the description differs from README,
whose images and pages an index of packages does not have. The sdist is built from a clean export,
the wheel from the sdist; `twine check --strict` reads both; each is installed into a fresh environment, says its
version and trains. Where something is missing, one line says what, and dist/ stays as it was.
"""

from __future__ import annotations

import argparse
import datetime
import hashlib
import os
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
TRAIN = ("train", "shapes", "--iterations", "2", "--width", "0.05", "--batch-size", "4", "--quiet", "--out", "run")


class Refused(Exception):
    """HEAD cannot be released; the text says why and what to do."""


def main() -> int:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--check", action="store_true", help="build nothing")
    asked = ask.parse_args()
    try:
        version = releasable()
        print(f"minigan {version} can be released: the tree is clean, CHANGELOG.md has its section, v{version} is free")
        if not asked.check:
            build(version)
    except (Refused, OSError) as why:
        print(f"release: {why}", file=sys.stderr)
        return 1
    return 0


def releasable() -> str:
    """HEAD's version, if it may be released; raises Refused."""
    changed = git("status", "--porcelain").splitlines()
    if changed:
        more = f" and {len(changed) - 1} more" if changed[1:] else ""
        raise Refused(f"not as in HEAD: {changed[0][3:]}{more}; commit or remove what is to be in no release")
    found = re.search(r'^__version__ = "(.*)"$', git("show", "HEAD:minigan/__init__.py"), re.M)
    version = found[1] if found else ""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise Refused(f"minigan/__init__.py has the version {version!r}; expected one like 0.2.0")
    title = next((line for line in git("show", "HEAD:CHANGELOG.md").splitlines() if line.startswith("## ")), "")
    dated = re.fullmatch(rf"## {re.escape(version)} \((\d\d\d\d-\d\d-\d\d)\)", title)
    if not dated:
        raise Refused(f"CHANGELOG.md begins with {title!r}; expected '## {version} ({datetime.date.today()})'")
    try:
        date = datetime.date.fromisoformat(dated[1])
    except ValueError:
        raise Refused(f"CHANGELOG.md dates {version} {dated[1]}, which is no day") from None
    if date > datetime.date.today():
        raise Refused(f"CHANGELOG.md dates {version} {date}, which is to come; today is {datetime.date.today()}")
    if git("tag", "--list", f"v{version}").strip():
        raise Refused(f"the tag v{version} is there: {version} is released; raise __version__ in minigan/__init__.py")
    old = sorted(path.name for path in (ROOT / "dist").glob(f"minigan-{version}*"))
    if old:
        raise Refused(f"dist/ has {old[0]} already: remove it first")
    return version


def build(version: str) -> None:
    """dist/minigan-VERSION.tar.gz and its wheel, tried before they are there."""
    with tempfile.TemporaryDirectory() as place:
        source, made = Path(place, "source"), Path(place, "made")
        source.mkdir()
        archive = Path(place, "source.tar")
        git("archive", "--output", str(archive), "HEAD")
        with tarfile.open(archive) as files:
            files.extractall(source, filter="data")
        describe(source)
        run(sys.executable, "-m", "build", "--outdir", made, source)
        files_made = sorted(made.iterdir())
        if [path.suffix for path in files_made] != [".whl", ".gz"]:
            raise Refused(f"built {[path.name for path in files_made]}; expected a wheel and an sdist")
        run(sys.executable, "-m", "twine", "check", "--strict", *files_made)
        for file in files_made:
            attempt(file, version, Path(place, file.suffix[1:]))
        (ROOT / "dist").mkdir(exist_ok=True)
        for file in files_made:
            shutil.copy(file, ROOT / "dist")
            print(f"{hashlib.sha256(file.read_bytes()).hexdigest()}  dist/{file.name}")
    print(f"nothing was uploaded; next: git tag -a v{version} -m 'minigan {version}', then twine upload dist/minigan-"
          f"{version}*")


def describe(source: Path) -> None:
    """Give the package another description than README.md, whose images and pages an index does not have."""
    settings, readme = source / "setup.cfg", (source / "README.md").read_text(encoding="utf-8")
    before = settings.read_text(encoding="utf-8")
    after = before.replace("long_description = file: README.md\n", "long_description = file: DESCRIPTION.md\n")
    if after == before:
        raise Refused("setup.cfg does not have README.md as its long_description")
    (source / "DESCRIPTION.md").write_text(for_index(readme), encoding="utf-8")
    settings.write_text(after, encoding="utf-8")


def for_index(readme: str) -> str:
    """README as an index of packages can show it: an image is what it shows, a link to a file its name.

    Links to other places, and those within the page, stay.
    """
    text = re.sub(r"<!--.*?-->\n", "", readme, flags=re.DOTALL)
    text = re.sub(r"!\[([^]]*)\]\((?!https?:)[^)]*\)", r"(Image: \1.)", text)
    text = re.sub(r"\[([^]]*)\]\((?!https?:|#)([^)#]*)(#[^)]*)?\)", r"\1 (`\2`)", text)
    title, _, rest = text.partition("\n")
    return f"{title}\n\nThe files that this text names are in the source archive.\n{rest}"


def attempt(file: Path, version: str, home: Path) -> None:
    """Install a file into a fresh environment; its command says the version and trains, far from the checkout."""
    venv.create(home, with_pip=True)
    scripts = home / ("Scripts" if os.name == "nt" else "bin")
    run(scripts / "python", "-m", "pip", "install", "--quiet", file)
    said = run(scripts / "minigan", "--version", cwd=home)
    if version not in said.split():
        raise Refused(f"{file.name}: minigan --version says {said.strip()!r}; expected {version}")
    run(scripts / "minigan", *TRAIN, cwd=home)
    if not (home / "run" / "samples.png").is_file():
        raise Refused(f"{file.name}: minigan {' '.join(TRAIN)} drew no samples.png")
    print(f"{file.name}: installed, says {version}, trains")


def git(*words: str) -> str:
    return run("git", "-C", ROOT, *words)


def run(*words: object, cwd: Path | None = None) -> str:
    """What a program prints; Refused, with the end of what it said, if it fails."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    done = subprocess.run([str(word) for word in words], cwd=cwd, env=environment, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True)
    if done.returncode:
        end = "\n".join(done.stdout.splitlines()[-20:])
        raise Refused(f"{' '.join(str(word) for word in words)} failed:\n{end}")
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
