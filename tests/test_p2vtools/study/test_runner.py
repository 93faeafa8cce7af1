import json
import os
import signal
import subprocess
import sys
import textwrap
from pathlib import Path

import nbformat
import pytest

from p2vlib.files import write_text
from p2vlib.provenance import ROOT
from p2vtools.study import runner
from p2vtools.study.parameters import parameters_by_notebook
from p2vtools.study.runner import StudyError, run_notebooks
from tests.clusters import is_alive, wait_until
from tests.notebooks import write_notebook

PARAMETERS = """
scale = "smoke"  # smoke, quick or full
seed = 0
noise = 0.5
"""

MANIFEST = """
import json, os, pathlib
parts = pathlib.Path(os.environ["P2VLIB_REPORT"]) / "parts"
parts.mkdir(exist_ok=True)
manifest = {{"notebook": "{name}", "seed": seed, "seconds": 6, "peak_memory_gib": 0.{number}}}
(parts / "{name}.json").write_text(json.dumps(manifest))
"""


def write_numbered(home: Path, name: str, *cells: str, parameters: str = "", answer: bool = True) -> Path:
    """A numbered notebook: parameters, the given cells, and a last cell that writes its manifest."""
    code = [textwrap.dedent(cell) for cell in cells] + [MANIFEST.format(name=name, number=name[:2])] * answer
    return write_notebook(home / "notebooks" / f"{name}.ipynb", PARAMETERS + parameters, *code)


def report(home: Path, name: str) -> Path:
    return home / "reports" / "smoke" / name


def stamp(home: Path, name: str) -> Path:
    return home / ".runs" / "smoke" / "stamps" / f"{name}.json"


def test_notebooks_run_in_order_and_again_only_when_stale(home, capfd):
    write_numbered(home, "02_second", "import os, sys\nprint('epoch 1', os.getcwd(), sys.executable, seed)")
    first = write_numbered(home, "01_first", "import p2vlib\nprint(p2vlib.__file__, seed)")
    assert run_notebooks("smoke") == {"01_first": "done", "02_second": "done"}
    printed = capfd.readouterr().out
    assert f"epoch 1 {home / 'notebooks'} {sys.executable} 0\n" in printed, "its folder, and this interpreter"
    assert str(ROOT / "p2vlib" / "__init__.py") in printed
    lines = [line.split(" in ")[0] for line in printed.splitlines() if " · " in line]
    assert lines == ["01_first · start", "01_first · done", "02_second · start", "02_second · done"]
    assert all(report(home, f"executed/{name}.ipynb").exists() for name in ("01_first", "02_second"))

    opened = nbformat.read(first, as_version=4)
    opened.cells[1].outputs = [nbformat.v4.new_output("stream", text="0\n")]
    nbformat.write(opened, first)
    assert run_notebooks("smoke") == {"01_first": "up to date", "02_second": "up to date"}, "outputs do not count"
    assert runner.is_complete("smoke", ["02"], {}, "smoke") and not runner.is_complete("smoke", ["02"], {}, "other")
    assert capfd.readouterr().out.splitlines() == ["01_first · up to date", "02_second · up to date"]

    assert run_notebooks("smoke", ["02"], {"seed": 4}) == {"02_second": "done"}
    assert json.loads(report(home, "parts/02_second.json").read_text())["seed"] == 4

    write_numbered(home, "01_first", "print('changed')")
    assert run_notebooks("smoke") == {"01_first": "done", "02_second": "done"}, "the second depends on the first"
    assert "01_first · start · about 0:12 left" in capfd.readouterr().out, "6 seconds each, as in the last run"

    digest = json.loads(stamp(home, "02_second").read_text())["digest"]
    second = home / "notebooks" / "02_second.ipynb"
    assert runner._is_current("smoke", second, digest)
    for damaged in (report(home, "executed/02_second.ipynb"), stamp(home, "02_second")):
        content = damaged.read_bytes()
        damaged.write_text("{")
        assert not runner._is_current("smoke", second, digest)
        damaged.write_bytes(content)
    printed = capfd.readouterr().out
    assert "02_second · its results are damaged" in printed and "02_second.json: not JSON" in printed

    report(home, "executed/01_first.ipynb").unlink()
    assert run_notebooks("smoke") == {"01_first": "done", "02_second": "up to date"}, "made again, it is the same"


def test_only_notebooks_that_leave_results_make_later_ones_stale(home):
    names = ("00_start", "01_first", "02_second", "02a_explained", "03_third")
    paths = {name: write_numbered(home, name) for name in names}

    def digest(name: str) -> str:
        return runner._digest(paths[name], {}, "smoke", "smoke")

    before = digest("03_third")
    for name in ("00_start", "02a_explained"):
        write_text(stamp(home, name), json.dumps({"digest": "another"}))
    assert digest("03_third") == before
    write_text(stamp(home, "01_first"), json.dumps({"digest": "another"}))
    assert digest("03_third") != before


