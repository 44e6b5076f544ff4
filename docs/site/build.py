"""Build the site: python docs/site/build.py [--out build/site] [--keep-notebooks]

    pip install ".[docs]"

The pages are the repository's Markdown as it lies there, and what is made here: the command line from its help, the
reference from the docstrings, the walkthroughs executed as notebooks, the kernels' sources. All is put together in
build/pages, links to source files are turned to these pages, and Sphinx makes HTML of it. A warning is an error.
--keep-notebooks takes those that were executed by the last build.
"""

from __future__ import annotations

import argparse
import importlib
import os
import pkgutil
import re
import shutil
import subprocess
import sys
from pathlib import Path

import click
import notebooks

import minigan
from minigan.cli.commands import GROUPS, Commands
from minigan.cli.help import ALL

ROOT = Path(__file__).resolve().parents[2]
CHAPTERS = sorted((ROOT / "examples").glob("[0-9]*.py"))
KERNELS = sorted((ROOT / "kernels").glob("*.cu"))
FOLDERS = ("docs", "bench", "kernels", "examples")  # whose pages the site shows, beside those at the top

# What people read, in order, kept or made here: group -> pages. The reference's rooms are added below.
CONTENTS = {
    "Use": ["docs/start", "docs/python", "docs/command-line", "docs/data", "docs/scores", "docs/look",
            "docs/machines"],
    "Learn": ["docs/methods", "examples/index", *(f"examples/{path.stem}" for path in CHAPTERS), "examples/sweep"],
    "Judge": ["docs/comparison", "bench/index", "docs/reliability", "CHANGELOG"],
    "Build": ["docs/architecture", "kernels/index", "CONTRIBUTING"],
    "Reference": ["reference/index"],
}
ROOMS = ["library", "exchange", "engine", "nn", "networks", "data", "metrics", "experiment", "training", "studies",
         "views", "cli", "formats", "errors"]  # as they are read; any other comes after
FACADE = {  # the names of `import minigan`, as a reader needs them; any other comes after
    "Train": ["train", "load", "Run"],
    "Measure": ["score", "fid", "inception_score", "kid", "precision_recall"],
    "Differentiate": ["Tensor", "grad", "no_grad", "spectral_norm"],
    "Catch": ["WrongUse", "FailedWork"],
}


def main() -> None:
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("--out", type=Path, default=ROOT / "build" / "site")
    ask.add_argument("--keep-notebooks", action="store_true")
    asked = ask.parse_args()
    pages, executed = ROOT / "build" / "pages", ROOT / "build" / "notebooks"
    shutil.rmtree(pages, ignore_errors=True)

    gather(pages)
    write(pages / "docs" / "command-line.md", command_line())
    contents = CONTENTS | {"Reference": CONTENTS["Reference"] + reference(pages)}
    for path in KERNELS:
        source = path.read_text(encoding="utf-8")
        write(pages / "kernels" / f"{path.stem}.md", f"# {path.name}\n\n```c++\n{source}```\n")
    kept = sorted(executed.glob("*.ipynb")) if asked.keep_notebooks else []
    if [path.stem for path in kept] != [path.stem for path in CHAPTERS]:
        kept = notebooks.execute_all(CHAPTERS, executed)
    for notebook in kept:
        notebooks.page(notebook, pages / "examples", pages / "notebooks" / "examples")
    for page in pages.rglob("*.md"):
        page.write_text(linked(page.read_text(encoding="utf-8"), page.relative_to(pages)), encoding="utf-8")
    for folder, below in {"": contents, "kernels": {"Sources": [path.stem for path in KERNELS]}}.items():
        with open(pages / folder / "index.md", "a", encoding="utf-8") as index:
            for title, names in below.items():
                index.write("\n".join(["", "```{toctree}", ":hidden:", f":caption: {title}", "", *names, "```", ""]))

    for before in (asked.out, ROOT / "build" / "doctrees"):
        shutil.rmtree(before, ignore_errors=True)
    settings = Path(__file__).resolve().parent
    subprocess.run([sys.executable, "-m", "sphinx", "--fail-on-warning", "--keep-going", "--quiet", "--jobs", "2",
                    "--fresh-env", "--conf-dir", str(settings), "--doctree-dir", str(ROOT / "build" / "doctrees"),
                    str(pages), str(asked.out)], check=True, cwd=ROOT)
    print(f"{len(list(asked.out.rglob('*.html')))} pages in {asked.out}")


