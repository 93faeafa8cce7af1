import signal
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest

from p2vlib.provenance import ROOT
from p2vtools import executor
from p2vtools.cli import main
from p2vtools.study import sweep
from p2vtools.study.sweep import combinations, run_name
from tests.clusters import accept_ctrl_c, is_alive, wait_until
from tests.notebooks import ANSWER, EVALUATION, write_notebook

PARAMETERS = """
scale = "smoke"
seed = 0
views = 4
"""

THREADS = 'print("threads", __import__("os").environ["OMP_NUM_THREADS"], end="", flush=True)'

WAIT = """
import os, pathlib, time
pathlib.Path(f"began-{views}").write_text(str(os.getpid()))
while views == 8 and not pathlib.Path("go").exists():
    time.sleep(0.05)
"""


@pytest.fixture
def notebook(home: Path) -> Path:
    """A notebook that tests a network, with the parameters `views` and `seed`; with 8 views it waits for a file."""
    cells = (EVALUATION.format(name="05_last"), THREADS, WAIT, ANSWER)
    return write_notebook(home / "notebooks" / "05_last.ipynb", PARAMETERS, *cells)


def stamp(home: Path, run: str) -> Path:
    return home / ".runs" / "grids" / "smoke" / run / "stamps" / "05_last.json"


def test_an_interrupted_sweep_continues_and_its_runs_are_compared(home, notebook, monkeypatch, capfd):
    committed = home / "reports" / "smoke" / "metrics.csv"
    committed.parent.mkdir(parents=True)
    committed.write_text("an older result")
    monkeypatch.setenv("OMP_NUM_THREADS", "6")
    arguments = ["study", "--only", "05", "-p", "05.views=2,8", "--jobs", "2"]
    pipes = dict(text=True, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    command, began = [sys.executable, "-m", "p2vtools", *arguments], notebook.with_name("began-8")
    with subprocess.Popen(command, cwd=ROOT, preexec_fn=accept_ctrl_c, **pipes) as process:
        wait_until(lambda: stamp(home, "05.views=2").exists() and began.exists() and began.read_text())
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=120)
    printed = [line for line in err.splitlines() if not line.startswith("runs: ")]  # where a run takes long
    assert process.returncode == 130 and printed == ["p2v: interrupted; run the same command again to continue"]
    wait_until(lambda: not is_alive(int(began.read_text())))
    assert not stamp(home, "05.views=8").exists()

    notebook.with_name("go").touch()
    notebook.with_name("began-2").unlink()
    assert main(arguments) == 0
    out = capfd.readouterr().out
    assert not notebook.with_name("began-2").exists(), "a completed run is not repeated"
    assert "05.views=8 against 05.views=2: 1 better" in out
    page = home / "reports" / "grids" / "smoke" / "05.views=2,8.html"
    assert f"page: {page}\n" in out and "05.views=8" in page.read_text()
    folder = page.with_suffix("").with_name("05.views=8")
    assert "a run of a sweep at scale smoke with 05.views = 8</h1>" in (folder / "index.html").read_text()
    log = (home / ".runs" / "grids" / "smoke" / "05.views=8" / "log.txt").read_text()
    assert "threads 3" in log and "05_last · done" in log
    assert committed.read_text() == "an older result" and len(list(committed.parent.iterdir())) == 1


def test_a_failed_run_does_not_stop_the_others_and_a_wrong_parameter_stops_all(home, notebook):
    with pytest.raises(ValueError, match=r"05_last.ipynb: parameter 'views' is 'x'; expected int"):
        sweep.run_sweep("smoke", None, {"views": [2, "x"]})
    assert not (home / "reports").exists()
    source = nbformat.read(notebook, 4)
    source.cells[1].source = "assert seed != 3, 'the foot has no heel'\n" + source.cells[1].source
    nbformat.write(source, notebook)
    with pytest.raises(sweep.StudyError, match=r"1 of 2 runs failed; seed=3: 05_last.ipynb failed .* no heel.*log.txt"):
        sweep.run_sweep("smoke", ["05"], {"seed": [3, 4]})
    assert stamp(home, "seed=4").exists()


def test_what_a_worker_sends_back_leaves_the_other_notebooks_of_a_run(home, tmp_path, monkeypatch):
    worker, run = tmp_path / "worker", "grids/smoke/seed=1"
    table, log, weights = f"reports/{run}/tables/05-t.csv", f".runs/{run}/log.txt", f".runs/{run}/weights/net/a.bin"
    stamps = [f".runs/{run}/stamps/{number}.json" for number in ("03", "05")]
    for folder, files in {home: (table, weights, stamps[0]), worker: (table, log, stamps[1])}.items():
        for file in files:
            (folder / file).parent.mkdir(parents=True, exist_ok=True)
            (folder / file).write_text(folder.name)
    monkeypatch.setenv("P2VLIB_HOME", str(worker))
    for path in sweep._files_of("smoke", ["05"], {}, run, 0):
        executor._store(home / path, executor._read(worker / path))
    texts = [(home / file).read_text() for file in (table, log, weights, stamps[1])]
    assert texts == ["worker", "worker", home.name, "worker"]
    assert not (home / stamps[0]).exists(), "the results of 05 do not come from those of 03 that are here"


def test_runs_that_cannot_be_compared_still_count_as_completed(tmp_path, capsys):
    runs = [tmp_path / "one", tmp_path / "other"]
    assert sweep._compare(runs, tmp_path / "both.html") == tmp_path / "other" / "index.html"
    assert capsys.readouterr().out.startswith(f"not compared: {runs[0]}: holds no run")


def test_every_combination_is_a_run_with_a_distinct_name():
    parameters = combinations({"05.views": [4, 8], "seed": [0, 1]})
    assert [run_name(one) for one in parameters] == [f"05.views={v}_seed={s}" for v in (4, 8) for s in (0, 1)]
    assert run_name({"views": [1, 4]}) == "views=1,4" and run_name({}) == "plain"
    odd = {run_name({"root": root}) for root in ("/data/a b", "/data/a:b", "../a", "x" * 300)}
    assert len(odd) == 4 and all("/" not in name and " " not in name and len(name) < 120 for name in odd)
