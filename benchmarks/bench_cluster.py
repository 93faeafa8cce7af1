"""Renders people on a Dask cluster whose workers have folders of their own, die and join, against one process.

The captures are rendered by this process, by a scheduler with one worker, and by one with three workers: two at the
start, of which one is killed after a quarter of the captures, and one that joins then. All three must leave the same
bytes. The last line has the seconds of one and of three workers, without their start, and their ratio.

    PYTHONPATH=. python benchmarks/bench_cluster.py [--people 16]
"""

from __future__ import annotations

import argparse
import os
import tempfile
import threading
import time
from pathlib import Path

from p2vlib.config import Config, FeetData, ObjectData
from p2vtools.executor import run_jobs
from p2vtools.files import file_digests
from p2vtools.synthesis import collection, objects
from tests.clusters import Cluster


def warm_up(name: str, folder: Path) -> None:
    """A job that imports the renderer and the bodies, and ends when all workers that are expected run one."""
    collection.unseen_capture(Config(feet=FeetData(test=1, views=1)), 0, "left")
    (folder / name).touch()
    while len(list(folder.iterdir())) < int(name.split()[1]):
        time.sleep(0.05)


def render(config: Config, home: Path, scheduler: str | None) -> tuple[float, dict[str, str]]:
    """Seconds, and the digests of the files, of the data of ``config`` in a new ``home``."""
    os.environ["P2VLIB_HOME"] = str(home)
    began = time.perf_counter()
    collection.ensure_collection(config, workers=1, scheduler=scheduler)
    return time.perf_counter() - began, file_digests(home / "data")


def disturb(cluster: Cluster, home: Path, captures: int) -> None:
    """Kills a worker and starts another one when there are as many ``captures`` in ``home``."""
    while sum(1 for _ in home.glob("data/feet/*/*/*/subject.json")) < captures:
        time.sleep(0.05)
    cluster.processes["second"].kill()
    cluster.start_worker("late")
    print(f"killed one worker and started another one after {captures} captures", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--people", type=int, default=16)
    objects.FAMILIES.clear()
    people = parser.parse_args().people
    config = Config(feet=FeetData(train=people, validation=0, test=0, views=8), objects=ObjectData(0, 0, 0))
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        _, expected = render(config, root / "alone", None)
        seconds = []
        for names in (["only"], ["first", "second"]):
            (part := root / names[0]).mkdir()
            with Cluster(part) as cluster:
                for name in names:
                    cluster.start_worker(name)
                (ready := part / "ready").mkdir()
                run_jobs(
                    warm_up,
                    [(f"{n} {len(names)}", ready) for n in range(len(names))],
                    "start",
                    "worker",
                    scheduler=cluster.address,
                )
                if len(names) > 1:
                    threading.Thread(target=disturb, args=(cluster, part / "home", people), daemon=True).start()
                took, found = render(config, part / "home", cluster.address)
                assert found == expected, "other bytes than those of one process"
                seconds.append(took)
                done = [
                    sum(1 for _ in part.glob(f"{name}/data/feet/smoke/*/person-train*")) for name in cluster.processes
                ]
                print(dict(zip(cluster.processes, done, strict=True)), flush=True)
    print(
        f"{len(expected)} files, the same bytes; {seconds[0]:.1f} s with one worker, {seconds[1]:.1f} s with three, of "
        f"which one died and one came late: {seconds[0] / seconds[1]:.2f} times as fast on {os.cpu_count()} cores"
    )


if __name__ == "__main__":
    main()
