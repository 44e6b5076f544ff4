"""minigan info: what it names."""

import re

import numpy as np
from published_files import archive, put, python_files

import minigan
from minigan.cli import main


def test_info_names_versions_threads_devices_and_data(data, tmp_path, capsys):
    put(tmp_path / "cache" / "cifar10", {})
    archive(tmp_path / "cache" / "cifar10" / "cifar-10-python.tar.gz", python_files(), "cifar-10-batches-py")
    put(tmp_path / "cache" / "inception", {"inception-2015-12-05.tgz": b""})
    put(tmp_path / "cache" / "classifiers", {"shapes-32.h5": b""})
    assert main.run(["info"]) == 0
    rows = dict(re.split("  +", line, maxsplit=1) for line in capsys.readouterr().out.splitlines())
    assert rows["minigan"].startswith(minigan.__version__) and rows["numpy"] == np.__version__
    assert rows["data cifar10"].endswith("cifar-10-python.tar.gz") and rows["data mnist"] == "not found"
    assert rows["device cpu"] == "yes" and rows["device cuda"].startswith(("yes", "no")) and "threads" in rows
    assert rows["cache folder"] == str(tmp_path / "cache") and rows["classifiers"] == "shapes-32"
    assert rows["inception's weights"].endswith("inception-2015-12-05.tgz")