def test_the_report_has_the_page_of_a_batch_run_with_a_volume_instead_of_a_widget(home):
    cell = """
        import numpy as np
        import pandas as pd
        from p2vtools import viewer
        from p2vtools.study import notebook_run
        from p2vlib.geometry.frames import Cube
        run = notebook_run.begin("01_first", "Volumes", globals())
        run.save_table(pd.DataFrame({"iou": [0.5]}), "iou", "IoU")
        viewer.volume_scene({"box": np.pad(np.ones((4, 4, 4), bool), 2)}, Cube((0, 0, 0), 0.3))
    """
    write_numbered(home, "01_first", cell, 'run.answer("An answer.")', answer=False)
    write_numbered(home, "02_second", "raise ValueError('no heel')")
    with pytest.raises(StudyError, match="no heel"):
        runner.run_study("smoke")
    page = report(home, "html/01_first.html").read_text()
    assert 'class="p2v-scene"' in page and "widget-view+json" not in page and "An answer." in page
    assert "html/01_first.html" in report(home, "index.html").read_text(), "pages of what completed before the failure"
    cells = nbformat.read(report(home, "executed/01_first.ipynb"), as_version=4).cells
    (table,) = json.loads(report(home, "parts/01_first.json").read_text())["tables"]
    assert [table["cell"]] == [cell.execution_count for cell in cells if "save_table" in cell.source]


@pytest.mark.parametrize(
    ("parameters", "message"),
    [
        ({"sede": 1}, "no parameter 'sede' in 01_first.ipynb; .* declare: scale, seed, noise, networks"),
        ({"seed": True}, "01_first.ipynb: parameter 'seed' is True; expected int, like its default 0"),
        ({"seed": 1.0}, "parameter 'seed' is 1.0; expected int"),
        ({"07.seed": 1}, "07.seed is for notebook 07, but the selected notebooks are 01"),
        ({"networks": 3}, "parameter 'networks' is 3; expected list"),
        ({"networks": "pix2vox-z"}, "no network is called 'pix2vox-z'; expected one of pix2vox-f"),
        ({"networks": ["psgn", 3]}, "no network is called '3'"),
        ({"networks": "nowhere.at_all:Class"}, "no network 'nowhere.at_all:Class' .*No module named"),
        ({"networks": "json:Missing"}, "no network 'json:Missing'"),
        ({"networks": "json:JSONDecoder"}, "json:JSONDecoder is no network: expected a subclass of torch.nn.Module"),
    ],
)
def test_a_wrong_parameter_is_rejected_before_anything_runs(home, parameters, message):
    path = write_numbered(home, "01_first", "print(seed)", parameters="\nnetworks = []")
    with pytest.raises(ValueError, match=message):
        run_notebooks("smoke", parameters=parameters)
    assert not (home / "reports").exists()
    assert parameters_by_notebook([path], "smoke", {"noise": 1}) == {path: {"scale": "smoke", "noise": 1}}


def test_unknown_scales_and_notebooks_are_rejected(home):
    with pytest.raises(StudyError, match="holds no NN_name.ipynb"):
        run_notebooks("smoke")
    write_numbered(home, "01_first").write_text('{"cells": [')
    with pytest.raises(ValueError, match=r"01_first.ipynb: not a readable Python notebook"):
        run_notebooks("smoke")
    with pytest.raises(ValueError, match="unknown scale 'fast'"):
        run_notebooks("fast")
    with pytest.raises(ValueError, match="no notebook has the number 07; there are 01"):
        run_notebooks("smoke", ["7"])
    write_numbered(home, "01_other")
    with pytest.raises(StudyError, match="01_first.ipynb and 01_other.ipynb share a number"):
        run_notebooks("smoke")


def test_results_of_the_run_before_remain_until_a_run_completes(home):
    earlier = report(home, "figures/01_old_name-feet.png")
    write_numbered(home, "01_first", "print('good')")
    run_notebooks("smoke")
    write_text(earlier, "a figure of an earlier version")
    files = [file for file in [*report(home, ".").rglob("*"), stamp(home, "01_first")] if file.is_file()]
    before = {file: file.read_bytes() for file in files}
    assert len(before) == 4
    write_numbered(home, "01_first", "print('before')", "total = 1\nraise ValueError('the foot has no heel')")
    write_numbered(home, "02_second")
    with pytest.raises(StudyError) as failure:
        run_notebooks("smoke")
    message, staged = str(failure.value), home / ".runs" / "smoke" / "staging" / "executed" / "01_first.ipynb"
    assert "failed in cell [4], `raise ValueError('the foot has no heel')`: ValueError: the foot has no" in message
    assert str(staged) in message and "\n" not in message
    outputs = [output for cell in nbformat.read(staged, 4).cells for output in cell.get("outputs", [])]
    assert [output.get("text", output.get("ename")) for output in outputs] == ["before\n", "ValueError"]
    assert {file: file.read_bytes() for file in before if file.is_file()} == before
    assert not stamp(home, "02_second").exists() and not report(home, "executed/02_second.ipynb").exists()
    write_numbered(home, "01_first", "print('good')")
    assert run_notebooks("smoke", ["01"]) == {"01_first": "up to date"} and earlier.exists()
    write_numbered(home, "01_first", "print('better')")
    assert run_notebooks("smoke", ["01"]) == {"01_first": "done"} and not earlier.exists()


