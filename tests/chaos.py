"""The reliability campaign: ``make chaos MINUTES=30``, or ``python -m tests.chaos --only kills``. Linux only.

Every command of `COMMANDS` runs on a small place of its own and is disturbed: killed at random moments, started twice,
given a full disk, or no network. Then the same command runs again, and the place must hold what an undisturbed run
leaves: the same files with the same content. Damaged copies of the files that readers take are read with limits of time
and memory (`test_hostile_files`). The table of tried and survived is printed and written to ``reports/chaos.json``.
"""

import argparse
import contextlib
import ctypes
import fcntl
import hashlib
import json
import os
import random
import re
import shutil
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import torch
from pytest import MonkeyPatch
from safetensors import safe_open

from p2vlib import provenance
from p2vlib.files import write_text
from p2vtools.files import file_lock
from tests.chaos_commands import COMMANDS
from tests.test_p2vtools import test_hostile_files as hostile

SHARES = {"kills": 0.5, "races": 0.1, "disks": 0.05, "networks": 0.03, "mutations": 0.32}
"""Part of the campaign -> its share of the time."""

GOALS = {"kills": 200, "races": 50, "disks": 20, "networks": 10, "mutations": 100_000}

VOLATILE = {"seconds", "peak_memory_gib", "minutes", "minutes_of", "metadata", "outputs", "sha256", "id"}
"""Keys of JSON files and notebooks that hold a duration, digests of files that do, or the random id of a cell."""

DECIMALS = 6
"""Of numbers in JSON files: OpenCV's calibration repeats to nine."""

CHAIN = 4
"""Largest number of kills before the results are compared."""

BATCH, BATCH_SECONDS = 500, 5
"""Largest number of damaged copies of one file that one process reads, and for how long it begins with new ones."""


class Child:
    """A command in a forked process with a group of its own; what it prints goes to ``log``."""

    def __init__(self, function: Callable[[], object], place: Path, log: Path, network: bool = True) -> None:
        sys.stdout.flush()
        self.log, self.started, self.status = log, time.monotonic(), -int(signal.SIGKILL)
        self.pid = os.fork()
        if self.pid == 0:
            status = 70
            try:
                os.setpgid(0, 0)
                stream = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
                for number in (1, 2):
                    os.dup2(stream, number)
                if not network:
                    leave_network()
                os.chdir(place)
                os.environ["P2VLIB_HOME"] = str(place)
                status = int(function() or 0)
            except BaseException as error:
                print(f"p2v: {type(error).__name__}: {error}", file=sys.stderr, flush=True)
                status = 1
            finally:
                os._exit(status)
        with contextlib.suppress(OSError):  # the child has done so
            os.setpgid(self.pid, self.pid)

    def runs(self, seconds: float) -> bool:
        """Whether the process still runs ``seconds`` after its start."""
        while time.monotonic() < self.started + seconds:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.status = os.waitstatus_to_exitcode(status)
                return False
            time.sleep(0.005)
        return True

    def kill(self) -> None:
        os.killpg(self.pid, signal.SIGKILL)
        os.waitpid(self.pid, 0)

    def finish(self, seconds: float = 600) -> int:
        """The exit status; that of SIGKILL if the process still runs after ``seconds``."""
        if self.runs(seconds):
            self.kill()
        return self.status

    @property
    def last_line(self) -> str:
        lines = self.log.read_text("utf-8", errors="replace").strip().splitlines()
        return lines[-1] if lines else ""


def leave_network() -> None:
    """Moves this process to a network namespace that has the loopback device only."""
    if ctypes.CDLL(None, use_errno=True).unshare(0x40000000):  # CLONE_NEWNET
        raise OSError(ctypes.get_errno(), "unshare")
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as device:
        fcntl.ioctl(device, 0x8914, struct.pack("16sh14x", b"lo", 0x41))  # SIOCSIFFLAGS, up and running


