"""The walkthroughs as notebooks, executed, and as pages of the site."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jupytext
import nbformat
from nbclient import NotebookClient
from nbconvert import MarkdownExporter

SECONDS = 600  # of one cell; the whole of a chapter takes a minute or two


def execute(chapter: Path, notebook: Path) -> None:
    """Run chapter, a script with # %% cells, from top to bottom and write it as a notebook with what it showed."""
    made = jupytext.read(chapter)
    with tempfile.TemporaryDirectory() as pictures:
        os.environ["MINIGAN_PICTURES"] = pictures  # the kernel's: the images in the repository stay as they are
        NotebookClient(made, timeout=SECONDS, kernel_name="python3",
                       resources={"metadata": {"path": str(chapter.parent)}}).execute()
    for cell in made.cells:
        cell.metadata = nbformat.NotebookNode()  # when each cell ran differs from build to build
        for output in cell.get("outputs", []):
            if "text" in output:  # of temporary folders only what is in them
                output.text = re.sub(re.escape(tempfile.gettempdir()) + r"/tmp\w+/", "", output.text)
    notebook.parent.mkdir(parents=True, exist_ok=True)
    nbformat.write(made, notebook)


def execute_all(chapters: list[Path], folder: Path) -> list[Path]:
    """Execute chapters in processes of their own, two at a time, into folder; the notebooks' paths."""
    def one(chapter: Path) -> Path:
        notebook, begin = folder / f"{chapter.stem}.ipynb", time.perf_counter()
        subprocess.run([sys.executable, __file__, str(chapter), str(notebook)], check=True)
        print(f"executed {chapter.name} in {time.perf_counter() - begin:.0f} s", flush=True)
        return notebook

    longest_first = sorted(chapters, key=lambda chapter: chapter.stem[:2] not in ("04", "05", "08"))
    with ThreadPoolExecutor(2) as pool:
        return sorted(pool.map(one, longest_first))


def page(notebook: Path, pages: Path, kept: Path) -> None:
    """Write pages/NAME.md and the images that it shows, and the notebook itself into the folder kept."""
    text, found = MarkdownExporter().from_filename(str(notebook), {"output_files_dir": f"{notebook.stem}_files"})
    for name, data in found["outputs"].items():
        (pages / name).parent.mkdir(parents=True, exist_ok=True)
        (pages / name).write_bytes(data)
    kept.mkdir(parents=True, exist_ok=True)
    (kept / notebook.name).write_bytes(notebook.read_bytes())
    head, rest = text.replace("![png]", "![What the cell above draws]").lstrip().split("\n", 1)
    link = f'<a href="{notebook.name}" download>This chapter as a notebook</a>, executed.'
    (pages / f"{notebook.stem}.md").write_text(f"{head}\n\n{link}\n{rest}", encoding="utf-8")


if __name__ == "__main__":
    execute(Path(sys.argv[1]), Path(sys.argv[2]))
