"""Grids of tiny real notebooks: each run in a process of its own, stopped by a real ctrl-C, gone on with."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_notebook

from p2vlib import progress
from p2vtools.__main__ import main
from p2vtools.study import sweep
from p2vtools.study.sweep import SweepJob, combinations, run_name

PARAMETERS = """
scale = "smoke"
seed = 0
views = 4
"""

TEST = """
import pandas as pd
from p2vtools.study import notebook_run
run = notebook_run.begin("05_last", "A title", scale=scale, seed=seed, parameters={"views": views})
told = dict(model="rays", variant="main", training="feet-phone", dataset="feet", look="phone", cameras="none",
            placement="true", taxonomy="foot", order="clockwise", threshold=0.4, selected=True, views=views)
who = [dict(subject=f"p{n}", sample=f"p{n}-left", iou=0.5 + views / 100 + n / 1000) for n in range(6)]
run.save_metrics(pd.DataFrame([{**told, **one} for one in who]))
print("threads", __import__("os").environ["OMP_NUM_THREADS"], end="", flush=True)
"""

WAIT = """
import os, pathlib, time
pathlib.Path(f"began-{views}").write_text(str(os.getpid()))
while views == 8 and not pathlib.Path("go").exists():
    time.sleep(0.05)
"""


@pytest.fixture
def notebook(home: Path) -> Path:
    """One that tests a network, with `views` and `seed` to be told; with 8 it waits for a file called go."""
    cells = [new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]}), new_code_cell(TEST)]
    cells += [new_code_cell(WAIT), new_code_cell('run.answer("An answer.")')]
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    path = home / "notebooks" / "05_last.ipynb"
    path.parent.mkdir()
    nbformat.write(new_notebook(cells=cells, metadata={"kernelspec": kernel}), path)
    return path


def stamp(home: Path, run: str) -> Path:
    return home / ".runs" / "grids" / "smoke" / run / "stamps" / "05_last.json"


def wait_for(condition, seconds: float = 120.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def hears_ctrl_c() -> None:
    """These tests may run in the background, where a shell lets ctrl-C be ignored."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def test_stopped_by_ctrl_c_a_grid_goes_on_and_is_compared(home, notebook, monkeypatch, capfd):
    plain = home / "reports" / "smoke" / "metrics.csv"
    plain.parent.mkdir(parents=True)
    plain.write_text("an older result")
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    arguments = ["study", "--only", "05", "-p", "05.views=2,8", "--jobs", "2"]
    facts = dict(cwd=sweep.ROOT, text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    began = notebook.with_name("began-8")
    with subprocess.Popen([sys.executable, "-m", "p2vtools", *arguments], preexec_fn=hears_ctrl_c, **facts) as process:
        wait_for(lambda: stamp(home, "05.views=2").exists() and began.exists() and began.read_text())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    assert process.returncode == 130 and err == "p2vlib: stopped; the same command goes on from here\n"
    assert not is_alive(int(began.read_text())), "nothing runs on unseen"
    assert not stamp(home, "05.views=8").exists()

    notebook.with_name("go").touch()
    notebook.with_name("began-2").unlink()
    assert main(arguments) == 0
    out = capfd.readouterr().out
    assert not notebook.with_name("began-2").exists(), "what was done is not done again"
    assert "2 of 2 runs" in out and "05.views=8 against 05.views=2: 1 better" in out
    page = home / "reports" / "grids" / "smoke" / "05.views=2,8.html"
    assert f"page: {page}\n" in out and "05.views=8" in page.read_text()
    own = page.with_suffix("").with_name("05.views=8")
    assert "a grid&#x27;s run at scale smoke with 05.views = 8</h1>" in (own / "index.html").read_text()
    assert json.loads((own / "study.json").read_text())["minutes"] > 0
    said = (home / ".runs" / "grids" / "smoke" / "05.views=8" / "log.txt").read_text()
    assert "threads 3" in said and sweep.CELL not in said
    assert plain.read_text() == "an older result" and len(list(plain.parent.iterdir())) == 1


def test_a_run_that_fails_is_told_and_a_wrong_one_keeps_all_from_running(home, notebook):
    with pytest.raises(ValueError, match=r"05_last.ipynb: parameter 'views' is 'x'; expected int"):
        sweep.run_sweep("smoke", None, {"views": [2, "x"]})
    with pytest.raises(ValueError, match=r"03.views is for notebook 03, but the selected notebooks are 05"):
        sweep.run_sweep("smoke", None, {"03.views": [2]})
    assert not (home / "reports").exists()
    broken = nbformat.read(notebook, 4)
    broken.cells[1].source = "raise ValueError('the foot has no heel')"
    nbformat.write(broken, notebook)
    with pytest.raises(sweep.StudyError, match=r"1 of 1 runs failed; seed=3: 05_last.ipynb failed .* no heel.*log.txt"):
        sweep.run_sweep("smoke", ["05"], {"seed": [3]})


def test_runs_that_cannot_be_compared_have_gone_well_all_the_same(tmp_path, capsys):
    runs = [tmp_path / "one", tmp_path / "other"]
    assert sweep._compared(runs, tmp_path / "both.html") == tmp_path / "other" / "index.html"
    assert capsys.readouterr().out.startswith(f"not compared: {runs[0]}: holds no run")


def test_every_combination_is_a_run_with_a_name_of_its_own():
    told = combinations({"05.views": [4, 8], "seed": [0, 1]})
    assert [run_name(one) for one in told] == [f"05.views={views}_seed={seed}" for views in (4, 8) for seed in (0, 1)]
    assert run_name({"views": [1, 4]}) == "views=1,4" and run_name({}) == "plain"
    odd = {run_name({"root": root}) for root in ("/data/a b", "/data/a:b", "../a", "x" * 300)}
    assert len(odd) == 4 and all("/" not in name and " " not in name and len(name) < 120 for name in odd)


def test_the_time_left_is_that_of_the_last_run_or_of_the_cells_so_far(monkeypatch):
    now = 100.0
    monkeypatch.setattr(sweep.time, "monotonic", lambda: now)
    job = SweepJob("smoke", ["03", "05"], {}, {"03": 60.0, "05": 30.0}, began=80.0)
    assert job.left() == 90.0 and job.line() == "waits"
    job.process, job.place, job.since = "a process", ("03_a", 4, 11), 80.0
    assert job.left() == 70.0
    assert job.line() == "03_a, cell 4 of 11 · 0:20, about 1:10 left"
    job.expected = {"05": 30.0}
    assert job.left() == pytest.approx(20 / 3 * 8 + 30)
    job.expected = {}
    assert job.left() is None and job.line() == "03_a, cell 4 of 11 · 0:20"
    job.outcome, job.ended = "done", 150.0
    assert job.left() == 0.0 and job.line() == "done in 1:10"


def test_a_board_says_what_changed_where_nothing_moves(capsys):
    board = progress.Board()
    board.show(["one  waits", "two  waits"])
    board.show(["one  runs", "two  waits"])
    board.show(["one  done", "two  waits"], last=True)
    assert capsys.readouterr().out == "one  waits\ntwo  waits\none  done\n"