def content_of(path: Path) -> str:
    """The content of a file without durations, times and the processes that wrote it."""
    content = path.read_bytes()
    if path.suffix in (".json", ".ipynb"):
        pairs = {"object_pairs_hook": lambda pairs: [pair for pair in pairs if pair[0] not in VOLATILE]}
        return repr(json.loads(content, parse_float=lambda number: round(float(number), DECIMALS) + 0.0, **pairs))
    if path.suffix == ".safetensors":
        with safe_open(path, "pt") as stored:
            tensors = {name: stored.get_tensor(name).numpy().tobytes() for name in stored.keys()}  # noqa: SIM118
            metadata = re.sub(
                r'"(seconds|photos_per_second)": \[[^\]]*\]', "", str(sorted((stored.metadata() or {}).items()))
            )
        return repr([sorted(tensors.items()), metadata])
    if path.suffix in (".html", ".md", ".csv"):
        text = re.sub("(?s)Minutes and peak memory.*?</table>", "", content.decode())
        return re.sub(r"\d+(\.\d+)? (s|min|minutes?|seconds?|GiB)\b", "", text)
    return hashlib.sha256(content).hexdigest()


def snapshot(place: Path) -> dict[str, str]:
    """Relative path -> content of all files of a place, except locks, logs and what IPython keeps."""
    files = (path for path in sorted(place.rglob("*")) if path.is_file())
    ignored = re.compile(r"(^|/)(\.?lock|[^/]*\.lock|log\.txt|\.runs/ipython/.*|__pycache__/.*|.*\.old\.csv)$")
    names = {path.relative_to(place).as_posix(): path for path in files}
    return {name: content_of(path) for name, path in names.items() if not ignored.search(name)}


@dataclass
class Campaign:
    """Places, undisturbed results and counts."""

    folder: Path
    rng: random.Random
    names: list[str]
    """Of `COMMANDS`."""
    counts: dict[str, dict[str, Counter]] = field(default_factory=dict)
    """Part -> command or file -> tried, survived."""
    failures: list[str] = field(default_factory=list)
    seconds: dict[str, float] = field(default_factory=dict)
    """Of an undisturbed run."""
    expected: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def place(self) -> Path:
        """Always the same path, so that files which name it are equal."""
        return self.folder / "place"

    def template(self, name: str) -> Path:
        return self.folder / "templates" / name

    def start(self, function: Callable[[], object], number: int = 0, network: bool = True) -> Child:
        return Child(function, self.place, self.folder / f"{number}.log", network)

    def learn(self, name: str) -> bool:
        """Prepares the place of a command and runs it undisturbed; returns whether that worked."""
        shutil.rmtree(self.place, ignore_errors=True)
        self.place.mkdir()
        run, prepare = COMMANDS[name]
        child = self.start(prepare)
        status = child.finish()
        shutil.copytree(self.place, self.template(name))
        if not status:
            child = self.start(run)
            status = child.finish()
        self.seconds[name] = time.monotonic() - child.started
        self.expected[name] = snapshot(self.place)
        if status:
            self.failures.append(f"undisturbed, {name}: ended with {status}: {child.last_line}")
            print(self.failures[-1])
        print(f"{name}: {self.seconds[name]:.1f} s undisturbed, {len(self.expected[name])} files", flush=True)
        return not status

    def restore(self, name: str) -> None:
        if not os.path.ismount(self.place):
            shutil.rmtree(self.place, ignore_errors=True)
        shutil.copytree(self.template(name), self.place, dirs_exist_ok=True)

    def repeat_and_compare(self, part: str, name: str, note: str, disturbances: int = 1) -> None:
        """Runs a disturbed command again and counts whether the place is as after an undisturbed run."""
        child, reasons = self.start(COMMANDS[name][0]), []
        if (status := child.finish()) and "already" not in child.last_line:
            reasons.append(f"the next run ends with {status}: {child.last_line[:400]}")
        expected, found = self.expected[name], snapshot(self.place)
        differing = sorted(key for key in expected.keys() | found.keys() if expected.get(key) != found.get(key))
        reasons += [f"{key} is missing or another" if key in expected else f"{key} is left" for key in differing]
        self.count(part, name, f"{note}: {'; '.join(reasons[:5])}" if reasons else "", disturbances)

    def tried(self, part: str) -> int:
        return sum(one["tried"] for one in self.counts.get(part, {}).values())

    def count(self, part: str, name: str, failure: str, disturbances: int = 1) -> None:
        """Counts disturbances that were all survived, or one of which was not."""
        counts = self.counts.setdefault(part, {}).setdefault(name, Counter(tried=0, survived=0))
        counts.update(tried=disturbances, survived=disturbances - bool(failure))
        if failure:
            self.failures.append(f"{part}, {name}: {failure.replace(f'{self.folder}/', '')}")
            print(self.failures[-1], flush=True)