@pytest.mark.parametrize(
    ("cell", "message"),
    [
        ("import os, signal\nos.kill(os.getpid(), signal.SIGKILL)", "01_first.ipynb failed: its kernel died"),
        ("raise SystemExit(0)", "01_first.ipynb ended without .*01_first.json"),
    ],
)
def test_a_kernel_that_ends_early_is_a_failure(home, cell, message):
    write_numbered(home, "01_first", cell, answer=False)
    with pytest.raises(StudyError, match=message):
        run_notebooks("smoke")
    assert not stamp(home, "01_first").exists()


def test_a_killed_study_continues_where_it_stopped(home):
    write_numbered(home, "01_first")
    waiting = """
        import os, pathlib, time
        pathlib.Path("running").write_text(str(os.getpid()))
        time.sleep(0 if pathlib.Path("go").exists() else 120)
    """
    write_numbered(home, "02_second", waiting)
    command = [sys.executable, "-c", "from p2vtools.study.runner import run_notebooks; run_notebooks('smoke')"]
    running = home / "notebooks" / "running"
    with subprocess.Popen(command, stdout=subprocess.DEVNULL) as process:
        wait_until(lambda: running.exists() and running.read_text())
        with pytest.raises(StudyError, match="another study of scale smoke is running here"):
            run_notebooks("smoke")
        os.kill(process.pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(int(running.read_text())))
    assert stamp(home, "01_first").exists() and not stamp(home, "02_second").exists()
    assert not report(home, "executed/02_second.ipynb").exists()
    (home / "notebooks" / "go").touch()
    assert run_notebooks("smoke") == {"01_first": "up to date", "02_second": "done"}


def test_kernels_use_all_cores_unless_limited_and_have_sockets_of_their_own(home, monkeypatch):
    kernels = []
    for threads in ("", "3"):
        monkeypatch.setenv("OMP_NUM_THREADS", threads)
        kernels.append(runner._kernel_manager("smoke", home))
        assert kernels[-1].kernel_spec.env["OMP_NUM_THREADS"] == (threads or str(len(os.sched_getaffinity(0))))
    assert kernels[0].ip != kernels[1].ip
    assert Path(kernels[0].ip).is_absolute(), "the kernel has another working directory"


def test_changed_files_and_networks_of_the_user_make_a_notebook_stale(home, monkeypatch, capfd):
    """Files are relative to the current directory; networks are imported by the kernel."""
    cell = """
        import pathlib
        from p2vlib.models import check_names
        check_names(*networks)
        print("read", pathlib.Path(checkpoint).read_text(), networks)
    """
    write_numbered(home, "01_trains", cell, parameters='\ncheckpoint = ""\nnetworks = []')
    folder = home / "elsewhere"
    folder.mkdir()
    monkeypatch.syspath_prepend(home)
    monkeypatch.chdir(folder)
    given = {"checkpoint": "weights.pth", "networks": "tiny_networks:Tiny"}
    source = "import torch\n\nclass Tiny(torch.nn.Module):\n    width = 2\n"
    for content, text, outcome in (
        ("one", source, "done"),
        ("", source + "    # a comment\n", "up to date"),
        ("two!", source, "done"),
        ("", source + "    depth = 3\n", "done"),
    ):
        if content:
            (folder / "weights.pth").write_text(content)
        (home / "tiny_networks.py").write_text(text)
        assert run_notebooks("smoke", None, given) == {"01_trains": outcome}
    assert "read two! ['tiny_networks:Tiny']" in capfd.readouterr().out


def test_a_file_that_is_written_again_changes_the_fingerprint_of_its_folder(tmp_path):
    (tmp_path / "a.json").write_text("1")
    before = runner._fingerprint(tmp_path)
    assert runner._fingerprint(tmp_path) == before and runner._fingerprint(tmp_path / "none") == []
    (tmp_path / "a.json").write_text("22")
    assert runner._fingerprint(tmp_path) != before
