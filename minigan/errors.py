"""The two ways in which a request fails; the command line prints each as one line. How such lines say what there is."""

from collections.abc import Collection, Sequence
from typing import Any


class WrongUse(ValueError):
    """The request cannot be meant: an unknown name, options that contradict each other. Exit code 2.

    >>> import minigan
    >>> try:
    ...     minigan.train("shapes", norm="spectral")
    ... except minigan.WrongUse as error:
    ...     print(str(error)[:40])
    unknown norm 'spectral'; choose from: bn
    """


class FailedWork(RuntimeError):
    """A sound request that could not be carried out: a broken file, no network, a full disk. Exit code 1.

    >>> import minigan
    >>> run = minigan.train("shapes", width=0.03, iterations=1, quiet=True)
    >>> (run.folder / "here").touch()
    >>> try:
    ...     run.report(run.folder / "here" / "page.html")
    ... except minigan.FailedWork as error:
    ...     print("cannot be written" in str(error))
    True
    """


def choose(what: str, given: str, choices: Collection[str]) -> None:
    """WrongUse, with the choices, unless `given` is one of them."""
    if given not in choices:
        raise WrongUse(f"unknown {what} {brief(given)}; choose from: {', '.join(sorted(choices))}")


def counted(number: int, what: str, plural: str = "") -> str:
    """A number of things for a sentence: "1 image", "1,200 images"; plural: if it is not with an s."""
    return f"{number:,} {what if number == 1 else plural or what + 's'}"


def listed(names: Sequence[str], most: int = 5) -> str:
    """The first `most` names for a sentence, and how many more there are: "a, b and 7 more"."""
    more = f" and {len(names) - most} more" if len(names) > most else ""
    return ", ".join(names[:most]) + more


def printable(text: str) -> str:
    """A text as a terminal may have it: on one line; control characters, and what is no Unicode, as escapes."""
    return text if text.isprintable() else "".join(c if c.isprintable() else ascii(c)[1:-1] for c in text)


def brief(value: Any, most: int = 80) -> str:
    """What was given, for a message: short, printable, at once.

    Its type and its size are asked for first: to format all of a value that a file made may take hours and gigabytes.
    most: characters of a text.
    """
    if value is None or type(value) in (bool, float):
        return str(value)
    if type(value) is int:
        return str(value) if value.bit_length() <= 64 else f"a whole number of {value.bit_length()} bits"
    if isinstance(value, (str, bytes)):
        text = value[:most].decode("latin-1") if isinstance(value, bytes) else str(value[:most])
        return f"'{printable(text)}{'...' * (len(value) > most)}'"
    if type(value) in (tuple, list) and len(value) <= 8 and all(
            type(n) is int and n.bit_length() <= 64 for n in value):
        return str(value)
    kind = printable(type(value).__name__[:40])
    article = "an" if kind[0] in "aeiouAEIOU" else "a"
    return f"{article} {kind} of {len(value)}" if isinstance(value, (tuple, list, dict, set)) else f"{article} {kind}"


def reason(error: BaseException, most: int = 300) -> str:
    """What an error of a library says, which may quote the file that it was reading: short, on one printable line."""
    words = getattr(error, "strerror", None) or str(error)[:2 * most]
    return printable(" ".join(words.split())[:most]) or type(error).__name__
