"""A bar in a notebook: an output of the cell that is written anew in place.

Plain HTML through IPython's own display, which every notebook has, and which stays in the saved file. tqdm's bar is a
widget: it needs ipywidgets besides, and is gone where the file is opened again; rich and tqdm draw lines in a terminal
and in a log file, which progress.py does already.
"""

from __future__ import annotations

import html
import sys
from typing import Any


def here() -> bool:
    """Whether this process computes for a notebook: IPython runs in it, with a front end at the other end."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


class Bar:
    """One output of the cell that is being run, from the first `show` on."""

    def __init__(self) -> None:
        self.handle: Any = None

    def show(self, share: float, text: str) -> None:
        """Fill the bar up to `share`, from 0 to 1, with this text beside it."""
        shown = {"text/plain": text, "text/html": (
            f'<progress max="1" value="{share:.4f}" style="width: 14em; vertical-align: middle"></progress> '
            f'<code style="white-space: pre">{html.escape(text)}</code>')}
        if self.handle is None:
            from IPython.display import display
            self.handle = display(shown, raw=True, display_id=True)
        else:
            self.handle.update(shown, raw=True)
