"""The two ways in which a request fails; the command line prints each as one line."""

from collections.abc import Collection, Sequence


class WrongUse(ValueError):
    """The request cannot be meant: an unknown name, options that contradict each other. Exit code 2."""


class FailedWork(RuntimeError):
    """A sound request that could not be carried out: a broken file, no network, a full disk. Exit code 1."""


def choose(what: str, given: str, choices: Collection[str]) -> None:
    """WrongUse, with the choices, unless `given` is one of them."""
    if given not in choices:
        raise WrongUse(f"unknown {what} '{given}'; choose from: {', '.join(sorted(choices))}")


def counted(number: int, what: str, plural: str = "") -> str:
    """A number of things for a sentence: "1 image", "1,200 images"; plural: if it is not with an s."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first `most` names for a sentence, and how many more there are: "a, b and 7 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more
