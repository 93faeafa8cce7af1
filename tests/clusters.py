"""A Dask scheduler and workers in processes of their own, each worker with a `home` of its own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import psutil

from p2vlib.provenance import ROOT


def accept_ctrl_c() -> None:
    """For a child process: a shell lets processes in the background ignore Ctrl-C, and tests may run there."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and was not collected does not."""
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition: Callable[[], object], seconds: float = 300.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not become true"
        time.sleep(0.05)


class Cluster:
    """Starts a scheduler; as a context manager it ends all processes that it has started.

    Args:
        folder: for the homes of the workers, ``folder / name``, and their logs.
        failures: of workers, after which a job is given up.
    """

    def __init__(self, folder: Path, failures: int = 3) -> None:
        self.folder, self.processes = folder, {}
        self.environment = os.environ | {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
        self.environment["DASK_DISTRIBUTED__SCHEDULER__ALLOWED_FAILURES"] = str(failures)
        file = folder / "scheduler.json"
        self._start("scheduler", "--host", "127.0.0.1", "--port", "0", "--no-dashboard", "--scheduler-file", str(file))
        while not file.is_file():
            assert self.processes["scheduler"].poll() is None, (folder / "scheduler.log").read_text("utf-8")
            time.sleep(0.05)
        self.address = json.loads(file.read_text("utf-8"))["address"]

    def start_worker(self, name: str, threads: int = 1) -> subprocess.Popen:
        options = ["--no-nanny", "--no-dashboard", "--local-directory", str(self.folder / "spill")]
        return self._start("worker", self.address, "--name", name, "--nthreads", str(threads), *options, name=name)

    def _start(self, *arguments: str, name: str = "") -> subprocess.Popen:
        name = name or arguments[0]
        environment = self.environment | {"P2VLIB_HOME": str(self.folder / name)}
        with open(self.folder / f"{name}.log", "wb") as log:
            command = [sys.executable, "-m", "dask", *arguments]
            self.processes[name] = subprocess.Popen(command, env=environment, stdout=log, stderr=log)
        return self.processes[name]

    def __enter__(self) -> Cluster:
        return self

    def __exit__(self, *_: object) -> None:
        for process in self.processes.values():
            process.kill()
            process.wait()
