"""The two ways in which a request fails; the command line prints each as one line."""


class WrongUse(ValueError):
    """The request cannot be meant: an unknown name, options that contradict each other. Exit code 2."""


class FailedWork(RuntimeError):
    """A sound request that could not be carried out: a broken file, no network, a full disk. Exit code 1."""
