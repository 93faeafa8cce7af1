"""Tiny real notebooks through papermill, in a checkout of their own."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import nbformat
import pytest
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

from p2vlib.files import write_text
from p2vlib.provenance import ROOT
from p2vtools.__main__ import main
from p2vtools.commands.study import parameter
from p2vtools.study import execution, runner
from p2vtools.study.parameters import parameters_by_notebook
from p2vtools.study.runner import StudyError, run_notebooks

PARAMETERS = """
scale = "smoke"  # smoke, quick or full
seed = 0
noise = 0.5
"""

ANSWER = """
import json, pathlib
parts = pathlib.Path("../reports") / scale / "parts"
parts.mkdir(parents=True, exist_ok=True)
(parts / "{name}.json").write_text(json.dumps({{"seed": seed, "peak_memory_gib": 0.{number}}}))
"""


def write_notebook(home: Path, name: str, *cells: str) -> Path:
    """A numbered notebook: parameters, the given cells, and a last cell that writes its manifest."""
    code = [new_code_cell(textwrap.dedent(cell)) for cell in (*cells, ANSWER.format(name=name, number=name[:2]))]
    parameters = new_code_cell(PARAMETERS, metadata={"tags": ["parameters"]})
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    notebook = new_notebook(
        cells=[new_markdown_cell("# A question"), parameters, *code], metadata={"kernelspec": kernel}
    )
    path = home / "notebooks" / f"{name}.ipynb"
    path.parent.mkdir(exist_ok=True)
    nbformat.write(notebook, path)
    return path


def report(home: Path, name: str) -> Path:
    return home / "reports" / "smoke" / name


def stamp(home: Path, name: str) -> Path:
    return home / ".runs" / "smoke" / "stamps" / f"{name}.json"


def test_notebooks_run_in_order_once_and_again_only_when_stale(home, capfd):
    write_notebook(home, "02_second", "import os, sys\nprint('epoch 1', os.getcwd(), sys.executable, seed)")
    write_notebook(home, "01_first", "import p2vlib\nprint(p2vlib.__file__, seed)")
    assert run_notebooks("smoke") == {"01_first": "done", "02_second": "done"}
    said = capfd.readouterr().out
    assert f"epoch 1 {home / 'notebooks'} {sys.executable} 0\n" in said, "its prints, its folder, this interpreter"
    assert str(ROOT / "p2vlib" / "__init__.py") in said
    lines = [line.split(" in ")[0] for line in said.splitlines() if " · " in line]
    assert lines == ["01_first · start", "01_first · done", "02_second · start", "02_second · done"]
    for name in ("01_first", "02_second"):
        assert report(home, f"executed/{name}.ipynb").exists() and stamp(home, name).exists()
        assert "A question" in report(home, f"html/{name}.html").read_text()
    assert not list(home.rglob("*partial*"))

    assert run_notebooks("smoke") == {"01_first": "up to date", "02_second": "up to date"}
    assert capfd.readouterr().out.splitlines() == ["01_first · up to date", "02_second · up to date"]

    assert run_notebooks("smoke", ["02"], {"seed": 4}) == {"02_second": "done"}
    assert json.loads(report(home, "parts/02_second.json").read_text())["seed"] == 4

    write_notebook(home, "01_first", "print('changed')")
    assert run_notebooks("smoke") == {"01_first": "done", "02_second": "done"}, (
        "what comes after a changed notebook is stale too"
    )

    report(home, "html/01_first.html").unlink()
    assert run_notebooks("smoke") == {"01_first": "done", "02_second": "up to date"}, (
        "made again, it is what the second one read"
    )


def test_what_notebook_00_was_told_makes_no_other_stale(home):
    _, first, second = (write_notebook(home, name) for name in ("00_start", "01_first", "02_second"))
    before = [runner._digest(path, {}, "smoke", "smoke") for path in (first, second)]
    write_text(stamp(home, "00_start"), json.dumps({"digest": "another"}))
    assert [runner._digest(path, {}, "smoke", "smoke") for path in (first, second)] == before
    write_text(stamp(home, "01_first"), json.dumps({"digest": "another"}))
    assert runner._digest(second, {}, "smoke", "smoke") != before[1]


def test_a_volume_in_a_batch_run_is_on_its_page_and_not_a_widget_that_nobody_serves(home):
    write_notebook(
        home,
        "01_first",
        """
        import numpy as np
        from p2vtools import viewer
        from p2vlib.geometry.frames import Cube
        viewer.volumes({"box": np.pad(np.ones((4, 4, 4), bool), 2)}, Cube((0, 0, 0), 0.3))
        """,
    )
    run_notebooks("smoke")
    page = report(home, "html/01_first.html").read_text()
    assert 'class="p2v-scene"' in page and "widget-view+json" not in page


def test_an_output_in_the_file_makes_no_notebook_stale(home):
    path = write_notebook(home, "01_first", "print(seed)")
    run_notebooks("smoke")
    opened = nbformat.read(path, as_version=4)
    opened.cells[2].outputs = [nbformat.v4.new_output("stream", text="0\n")]
    opened.cells[2].execution_count = 7
    nbformat.write(opened, path)
    assert run_notebooks("smoke") == {"01_first": "up to date"}


@pytest.mark.parametrize(
    ("parameters", "sentence"),
    [
        ({"sede": 1}, "no parameter 'sede' in 01_first.ipynb; .* declare: scale, seed, noise"),
        ({"seed": "1"}, r"01_first.ipynb: parameter 'seed' is '1'; expected int, like its default 0"),
        ({"seed": True}, "parameter 'seed' is True; expected int"),
        ({"seed": 1.0}, "parameter 'seed' is 1.0; expected int"),
    ],
)
def test_a_wrong_parameter_is_refused_before_anything_runs(home, parameters, sentence):
    write_notebook(home, "01_first", "print(seed)")
    with pytest.raises(ValueError, match=sentence):
        run_notebooks("smoke", parameters=parameters)
    assert not (home / "reports").exists()


def test_an_int_is_a_good_float(home):
    path = write_notebook(home, "01_first")
    assert parameters_by_notebook([path], "smoke", {"noise": 1}) == {path: {"scale": "smoke", "noise": 1}}


def test_wrong_names_of_scales_and_notebooks_are_refused(home):
    with pytest.raises(StudyError, match="holds no NN_name.ipynb"):
        run_notebooks("smoke")
    write_notebook(home, "01_first")
    with pytest.raises(ValueError, match="unknown scale 'fast'"):
        run_notebooks("fast")
    with pytest.raises(ValueError, match="no notebook has the number 07; there are 01"):
        run_notebooks("smoke", ["7"])
    write_notebook(home, "01_other")
    with pytest.raises(StudyError, match="01_first.ipynb and 01_other.ipynb have one number"):
        run_notebooks("smoke")


def test_a_file_that_is_no_notebook_is_told_by_name(home):
    write_notebook(home, "01_first").write_text('{"cells": [')
    with pytest.raises(ValueError, match=r"01_first.ipynb: not a readable Python notebook"):
        run_notebooks("smoke")


def test_a_failing_cell_stops_the_study_with_its_error(home):
    broken = "total = 1\nraise ValueError('the foot has no heel')"
    write_notebook(home, "01_first", "print('before')", broken)
    write_notebook(home, "02_second")
    with pytest.raises(StudyError) as failure:
        run_notebooks("smoke")
    told = str(failure.value)
    assert (
        "01_first.ipynb failed in cell [4], `raise ValueError('the foot has no heel')`: ValueError: the foot has no"
        in told
    )
    partial = report(home, "executed/01_first.partial.ipynb")
    assert str(partial) in told and "\n" not in told
    outputs = [output for cell in nbformat.read(partial, 4).cells for output in cell.get("outputs", [])]
    assert [output.get("text", output.get("ename")) for output in outputs] == ["before\n", "ValueError"]
    assert not stamp(home, "01_first").exists() and not stamp(home, "02_second").exists()
    left = sorted(str(file.relative_to(report(home, "."))) for file in report(home, ".").rglob("*") if file.is_file())
    assert left == ["executed/01_first.partial.ipynb"], "nothing of it passes for a result"

    write_notebook(home, "01_first", "print('mended')")
    assert run_notebooks("smoke") == {"01_first": "done", "02_second": "done"}
    assert not partial.exists()


def test_a_failed_run_leaves_the_results_of_the_run_before(home):
    write_notebook(home, "01_first", "print('good')")
    run_notebooks("smoke")
    files = [file for file in [*report(home, ".").rglob("*"), stamp(home, "01_first")] if file.is_file()]
    before = {file: file.read_bytes() for file in files}
    assert len(before) >= 4
    write_notebook(home, "01_first", "raise ValueError('no heel')")
    with pytest.raises(StudyError, match="no heel"):
        run_notebooks("smoke")
    partial = report(home, "executed/01_first.partial.ipynb")
    assert partial.exists() and {file: file.read_bytes() for file in before if file.is_file()} == before
    write_notebook(home, "01_first", "print('good')")
    assert run_notebooks("smoke") == {"01_first": "up to date"}


@pytest.mark.parametrize(
    ("cell", "sentence"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "01_first.ipynb failed: its kernel died"),
        ("raise SystemExit(0)", "01_first.ipynb ended without .*01_first.json"),
    ],
)
def test_a_kernel_that_ends_early_is_a_failure(home, cell, sentence):
    path = write_notebook(home, "01_first", cell)
    short = nbformat.read(path, 4)
    short.cells.pop()
    nbformat.write(short, path)
    with pytest.raises(StudyError, match=sentence):
        run_notebooks("smoke")
    assert not stamp(home, "01_first").exists()


def wait_for(condition, seconds: float = 60.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(0.05)


def is_alive(pid: int) -> bool:
    """Whether a process still works (one that ended but was not collected does not)."""
    status = Path(f"/proc/{pid}/stat")
    try:
        return status.read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def test_killed_in_the_middle_it_goes_on_where_it_stopped(home):
    write_notebook(home, "01_first")
    waiting = """
        import os, pathlib, time
        pathlib.Path("running").write_text(str(os.getpid()))
        time.sleep(0 if pathlib.Path("go").exists() else 120)
    """
    write_notebook(home, "02_second", waiting)
    command = [sys.executable, "-c", "from p2vtools.study.runner import run_notebooks; run_notebooks('smoke')"]
    running = home / "notebooks" / "running"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_for(lambda: running.exists() and running.read_text())
        with pytest.raises(StudyError, match="another study of scale smoke is running here"):
            run_notebooks("smoke")
        os.kill(process.pid, signal.SIGKILL)
    wait_for(lambda: not is_alive(int(running.read_text())))
    assert stamp(home, "01_first").exists() and not stamp(home, "02_second").exists()
    assert not report(home, "executed/02_second.ipynb").exists()
    (home / "notebooks" / "go").touch()
    assert run_notebooks("smoke") == {"01_first": "up to date", "02_second": "done"}
    costs = runner.study_costs("smoke")
    assert list(costs["minutes_of"]) == ["01_first", "02_second"] and costs["peak_memory_gib"] == 0.02
    assert costs["minutes"] == pytest.approx(sum(costs["minutes_of"].values()))


def test_what_came_with_git_keeps_its_minutes(home):
    for name in ("01_first", "02_second"):
        write_notebook(home, name, "pass")
    write_text(report(home, "study.json"), json.dumps({"minutes_of": {"data": 3.0, "01_first": 7.0, "09_gone": 1.0}}))
    write_text(stamp(home, "02_second"), json.dumps({"minutes": 5.0}))
    assert runner.study_costs("smoke")["minutes_of"] == {"data": 3.0, "01_first": 7.0, "02_second": 5.0}


def test_kernels_use_every_core_unless_told(home, monkeypatch):
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    monkeypatch.delenv("JUPYTER_PATH", raising=False)
    with execution.private_kernel("smoke") as name:
        spec = json.loads((Path(os.environ["JUPYTER_PATH"]) / "kernels" / name / "kernel.json").read_text())
    assert spec["env"]["OMP_NUM_THREADS"] == str(len(os.sched_getaffinity(0)))
    assert spec["argv"][0] == sys.executable
    assert "JUPYTER_PATH" not in os.environ


def test_the_command_line_tells_an_error_in_one_sentence(home, capfd):
    write_notebook(home, "01_first")
    assert main(["study", "--only", "01", "-p", "sede=3"]) == 1
    told = capfd.readouterr().err
    assert told.startswith("p2vlib: no parameter 'sede' in 01_first.ipynb") and told.count("\n") == 1
    with pytest.raises(ValueError, match="no parameter 'sede'"):
        main(["--debug", "study", "-p", "sede=3"])


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["study", "-p", "seed"], "'seed' is not name=value"),
        (["study", "-p", "5.seed=1"], "'5.seed=1' is not name=value or, for one notebook, 05.name=value"),
        (["study", "-p", "seed=1,2,1"], "'seed=1,2,1' has the value 1 twice"),
        (["study", "--jobs", "0"], "'0' is not a number of runs"),
        (["study", "-p", "scale='full'"], "the scale is set by --scale"),
        (["study", "--scale", "x"], "invalid choice: 'x'"),
        ([], "required: command"),
    ],
)
def test_the_command_line_refuses_what_it_cannot_read(arguments, sentence, capsys):
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("seed=3", [3]),
        ("noise=.5", [0.5]),
        ("views=[1, 4]", [[1, 4]]),
        ("look=phone", ["phone"]),
        ("a=b=c", ["b=c"]),
        ("root=", [""]),
        ("05.views=4,8", [4, 8]),
        ("views=[1, 4],[1, 8]", [[1, 4], [1, 8]]),
        ("look=phone,studio", ["phone", "studio"]),
        ("root='a,b'", ["a,b"]),
    ],
)
def test_parameters_are_literals_or_text_and_several_stand_between_commas(text, values):
    assert parameter(text) == (text.partition("=")[0], values)


def test_paths_are_meant_from_where_one_stands_and_what_they_name_is_watched(home, monkeypatch, capfd):
    cell = "import pathlib\nprint('read', pathlib.Path(checkpoint).read_text())"
    path = write_notebook(home, "01_reads", cell)
    notebook = nbformat.read(path, as_version=4)
    notebook.cells[1].source += '\ncheckpoint = ""'
    nbformat.write(notebook, path)
    stand = home / "elsewhere"
    stand.mkdir()
    (stand / "weights.pth").write_text("one")
    monkeypatch.chdir(stand)
    for content, outcome in (("one", "done"), ("one", "up to date"), ("two!", "done")):
        if (stand / "weights.pth").read_text() != content:
            (stand / "weights.pth").write_text(content)
        assert run_notebooks("smoke", None, {"checkpoint": "weights.pth"}) == {"01_reads": outcome}
    assert "read two!" in capfd.readouterr().out
