"""Notebook 03 on the real archives' layout, with small ones written here, and with a published checkpoint."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pandas as pd
import pytest
import torch
from safetensors import safe_open
from safetensors.numpy import save_file

from p2vlib import models
from p2vlib.geometry.frames import FOOT_SYNSET
from p2vtools.cli import main
from p2vtools.study import metrics_csv, runner
from p2vtools.study.notebook_run import part_of_metrics
from tests.test_p2vtools.archives.test_published import checkpoint_of
from tests.test_p2vtools.archives.test_shapenet import CHAIR, write_archive

CHECKOUT = Path(__file__).parents[3]
NAME = "03_shapenet_baseline"


def is_first_foot(record: dict) -> bool:
    """Whether it is a capture, in the cube of objects, of the first person of a split."""
    return record["taxonomy"] == FOOT_SYNSET and record["cube"] == "object" and record["subject"].endswith("-0000")


@pytest.fixture
def checkout(home, smoke) -> Path:
    """An empty checkout with notebook 03, and of the smoke data the chairs and some feet."""
    (home / "data" / "packed").mkdir(parents=True)
    for name in ("published.csv", "taxonomy.json"):
        (home / "data" / name).symlink_to(CHECKOUT / "data" / name)
    with safe_open(CHECKOUT / "data" / "packed" / "smoke.safetensors", "numpy") as stored:
        metadata, tensors = stored.metadata(), {name: stored.get_tensor(name) for name in stored.keys()}  # noqa: SIM118
    records = json.loads(metadata["records"])
    kept = [row for row, record in enumerate(records) if record["taxonomy"] == CHAIR or is_first_foot(record)]
    metadata["records"], tensors["cameras"] = json.dumps([records[row] for row in kept]), tensors["cameras"][kept]
    save_file(tensors, home / "data" / "packed" / "smoke.safetensors", metadata)
    (home / "notebooks").mkdir()
    shutil.copy(CHECKOUT / "notebooks" / f"{NAME}.ipynb", home / "notebooks")
    return home


def metrics_of(checkout: Path) -> pd.DataFrame:
    return metrics_csv.read_metrics(part_of_metrics(checkout / ".runs" / "smoke", NAME))


def table_of(checkout: Path, name: str) -> pd.DataFrame:
    return pd.read_csv(checkout / "reports" / "smoke" / "tables" / f"{NAME}-{name}.csv")


def test_notebook_03_trains_and_evaluates_on_shapenet_and_lists_skipped_objects(checkout):
    root = checkout / "archive"
    write_archive(root, train=["a1"], val=["b2"], test=["c3", "gone", "a1"])
    parameters = ("dataset=shapenet", f"root={root}", "networks=pix2vox-f-narrow")
    command = ["study", "--only", "03", "--on-error", "skip"]
    assert main([*command, *(word for parameter in parameters for word in ("-p", parameter))]) == 0
    rows = metrics_of(checkout)
    own = rows[rows.dataset == "shapenet"]
    assert set(own.subject) == {"c3", "a1"} and set(own.training) == {"shapenet"}
    assert set(own.model) == {"pix2vox-f-narrow", "mean-shape"}
    assert table_of(checkout, "skipped").object.tolist() == [f"{CHAIR}/gone"]
    assert table_of(checkout, "leaks").object.tolist() == ["a1"] and set(own.views) >= {1, 4, 16, 20}
    page = (checkout / "reports" / "smoke" / "index.html").read_text()
    assert all(text in page for text in ("dataset = shapenet", f"root = {root}", "on_error = skip", "/gone"))
    page = (checkout / "reports" / "smoke" / "executed" / f"{NAME}.ipynb").read_text()
    assert "published, on the same data" in page and "did not learn" in page


def test_notebook_03_evaluates_a_published_checkpoint_on_pix3d(checkout, own_furniture, monkeypatch):
    torch.manual_seed(0)
    torch.save(checkpoint_of(models.build("pix2vox-f"), "module."), checkout / "published.pth")
    monkeypatch.chdir(own_furniture.parent)
    given = {"dataset": "pix3d", "root": "pix3d", "checkpoint": str(checkout / "published.pth")}
    runner.run_notebooks("smoke", ["03"], given)
    rows = metrics_of(checkout)
    assert set(rows.model) == {"pix2vox-f", "mean-shape"} and set(rows.dataset) == {"pix3d", "feet"}
    assert set(rows[rows.dataset == "pix3d"].views) == {1}
    assert table_of(checkout, "pix3d").iou.tolist() == [0.179, 0.204, 0.256, 0.269]
    assert not (checkout / ".runs" / "smoke" / "weights").exists(), "nothing was trained"