def kill(campaign: Campaign, name: str) -> None:
    """Up to `CHAIN` kills at random moments, each of the run that continues after the kill before."""
    campaign.restore(name)
    delays: list[float] = []
    while len(delays) < CHAIN:
        child, delay = campaign.start(COMMANDS[name][0]), campaign.rng.uniform(0, campaign.seconds[name])
        if not child.runs(delay):
            break
        child.kill()
        delays.append(delay)
    note = "killed after " + ", ".join(f"{delay:.2f}" for delay in delays) + " s"
    if delays and child.status not in (0, -signal.SIGKILL) and "already" not in child.last_line:
        campaign.count("kills", name, f"{note}: the next run ends with {child.status}: {child.last_line}", len(delays))
    elif delays:
        campaign.repeat_and_compare("kills", name, note, len(delays))


def race(campaign: Campaign, name: str) -> None:
    """Two processes of one command at once, the second one a little later; each completes or says why it does not."""
    campaign.restore(name)
    children = [campaign.start(COMMANDS[name][0], 0)]
    time.sleep(campaign.rng.uniform(0, 0.3 * campaign.seconds[name]))
    children.append(campaign.start(COMMANDS[name][0], 1))
    ended = [(child.finish(), child.last_line) for child in children]
    if wrong := [line for status, line in ended if status and not re.match(r"p2v: .*(already|another)", line)]:
        campaign.count("races", name, f"one of two ended with {wrong[0][:400]}")
    elif all(status for status, _ in ended):
        campaign.count("races", name, f"both refused: {ended[0][1][:400]}")
    else:
        campaign.repeat_and_compare("races", name, "two at once")


