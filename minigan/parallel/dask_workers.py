"""Independent work on the workers of a Dask cluster: runs of a grid, blocks of features.

The cluster is somebody else's (`dask scheduler` and `dask worker`, Slurm, Kubernetes, ...), and minigan its client; or
it is started here, for a machine of several cores. Who works on what, how it gets there, and what happens when a worker
dies are Dask's matter: its work is done by another one.

Dask runs whatever its clients send, as they send it: a scheduler belongs into a network that one trusts.
"""

from __future__ import annotations

import contextlib
import logging
import signal
import threading
import warnings
from collections.abc import Callable, Collection, Iterator
from concurrent.futures import CancelledError
from typing import Any

from minigan import __version__
from minigan.errors import FailedWork, WrongUse

ANSWERS_S = 15  # seconds that a scheduler has to answer, and its first worker to join
EXPECTED = "expected the address of a Dask scheduler, such as tcp://host:8786, or local:4 for four processes here"


class Workers:
    """The workers of a cluster.

    each: how many a machine has at most, so that a task takes its share of the cores and not all of them.
    """

    def __init__(self, client: Any, where: str):
        self.client, self.where = client, where
        workers = self._known()
        hosts = [worker["host"] for worker in workers.values()]
        self.each = max(hosts.count(host) * max(1, int(worker["nthreads"])) for host, worker in
                        zip(hosts, workers.values(), strict=True))

    def __len__(self) -> int:
        """How many tasks are worked on at once, now: workers come and go."""
        return sum(max(1, int(worker["nthreads"])) for worker in self._known().values())

    def submit(self, function: Callable[..., Any], *given: Any) -> Any:
        """Have function(*given) done: a future of Dask's. If its worker dies, another one begins it anew."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message="Sending large graph")  # images: they are meant to be sent
            return self.client.submit(function, *given, pure=False)

    def spread(self, thing: Any) -> Any:
        """A thing that every worker gets once: a future, to be given to tasks."""
        return self.client.scatter(thing, broadcast=True, hash=False)

    def ask_each(self, function: Callable[..., Any], *given: Any) -> dict[str, Any]:
        """What function(*given) gives on each worker, by its address."""
        return dict(self.client.run(function, *given))

    def ended(self, futures: Collection[Any], wait_s: float) -> list[Any]:
        """Those that have ended, after so many seconds at most, or as soon as there is one."""
        from dask import distributed
        with contextlib.suppress(TimeoutError, distributed.TimeoutError), self.client.as_current():
            distributed.wait(list(futures), timeout=wait_s, return_when="FIRST_COMPLETED")
        return [future for future in futures if future.done()]

    def flag(self, name: str) -> Any:
        """Something that is set once, and that tasks look at: see `flag_is_set`."""
        from dask import distributed
        return distributed.Event(name, client=self.client)

    def _known(self) -> dict[str, Any]:
        return dict(self.client.scheduler_info(n_workers=-1)["workers"])


def flag_is_set(name: str) -> bool:
    """In a task: whether whoever sent it has set the flag of this name."""
    from dask import distributed
    return bool(distributed.Event(name).is_set())


@contextlib.contextmanager
def connected(where: str) -> Iterator[Workers]:
    """The workers at `where`: a scheduler's address, or local:N, N processes that end with this block.

    WrongUse for neither, and if Dask is missing or the workers have another minigan; FailedWork if no scheduler
    answers, it has no workers, or it is lost meanwhile.
    """
    kind, _, rest = where.partition(":")
    if kind not in ("local", "tcp", "tls", "ws", "wss", "ucx") or not rest:
        raise WrongUse(f"--dask {where}: {EXPECTED}")
    if kind == "local" and not (rest.isdecimal() and 1 <= int(rest) <= 1024):
        raise WrongUse(f"--dask {where}: expected local:N with 1 to 1,024 processes")
    try:
        from dask import distributed
    except ImportError:
        raise WrongUse("--dask needs dask.distributed, which is not installed; pip install 'minigan[dask]'") from None
    with _quiet("distributed"), contextlib.ExitStack() as stack:
        at = where
        if kind == "local":
            with _without_ctrl_c():
                at = stack.enter_context(distributed.LocalCluster(
                    n_workers=int(rest), threads_per_worker=1, dashboard_address=":0", silence_logs=logging.CRITICAL))
        try:
            client = stack.enter_context(distributed.Client(at, timeout=ANSWERS_S, set_as_default=False))
        except (OSError, ValueError) as error:
            raise FailedWork(f"--dask {where}: no Dask scheduler answers there ({str(error).splitlines()[0]}); start "
                             "one with `dask scheduler`, and workers with `dask worker ADDRESS --nthreads 1`") from None
        try:
            client.wait_for_workers(1, timeout=ANSWERS_S)
        except (TimeoutError, distributed.TimeoutError):
            raise FailedWork(f"--dask {where}: the scheduler has no workers; start some: dask worker {where} "
                             "--nthreads 1") from None
        if kind == "local":
            client.register_plugin(_ignoring_ctrl_c(distributed))
        workers = Workers(client, where)
        _check_versions(workers)
        try:
            yield workers
        except (CancelledError, distributed.comm.CommClosedError):
            raise FailedWork(f"--dask {where}: the connection to the scheduler is lost; what was finished is kept, and "
                             "the same command goes on when a scheduler is there again") from None


@contextlib.contextmanager
def _without_ctrl_c() -> Iterator[None]:
    """Processes started inside ignore Ctrl-C, which a terminal sends them, too: this one says what they are to do."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)


def _ignoring_ctrl_c(distributed: Any) -> Any:
    """The same of a worker that Dask starts later, in place of one that died: a plugin, which each worker sets up."""
    class Ignoring(distributed.WorkerPlugin):  # type: ignore[misc]
        name = "ignoring Ctrl-C"

        def setup(self, worker: Any) -> None:
            signal.signal(signal.SIGINT, signal.SIG_IGN)
    return Ignoring()


@contextlib.contextmanager
def _quiet(name: str) -> Iterator[None]:
    """Inside, a library logs no traceback: what is to be said of a failure, minigan says."""
    logger = logging.getLogger(name)
    before = logger.level
    logger.setLevel(logging.CRITICAL)
    try:
        yield
    finally:
        logger.setLevel(before)


def _check_versions(workers: Workers) -> None:
    try:
        found = workers.ask_each(_version)
    except ModuleNotFoundError as error:
        raise WrongUse(f"--dask {workers.where}: a worker cannot import {error.name}; install the same minigan "
                       "where the workers run") from None
    others = {address: version for address, version in found.items() if version != __version__}
    if others:
        address, version = min(others.items())
        raise WrongUse(f"--dask {workers.where}: the worker {address} has minigan {version}, and this is "
                       f"{__version__}; install the same everywhere")


def _version() -> str:
    return __version__
