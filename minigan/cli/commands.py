"""All commands: in which group of `minigan --help` each stands, what it does in one sentence, and where it is defined.

To add one: a line in GROUPS, and its file in `load`, where it is called NAME_command. A file is imported when one of
its commands is called: the help and the completion of names wait for no NumPy.
"""

from __future__ import annotations

import signal
import threading
from types import ModuleType

import click
from click.shell_completion import CompletionItem

from minigan.cli.help import Group, write_rows
from minigan.errors import choose

# group -> command -> what it does: the first sentence of its docstring, too
GROUPS = {
    "Train": {
        "train": "Train a GAN on a data set, or on images of your own.",
        "sweep": "Train a grid of runs: every method, setting and seed.",
        "pack": "Pack a data set into one file, to be read batch by batch.",
    },
    "Measure": {
        "score": "Score generated images against real ones: IS, FID and more.",
        "compare": "Print the stored scores of runs side by side.",
        "diagnose": "Look into a discriminator: norms, gradients, slopes, alarms.",
        "classifier": "Train or describe classifiers whose features score images.",
        "weights": "Say what a file of Inception's weights holds.",
    },
    "Look": {
        "sample": "Draw images from a run's generator.",
        "log": "Print what a run has logged: losses, norms, scores.",
        "report": "Show runs on one HTML page: choices, images, losses, scores.",
        "watch": "Serve the report of runs to a browser while they go on.",
        "networks": "List the networks, or show the layers of one.",
    },
    "Papers": {
        "explain": "Say where each choice of a training comes from.",
        "reproduce": "Train what a table or a figure of the papers shows.",
        "figure": "Draw a figure of the papers from your own runs.",
    },
    "Exchange": {
        "import": "Make a run of weights that another tool trained.",
        "export": "Write a run's networks as safetensors, PyTorch or ONNX.",
    },
    "Set up": {
        "info": "Say what is found here: versions, BLAS, GPU, data, weights.",
        "completion": "Print what makes bash, zsh or fish complete minigan's words.",
    },
}


def load(name: str) -> click.Command | None:
    """The command of this name, None if there is none."""
    home: ModuleType
    if name in ("train", "sweep", "explain", "reproduce"):
        from minigan.cli import train as home
    elif name == "pack":
        from minigan.cli import data as home
    elif name in ("score", "compare", "weights"):
        from minigan.cli import score as home
    elif name in ("report", "watch", "log", "figure", "diagnose"):
        from minigan.cli import view as home
    elif name == "classifier":
        from minigan.cli import classifier as home
    elif name in ("export", "import"):
        from minigan.cli import exchange as home
    elif name == "sample":
        from minigan.cli import sample as home
    elif name in ("networks", "info"):
        from minigan.cli import info as home
    elif name == "completion":
        from minigan.cli import completion as home
    else:
        return None
    found: click.Command = getattr(home, f"{name}_command")
    return found


class Commands(Group):
    """All commands, each loaded when it is called; its help shows them in their groups."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [name for group in GROUPS.values() for name in group]

    def resolve_command(self, ctx: click.Context, args: list[str]
                        ) -> tuple[str | None, click.Command | None, list[str]]:
        if not args[0].startswith("-") and not ctx.resilient_parsing:
            choose("command", args[0], self.list_commands(ctx))
        return super().resolve_command(ctx, args)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        before = signal.getsignal(signal.SIGINT)
        plain = before is signal.default_int_handler and threading.current_thread() is threading.main_thread()
        if plain:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C while NumPy is loaded ends all, as in __main__.py
        try:
            return load(cmd_name)
        finally:
            if plain:
                signal.signal(signal.SIGINT, before)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        wide = max(map(len, self.list_commands(ctx)))
        for group, sentences in GROUPS.items():
            write_rows(formatter, group, [(name.ljust(wide), sentence) for name, sentence in sentences.items()])

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Names of commands with their sentences; click's own way would load every command for its first line."""
        found = [CompletionItem(name, help=sentence) for group in GROUPS.values() for name, sentence in group.items()
                 if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)
