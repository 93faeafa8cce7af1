import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from p2vlib import config
from p2vlib.provenance import ROOT
from p2vlib.provenance import home as own_home
from p2vtools import executor
from p2vtools.executor import run_jobs
from p2vtools.files import file_digests
from tests.clusters import Cluster, accept_ctrl_c, is_alive, wait_until


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
    for jobs, workers in (([(1, 4)], 2), ([(1, 4), (2, 4)], 1), ([], 2)):  # a single worker is this process
        alone = [result[:2] for result in run_jobs(divide, jobs, "quarters", "job", workers)]
        assert alone == [(dividend / divisor, os.getpid()) for dividend, divisor in jobs]


@pytest.mark.parametrize(("cores", "gib", "expected"), [(16, 5.9, 2), (2, 64, 2), (4, 0.5, 1)])
def test_workers_are_as_many_as_cores_and_memory_allow(monkeypatch, cores, gib, expected):
    monkeypatch.setattr("dask.system.CPU_COUNT", cores)
    monkeypatch.setattr("distributed.system.MEMORY_LIMIT", int(gib * 2**30))
    assert executor.available_workers() == expected


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
    options = dict(cwd=ROOT, stderr=subprocess.DEVNULL, preexec_fn=accept_ctrl_c)
    with subprocess.Popen([sys.executable, "-c", code], **options) as parent:
        wait_until(lambda: len(list(tmp_path.iterdir())) == 2)
        parent.send_signal(number)
        assert parent.wait(60) != 0
    for path in tmp_path.iterdir():
        wait_until(lambda path=path: not is_running(path))


def write_number(number: int, signals: Path) -> int:
    """Writes a file and a folder. Of three jobs, 0 kills its process once; then 1 and 2 run at the same time."""
    if number == 0 and not (signals / "killed").exists():
        (signals / "killed").touch()
        os.kill(os.getpid(), signal.SIGKILL)
    if number:
        (signals / f"begun-{number}").touch()
        wait_until(lambda: all((signals / name).exists() for name in ("killed", "begun-1", "begun-2")))
    for path in (own_home() / f"{number}.txt", own_home() / "folders" / str(number) / "deep" / "file"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(str(number), encoding="utf-8")
    return os.getpid()


def files_of(number: int, signals: Path) -> list[Path]:
    return [Path(f"{number}.txt"), Path("folders") / str(number)]


def end_process(number: str) -> None:
    os.kill(os.getpid(), int(number))


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """A scheduler and one worker, which has a home of its own; a job is given up after two workers have died."""
    with Cluster(tmp_path_factory.mktemp("cluster"), failures=1) as cluster:
        cluster.start_worker("first")
        yield cluster


def test_workers_of_a_cluster_send_the_captures_that_one_process_makes(cluster, home, tmp_path_factory, monkeypatch):
    from p2vtools.synthesis import collection, objects  # heavy, and not needed by the jobs of the other tests

    monkeypatch.setattr(objects, "FAMILIES", dict([*objects.FAMILIES.items()][:2]))
    feet, data = config.FeetData(0, 0, 0), config.ObjectData(1, 0, 0, views=2, samples=1)
    small = config.Config(feet=feet, objects=data)
    collection.ensure_collection(small, scheduler=cluster.address)
    sent = file_digests(home / "data")
    monkeypatch.setenv("P2VLIB_HOME", str(tmp_path_factory.mktemp("alone")))
    collection.ensure_collection(small, workers=1)
    assert sent == file_digests(own_home() / "data") and len(sent) == 2 * (2 + 2 + 4 + 1) + 1


def test_a_job_whose_worker_dies_runs_in_another_one_also_if_that_joins_later(cluster, home, tmp_path):
    cluster.start_worker("second")
    killed = tmp_path / "killed"
    late = threading.Thread(target=lambda: (wait_until(killed.exists), cluster.start_worker("late")))
    late.start()
    jobs = [(number, tmp_path) for number in range(3)]
    pids = run_jobs(write_number, jobs, "numbers", "number", scheduler=cluster.address, outputs=files_of)
    late.join()
    assert cluster.processes["late"].pid in pids and len(set(pids)) == 2
    for number in range(3):
        for path in files_of(*jobs[number]):
            path = path if path.suffix else path / "deep" / "file"
            assert (home / path).read_text("utf-8") == str(number)
    assert not list((home / ".runs").iterdir()), "the mark of this home is removed"


def test_jobs_and_workers_that_cannot_be_used_are_named(cluster, home, monkeypatch):
    with monkeypatch.context() as patch, pytest.raises(ValueError, match=r"worker tcp://\S+ has other code than this"):
        patch.setattr(executor, "_digests", lambda folder: {"code": "of another commit"})
        run_jobs(divide, [(1, 2)], "halves", "half", scheduler=cluster.address)
    with pytest.raises(
        RuntimeError, match=r"signals: signal 1 of 1, \('9',\), ended 2 workers, the last at tcp://\S+$"
    ):
        run_jobs(end_process, [("9",)], "signals", "signal", scheduler=cluster.address)
    cluster.start_worker("wide", threads=2)
    with pytest.raises(ValueError, match=r"worker tcp://\S+ has 2 threads; start it with --nthreads 1"):
        run_jobs(divide, [(1, 2)], "halves", "half", scheduler=cluster.address)


def is_running(path: Path) -> bool:
    """Whether the process whose id is in the file at ``path`` is running."""
    return path.is_file() and is_alive(int(path.read_text(encoding="utf-8") or 0))
