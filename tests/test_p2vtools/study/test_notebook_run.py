import json
import subprocess
import sys

import matplotlib.pyplot as plt
import pandas as pd
import pytest

from p2vlib import provenance
from p2vlib.config import PRESETS
from p2vtools.study import metrics_csv, notebook_run
from tests.notebooks import write_notebook
from tests.pages import metrics

ROW = metrics("04").drop(columns="notebook")


def test_begin_saves_both_configs_and_prints_one_line_of_provenance(home, capsys):
    assert provenance.home() == home and provenance.commit() == "unknown", "outside git"
    with pytest.raises(ValueError, match="unknown parameter 'stepps'"):
        notebook_run.begin("04", scale="smoke", stepps=3)
    assert not (home / "reports").exists()
    run = notebook_run.begin("04", scale="quick", seed=3, finetuning__steps=9)
    printed = capsys.readouterr().out
    assert "04 · scale quick · seed 3" in printed and "torch" in printed and printed.count("\n") == 1
    folder = home / "reports" / "quick"
    assert json.loads((folder / "config.json").read_text())["seed"] == PRESETS["quick"].seed
    own = json.loads((folder / "parts" / "04.config.json").read_text())
    assert own["seed"] == 3 and own["finetuning"]["steps"] == 9
    assert run.folder == folder and run.work == home / ".runs" / "quick" and not run.is_smoke


@pytest.mark.parametrize(("scale", "marks"), [("smoke", [notebook_run.SMOKE_NOTE]), ("quick", [])])
def test_only_figures_and_answers_of_a_smoke_run_are_marked(home, scale, marks):
    run = notebook_run.begin("01", scale=scale)
    figure = run.save_figure(plt.figure(), "feet", "Forty feet")
    assert [text.get_text() for text in figure.texts] == marks
    assert (run.folder / "figures" / "01-feet.png").read_bytes().startswith(b"\x89PNG")
    run.save_figure(figure, "sheet", "Photos", photos=True)
    assert (run.folder / "figures" / "01-sheet.jpg").read_bytes().startswith(b"\xff\xd8")
    assert [saved["file"] for saved in run.figures] == ["figures/01-feet.png", "figures/01-sheet.jpg"]
    plt.close(figure)
    run.answer("The foot is .63.")
    answer = json.loads((run.folder / "parts" / "01.json").read_text())["answer"]
    assert answer.startswith(f"*({notebook_run.SMOKE_NOTE})*" if marks else "The foot")


def test_the_answer_completes_the_manifest(home):
    run = notebook_run.begin("04", "Finetuning", scale="quick", seed=3)
    run.save_table(pd.DataFrame({"views": [4], "iou": [0.63]}), "views", "IoU by views")
    run.answer("The foot is .63.")
    manifest = json.loads((run.folder / "parts" / "04.json").read_text())
    assert manifest["notebook"] == "04" and manifest["title"] == "Finetuning"
    assert manifest["answer"] == "The foot is .63."
    assert manifest["tables"] == [{"file": "tables/04-views.csv", "caption": "IoU by views", "cell": None}]
    assert (run.folder / "tables" / "04-views.csv").read_text() == "views,iou\n4,0.63\n"
    assert manifest["metrics"] == "", "no metrics saved"
    assert manifest["seconds"] >= 0 and 0.01 < manifest["peak_memory_gib"] < 64
    assert {"version", "commit", "dirty", "torch", "device", "machine"} <= set(manifest) and manifest["seed"] == 3
    part = notebook_run.part_of_metrics(run.work, "04")
    with pytest.raises(ValueError, match="metrics have the columns"):
        run.save_metrics(ROW.assign(extra=1))
    assert not part.exists()
    saved = run.save_metrics(ROW)
    assert saved.equals(metrics("04")) and metrics_csv.read_metrics(part).equals(saved)
    run.answer("The foot is .63.")
    digest = json.loads((run.folder / "parts" / "04.json").read_text())["metrics"]
    assert digest == provenance.text_digest(part.read_text())


def test_peak_memory_includes_an_allocation_and_a_child_process():
    memory = notebook_run.PeakMemory()
    block = bytearray(200 * 2**20)
    assert len(block) and memory.sample() >= 0.19
    program = "block = bytearray(900 * 2**20); print('ready', flush=True); input()"
    with subprocess.Popen([sys.executable, "-c", program], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        child.stdout.readline()
        assert memory.sample() >= 0.87
        child.communicate(b"\n")
    memory.ended.set()


def test_begin_records_the_parameters_that_differ_from_their_defaults(home):
    source = "scale = 'smoke'\nseed = 0\nviews: int = 4  # photos\nroot = ''\n"
    write_notebook(home / "notebooks" / "05_views.ipynb", source)
    namespace = {"scale": "quick", "seed": 2, "views": 8, "root": "", "undeclared": 1}
    run = notebook_run.begin("05_views", "Views", namespace)
    assert run.parameters == {"views": 8} and (run.config.scale, run.config.seed) == ("quick", 2)
    with pytest.raises(FileNotFoundError, match="06_other.ipynb: no such notebook"):
        notebook_run.begin("06_other", "", namespace)