def write(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


def gather(pages: Path) -> None:
    """Copy the repository's pages, and the images that they show, to the places that they have there."""
    for name in ("README.md", "CONTRIBUTING.md", "CHANGELOG.md"):
        write(pages / name.replace("README", "index"), (ROOT / name).read_text(encoding="utf-8"))
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.suffix in (".md", ".png", ".svg") and "site" not in path.relative_to(ROOT).parts:
                to = pages / path.relative_to(ROOT).parent / path.name.replace("README", "index")
                to.parent.mkdir(parents=True, exist_ok=True)
                shutil.copy(path, to)


def command_line() -> str:
    """The help of every command, as the command line prints it."""
    lines = ["# Command line", "", "What `minigan COMMAND --help` prints, of `train` `--help-all`.", ""]
    top = Commands(name="minigan")
    for group, sentences in GROUPS.items():
        lines += [f"## {group}", ""]
        for name in sentences:
            lines += helped(top.get_command(click.Context(top), name), f"minigan {name}")
    return "\n".join(lines)


def helped(command: click.Command | None, name: str) -> list[str]:
    """A heading and the help of a command, then those of the commands below it."""
    assert command is not None
    context = command.make_context(name, ["--help"], resilient_parsing=True)
    context.terminal_width = context.max_content_width = 90
    context.meta[ALL] = True  # as --help-all
    lines = [f"### {name}", "", "```text", click.unstyle(command.get_help(context)).rstrip(), "```", ""]
    if isinstance(command, click.Group):
        for below in command.list_commands(context):
            lines += helped(command.get_command(context, below), f"{name} {below}")
    return lines


def reference(pages: Path) -> list[str]:
    """Write a page for the names of `import minigan`, one for each room and one for each module; the rooms' pages."""
    others = sorted({*minigan.__all__} - {name for names in FACADE.values() for name in names})
    facade = ("# From `import minigan`\n\n"
              "The names that `import minigan` offers. Below them lies every module, room by room.\n")
    for title, names in {**FACADE, "More": others}.items():
        kinds = {name: "class" if isinstance(getattr(minigan, name), type) else "function"
                 for name in names if name in minigan.__all__}
        if kinds:
            shown = "\n".join(f".. auto{kind}:: minigan.{name}" for name, kind in kinds.items())
            facade += f"\n## {title}\n\n```{{eval-rst}}\n{shown}\n```\n"
    write(pages / "reference" / "index.md", facade)
    rooms: dict[str, list[str]] = {}  # room -> the lines that list its modules
    for found in pkgutil.walk_packages(minigan.__path__, "minigan."):
        if found.name.endswith("__main__"):
            continue
        name, members = found.name.removeprefix("minigan."), "   :no-members:\n" if found.ispkg else ""
        room, _, inner = name.partition(".")
        lines, path = rooms.setdefault(room, []), reference_page(found.name.replace(".", "/") + ".py")
        matter, above = "", ""
        if inner:
            # Not in the side bar: 200 modules beside each of 400 pages took more than half of Sphinx's time.
            matter, above = "---\norphan: true\n---\n\n", f"In [{room}]({'../' * name.count('.')}{room}.md).\n\n"
            first = (importlib.import_module(found.name).__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
            lines.append(f"- [{inner}]({name.replace('.', '/')}.md): {marked(first)}")
        write(pages / path, f"{matter}# {name}\n\n{above}```{{eval-rst}}\n.. automodule:: {found.name}\n{members}```\n")
    order = sorted(rooms, key=lambda room: ROOMS.index(room) if room in ROOMS else len(ROOMS))
    for room in order:
        with open(pages / "reference" / f"{room}.md", "a", encoding="utf-8") as page:
            page.write("\n".join(["", *rooms[room], ""]))
    return [f"reference/{room}" for room in order]


def marked(text: str) -> str:
    """Plain text as Markdown that shows it as it is, with `code` as code."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([\\*_\[\]<>$|])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def reference_page(source: str) -> str:
    """minigan/engine/ops.py -> reference/engine/ops.md"""
    return source.replace("minigan/", "reference/", 1).replace("/__init__.py", ".py").removesuffix(".py") + ".md"


def linked(text: str, page: Path) -> str:
    """The page's text with links to source files turned to the pages that show them, and none to folders."""
    def turned(match: re.Match[str]) -> str:
        label, target, anchor = match.groups()
        if "://" in target:
            return match.group()
        path = os.path.normpath(os.path.join(page.parent, target))
        if path.startswith("minigan/"):
            path = reference_page(path)
        elif (ROOT / path).is_dir():
            return label
        elif path.endswith((".py", ".cu")):
            path = os.path.splitext(path)[0] + ".md"
        path = path.replace("README.md", "index.md")
        return f"[{label}]({os.path.relpath(path, page.parent)}{anchor or ''})"

    return re.sub(r"(?<!!)\[([^\]]+)\]\(([^)#\s]+)(#[^)\s]*)?\)", turned, text)


if __name__ == "__main__":
    main()
