"""Parallel jobs: order of the results, exceptions, and worker processes that end with their parent."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from p2vtools.executor import run_jobs

ROOT = Path(__file__).resolve().parents[2]


def divide(dividend: int, divisor: int) -> tuple[float, int, str | None]:
    return dividend / divisor, os.getpid(), os.environ.get("OMP_NUM_THREADS")


def write_pid_and_sleep(folder: Path, number: int) -> None:
    (folder / str(number)).write_text(str(os.getpid()))
    time.sleep(600)


def test_results_come_in_the_order_of_the_jobs_from_single_threaded_processes(capfd, monkeypatch, tmp_path):
    monkeypatch.chdir(tmp_path)
    results = run_jobs(divide, [(number, 2) for number in range(6)], "halves", "job", workers=2)
    assert [result for result, *_ in results] == [0, 0.5, 1, 1.5, 2, 2.5]
    pids, threads = ({result[i] for result in results} for i in (1, 2))
    assert os.getpid() not in pids and len(pids) <= 2 and threads == {"1"}
    assert not list(tmp_path.iterdir()) and capfd.readouterr() == ("", ""), "no files in the working directory, no log"


@pytest.mark.parametrize(("jobs", "workers"), [([(1, 4)], 2), ([(1, 4), (2, 4)], 1), ([], 2)])
def test_a_single_worker_is_this_process(jobs, workers):
    assert [result[:2] for result in run_jobs(divide, jobs, "quarters", "job", workers)] == [
        (dividend / divisor, os.getpid()) for dividend, divisor in jobs
    ]


def test_the_first_exception_stops_the_other_jobs(tmp_path):
    with pytest.raises(FileNotFoundError, match="missing"):
        run_jobs(write_pid_and_sleep, [(tmp_path / "missing", 0), (tmp_path, 1), (tmp_path, 2)], "jobs", "job", 2)
    assert not (tmp_path / "2").exists() or not is_running(tmp_path / "2")
    assert not is_running(tmp_path / "1")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_workers_end_with_their_parent(number, tmp_path):
    code = (
        "from pathlib import Path\n"
        "from p2vtools.executor import run_jobs\n"
        "from tests.test_p2vtools.test_executor import write_pid_and_sleep as sleep\n"
        f"run_jobs(sleep, [(Path({str(tmp_path)!r}), job) for job in range(2)], 'jobs', 'job', 2)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], cwd=ROOT, stderr=subprocess.DEVNULL) as parent:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        parent.send_signal(number)
        assert parent.wait(60) != 0
    for path in tmp_path.iterdir():
        wait_until(lambda path=path: not is_running(path))


def is_running(path: Path) -> bool:
    """Whether the process whose id is in the file at ``path`` is running."""
    import psutil

    return path.is_file() and psutil.pid_exists(int(path.read_text(encoding="utf-8") or 0))


def wait_until(condition) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    raise AssertionError("still not so after a minute")
