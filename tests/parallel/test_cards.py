"""Processes with a GPU each, joined by NCCL: the bytes of sums through MPI. Emulated, and on all cards there are.

Emulated: the cards are tests/emulated_cupy's, and MPI carries what NCCL would. That shows what is asked of NCCL and
what comes of it; not NCCL itself, its speed, or two streams at work at once.
"""

import json
import os
import subprocess
import sys

import emulated_cupy
import pytest
import tiny
from parallel.test_mpi import MPIEXEC

from minigan.engine import devices
from minigan.parallel import cards, mpi

pytest.importorskip("mpi4py")
pytestmark = pytest.mark.skipif(MPIEXEC is None, reason="no mpiexec: pip install mpich")
PROGRAM = tiny.ROOT / "tests" / "nccl_program.py"


def said_by(count, *words):
    """What so many processes of the program say together; all of them must end well."""
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(map(str, (tiny.ROOT, tiny.ROOT / "tests")))}
    process = subprocess.Popen([MPIEXEC, "-n", str(count), sys.executable, str(PROGRAM), *map(str, words)], text=True,
                               env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                               start_new_session=True)
    said = tiny.ended(process, 300)
    assert process.returncode == 0, said
    return said


@pytest.mark.parametrize("count", [2, 3])
def test_means_are_those_of_sums_in_the_processes_order_emulated(count):
    said = said_by(count, count, "means")
    assert said.count("alike") == count
    listed = ", ".join(map(str, range(count)))
    assert f"{count} processes train, each on a card of its own ({listed}), and NCCL 2.25.1 carries" in said


@pytest.mark.gpu
def test_means_are_those_of_sums_in_the_processes_order_on_all_cards(real_cupy):
    if isinstance(devices.nccl(), str):
        pytest.skip(devices.nccl())
    count = real_cupy.cuda.runtime.getDeviceCount()
    assert said_by(count, "real", "means").count("alike") == count


def words(folder, name, count, **chosen):
    return ["minigan", *tiny.words(folder / "data", folder / name, device="cuda", iterations=3, batch_size=2 * count,
                                   gen_batch_size=2 * count, **chosen), "--sync-bn", "--quiet"]


def test_a_training_on_cards_of_their_own_has_the_bytes_of_one_through_the_host_emulated(tmp_path):
    tiny.pictures(tmp_path / "data")
    said = said_by(2, 2, *words(tmp_path, "cards", 2))
    assert said.count("2 processes train, each on a card of its own (0, 1)") == 1
    assert said.count("with several processes an update is no CUDA graph") == 1
    said = said_by(2, 1, *words(tmp_path, "host", 2), "--no-graph")
    assert said.count("gradients go through the host and MPI (2 processes share 1 card)") == 1
    assert "CUDA graph" not in said
    on_cards, on_host = tiny.contents(tmp_path / "cards"), tiny.contents(tmp_path / "host")
    assert on_cards == on_host and len(on_cards) > 3


@pytest.mark.gpu
def test_a_training_on_all_cards_is_one_through_the_host(real_cupy, tmp_path, monkeypatch):
    count = real_cupy.cuda.runtime.getDeviceCount()
    if count < 2:
        pytest.skip("one card")
    tiny.pictures(tmp_path / "data", 4 * count)
    said_by(count, "real", *words(tmp_path, "cards", count))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "0")
    assert f"{count} processes share 1 card" in said_by(count, "real", *words(tmp_path, "host", count))
    on_cards, on_host = ((tmp_path / name / "log.jsonl").read_text() for name in ("cards", "host"))
    for one, other in zip(*(map(json.loads, text.splitlines()) for text in (on_cards, on_host)), strict=True):
        for loss in ("loss_dis", "loss_gen"):
            assert one[loss] == pytest.approx(other[loss], rel=1e-4)


class Comm:
    """mpi4py's communicator of one process."""

    def bcast(self, thing):
        return thing

    def allgather(self, thing):
        return [thing]


def test_without_nccl_gradients_go_through_the_host_and_what_to_install_is_said():
    with emulated_cupy.installed() as cupy:
        cupy.cuda.nccl.available = False
        try:
            missing = devices.nccl()
        finally:
            cupy.cuda.nccl.available = True
        group = mpi.Group(comm=Comm(), beside=Comm())
        assert cards.join(group, cupy, missing) == (
            "gradients go through the host and MPI (NCCL is missing; pip install nvidia-nccl-cu12)")
        assert group.cards is None and devices.nccl() is cupy.cuda.nccl


def test_each_process_of_a_machine_takes_the_next_card():
    with emulated_cupy.installed(cards=3) as cupy:
        found = []
        for place in range(5):
            devices.take_card(place)
            found.append(cupy.cuda.Device().id)
    assert found == [0, 1, 2, 0, 1]
