"""Mutation tests: changes one place of the code at a time and runs the tests nearest to it, one of which has to fail.

``mutants.toml`` lists the changes, ``mutants.csv`` what became of them. A run tests the mutants that no test has killed
yet, each in a copy of the checkout, and writes the result of each one as it comes, so an interrupted run continues. At
the end the tests that failed run once more on the unchanged code, where they have to pass.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import importlib
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from collections import Counter
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]

LIST, RESULTS = ROOT / "benchmarks" / "mutants.toml", ROOT / "benchmarks" / "mutants.csv"

COLUMNS = ("mutant", "outcome", "test", "commit")
"""Columns of the results. ``test`` is the first one that failed, ``commit`` that of the code and the tests."""

GENERATED = ("data/feet", "data/objects", "data/packed")
"""Folders that git ignores and tests use; `p2v data --scale smoke` makes them."""

PRELOADED = """
    accelerate anny cv2 igl k3d matplotlib.pyplot nbconvert numpy pandas plotly.graph_objects scipy.ndimage
    scipy.optimize scipy.spatial skimage.measure torch trimesh typer
""".split()
"""Modules that most tests import; they are loaded once, before the process of each mutant is forked."""

SECONDS = 900
"""A mutant that lets the tests run for longer counts as killed."""


def read_mutants() -> dict[str, dict[str, Any]]:
    """Name -> file, old (text), new (text) and tests (files, or tests in files) of each mutant."""
    return tomllib.loads(LIST.read_text("utf-8"))


def read_results() -> dict[str, dict[str, str]]:
    """Name of the mutant -> `COLUMNS`."""
    if not RESULTS.is_file():
        return {}
    with RESULTS.open(encoding="utf-8", newline="") as file:
        return {row["mutant"]: row for row in csv.DictReader(file)}


def write_result(name: str, outcome: str, test: str, commit: str) -> None:
    """Adds or replaces one row of the results, in the order of the list."""
    rows = {**read_results(), name: dict(zip(COLUMNS, (name, outcome, test, commit), strict=True))}
    with RESULTS.open("w", encoding="utf-8", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows[name] for name in read_mutants() if name in rows)


def mutate(text: str, mutant: dict[str, Any]) -> str:
    """The ``text`` of the file of a mutant with its change.

    Raises:
        ValueError: the old text is not in the file exactly once, or the new one is the same.
    """
    if (count := text.count(mutant["old"])) != 1 or mutant["old"] == mutant["new"]:
        raise ValueError(
            f"{mutant['file']}: the old text occurs {count} times; expected once, and another new one: adapt the "
            f"mutant in benchmarks/mutants.toml to the code\n{mutant['old']}"
        )
    return text.replace(mutant["old"], mutant["new"])


def copy_checkout(source: Path, target: Path) -> None:
    """Copies what git tracks or would track."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=source, capture_output=True, text=True, check=True).stdout
    for name in listed.split("\0"):
        if (source / name).is_file():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(source / name, target / name)


def _pytest_process(checkout: Path, arguments: list[str]) -> None:
    os.chdir(checkout)
    os.environ["PYTHONPATH"] = sys.path[0] = str(checkout)
    os.environ.pop("P2VLIB_HOME", None)
    with (checkout / "output.txt").open("w") as output:
        os.dup2(output.fileno(), 1)
        os.dup2(output.fileno(), 2)
    status = pytest.main(["-q", "-rfE", "-p", "no:cacheprovider", *arguments])
    sys.stdout.flush()
    os._exit(status)


def run_tests(checkout: Path, arguments: list[str]) -> tuple[str, list[str]]:
    """Runs pytest in ``checkout``, in a forked process; returns passed, failed or too long, and the failed tests.

    Raises:
        RuntimeError: the tests cannot be run, for instance because of a syntax error.
    """
    process = multiprocessing.get_context("fork").Process(target=_pytest_process, args=(checkout, arguments))
    process.start()
    process.join(SECONDS)
    if process.is_alive():
        process.kill()
        return "too long", []
    output = (checkout / "output.txt").read_text("utf-8", "replace")
    if process.exitcode not in (0, 1):
        raise RuntimeError(f"pytest ended with {process.exitcode}:\n{output[-2000:]}")
    failures = re.findall(r"^(?:FAILED|ERROR) (\S+?(?:\[.*?\])?)(?: - .*)?$", output, re.MULTILINE)
    return "failed" if process.exitcode else "passed", failures


def run_mutants(names: list[str]) -> None:
    """Runs mutants and writes their results."""
    mutants, command = read_mutants(), ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    commit = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.strip()
    for module in PRELOADED:
        with contextlib.suppress(ImportError):
            importlib.import_module(module)
    killers: dict[str, list[str]] = {}
    with tempfile.TemporaryDirectory() as folder:
        checkout = Path(folder) / "checkout"
        copy_checkout(ROOT, checkout)
        for data in GENERATED:
            if (ROOT / data).is_dir():
                shutil.copytree(ROOT / data, checkout / data)
        for name in names:
            mutant = mutants[name]
            path = checkout / mutant["file"]
            text = path.read_text("utf-8")
            path.write_text(mutate(text, mutant), "utf-8")
            outcome, failures = run_tests(checkout, ["-x", "--doctest-modules", *mutant["tests"], mutant["file"]])
            path.write_text(text, "utf-8")
            killed, test = ("survived", "killed")[outcome != "passed"], (failures or [""])[0]
            write_result(name, killed, test if outcome != "too long" else outcome, commit)
            print(f"{killed:8}  {name}{'  by ' * bool(test)}{test}", flush=True)
            killers |= {test: [*killers.get(test, []), name]} if test else {}
        _, failures = run_tests(checkout, ["--doctest-modules", *killers]) if killers else ("", [])
    for name in [name for test in failures for name in killers[test]]:
        write_result(name, "invalid", "its test fails without it", commit)
        print(f"invalid   {name}: its test fails without it")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", help="mutants to run; default: all that no test has killed yet")
    parser.add_argument("--all", action="store_true", help="run all mutants again")
    parser.add_argument(
        "--part", default="0/1", help="I/N: every Nth mutant from the Ith on, to run N at the same time"
    )
    options = parser.parse_args()
    mutants, results = read_mutants(), read_results()
    first, step = map(int, options.part.split("/"))
    is_killed = {name for name, row in results.items() if row["outcome"] == "killed" and not options.all}
    run_mutants(options.names or [name for name in mutants if name not in is_killed][first::step])
    outcomes = Counter(row["outcome"] for name, row in read_results().items() if name in mutants)
    print(f"{len(mutants)} mutants: {', '.join(f'{count} {outcome}' for outcome, count in outcomes.items())}")


if __name__ == "__main__":
    main()