def fill_disk(campaign: Campaign, name: str) -> None:
    """A disk that is full before the command ends; the message names the file, and with more room the run completes."""

    def size(folder: Path) -> int:
        return sum(path.stat().st_size // 4096 * 4096 + 4096 for path in folder.rglob("*"))

    campaign.restore(name)
    used = size(campaign.template(name))
    shutil.rmtree(campaign.place)
    campaign.place.mkdir()
    room = int(campaign.rng.uniform(0.02, 0.9) * 2**20) + used
    mount = ["mount", "-t", "tmpfs", "-o", f"size={room}", "tmpfs", str(campaign.place)]
    if subprocess.run(mount, capture_output=True).returncode:
        print("no tmpfs can be mounted here, so no disk is filled", flush=True)
        return
    try:
        campaign.restore(name)
        child = campaign.start(COMMANDS[name][0])
        status, line = child.finish(), child.last_line
        if status and not (line.startswith("p2v: ") and re.search(r"\S+: could not be|/", line)):
            campaign.count("disks", name, f"ended with {status}: {line[:400]}")
            return
        if status:
            print(f"{name}: {line[:200]}", flush=True)
        subprocess.run(["mount", "-o", "remount,size=1g", str(campaign.place)], check=True)
        campaign.repeat_and_compare("disks", name, f"{room - used} bytes free")
    finally:
        subprocess.run(["umount", "-l", str(campaign.place)], check=True)


def cut_network(campaign: Campaign, name: str) -> None:
    """A run without any network but the loopback device."""
    campaign.restore(name)
    child = campaign.start(COMMANDS[name][0], network=False)
    if status := child.finish():
        campaign.count("networks", name, f"ended with {status}: {child.last_line[:400]}")
    else:
        same = snapshot(campaign.place) == campaign.expected[name]
        campaign.count("networks", name, "" if same else "another result")


def damage_files(campaign: Campaign, count: int, end: float) -> None:
    """Reads damaged copies of each file, up to ``count`` altogether, in forked processes with a GiB of memory more."""
    hostile.replace_processes(MonkeyPatch())
    campaign.place.mkdir(exist_ok=True)
    targets = []
    for write in hostile.WRITERS:
        (folder := campaign.folder / "hostile" / write.__name__).mkdir(parents=True)
        targets += [(sample, folder) for sample in hostile.samples(write, folder)]
    spent, seeds = [0.0] * len(targets), [0] * len(targets)
    while campaign.tried("mutations") < count and (begin := time.monotonic()) < end:
        number = spent.index(min(spent))  # the same time for each file
        (target, folder), seed = targets[number], seeds[number]
        child = campaign.start(lambda: read_damaged(target, folder, seed))  # noqa: B023 (runs at once)
        status, name = child.finish(BATCH * 30.0), target.path.relative_to(folder).as_posix()
        for line in child.log.read_text("utf-8", "replace").splitlines():
            if match := re.fullmatch(r"damage (\d+): (.*)", line):
                seed = int(match[1]) + 1
                good = match[2] in ("read", "refused")
                campaign.count("mutations", name, "" if good else f"seed {match[1]}: {match[2][:300]}")
        if status:
            campaign.count("mutations", name, f"seed {seed}: ends its process with {status}")
            seed += 1
        seeds[number] = seed
        spent[number] += time.monotonic() - begin


def read_damaged(target: hostile.Sample, folder: Path, first: int) -> None:
    """Reads damaged copies of a file from seed ``first`` on and prints how each was answered."""
    hostile.limit_memory()
    original, end = target.path.read_bytes(), time.monotonic() + BATCH_SECONDS
    for seed in range(first, first + BATCH):
        answer = hostile.outcome(target, original, seed, folder)
        os.write(1, f"\ndamage {seed}: {' '.join(answer.split())}\n".encode())
        if time.monotonic() > end:
            return


PARTS = {"kills": kill, "races": race, "disks": fill_disk, "networks": cut_network}


def run_part(campaign: Campaign, part: str, goal: int, end: float) -> None:
    """Runs one part until its goal or its end, with the same time for each command."""
    if part == "mutations":
        damage_files(campaign, goal, end)
        return
    spent = dict.fromkeys(campaign.names, 0.0)
    while spent and campaign.tried(part) < goal:
        if (begin := time.monotonic()) > end:
            return
        name = min(spent, key=spent.__getitem__)
        if name in campaign.expected or campaign.learn(name):
            PARTS[part](campaign, name)
        else:
            campaign.names.remove(name)
            del spent[name]
            continue
        spent[name] += time.monotonic() - begin


def write_results(campaign: Campaign, part: str, path: Path, minutes: float) -> None:
    """Prints the table of a part and writes it to the file at ``path``."""
    counts = campaign.counts.get(part, {})
    total = {key: sum(one[key] for one in counts.values()) for key in ("tried", "survived")}
    failures = [line for line in campaign.failures if line.startswith((part, "undisturbed"))]
    result = {"commit": provenance.commit(), "minutes": round(minutes, 1), **total}
    with file_lock(path.with_suffix(".lock")):  # other parts may run at the same time
        results = json.loads(path.read_text("utf-8")) if path.is_file() else {}
        results[part] = result | {"by": counts, "failures": failures[:100]}
        write_text(path, json.dumps(results, indent=1, sort_keys=True) + "\n")
    for name, one in [*counts.items(), ("all", total)]:
        print(f"{part:10} {name:40} {one['tried']:7} tried {one['survived']:7} survived", flush=True)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--minutes", type=float, default=30.0, help="for all parts together")
    parser.add_argument("--seed", type=int, default=int(time.time()))
    parser.add_argument("--only", nargs="*", choices=[*SHARES], default=[*SHARES])
    parser.add_argument("--commands", nargs="*", choices=[*COMMANDS], default=[*COMMANDS])
    parser.add_argument("--out", type=Path, default=provenance.ROOT / "reports" / "chaos.json")
    options = parser.parse_args()
    torch.set_num_threads(1)  # a process with threads cannot be forked
    os.environ |= {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(provenance.ROOT)}
    share = sum(SHARES[part] for part in options.only)
    print(f"seed {options.seed}")
    with tempfile.TemporaryDirectory() as folder:
        campaign = Campaign(Path(folder), random.Random(options.seed), options.commands)
        for part in options.only:
            begin = time.monotonic()
            run_part(campaign, part, GOALS[part], begin + 60 * options.minutes * SHARES[part] / share)
            write_results(campaign, part, options.out, (time.monotonic() - begin) / 60)
    return int(bool(campaign.failures))


if __name__ == "__main__":
    sys.exit(main())
