import linecache
import shutil
from dataclasses import replace

import pandas as pd
import pytest
from torch import nn

from p2vlib import models, provenance, training
from p2vlib.data.dataset import Captures
from p2vlib.models.pix2vox import Pix2Vox
from p2vlib.models.psgn import PSGN
from p2vlib.training import checkpoints
from tests.test_p2vlib.training.test_training import RECIPE, MeanColour, data, data_with_cameras, tiny


@pytest.fixture
def train(tmp_path):
    """Trains a tiny network in one folder; returns its history and the lines of its report."""

    def run(recipe=RECIPE, seed=0):
        report: list[str] = []
        return training.train(tiny(seed), data(), data(), recipe, tmp_path, device="cpu", report=report.append), report

    return run


def test_weights_of_another_recipe_or_code_are_archived_and_found_again(train, tmp_path, monkeypatch):
    first, _ = train()
    before = (tmp_path / "weights.safetensors").read_bytes()
    _, report = train(replace(RECIPE, views=1))
    assert "another views; moved the older weights to" in report[0]
    (archived,) = (tmp_path / "archive").iterdir()
    assert archived.name in report[0]
    monkeypatch.setattr(checkpoints, "code_digest", lambda *_: "another version")
    _, report = train(replace(RECIPE, views=1))
    assert "another code; moved the older weights to" in report[0] and len(report) == 1 + len(first)
    monkeypatch.undo()
    again, report = train(seed=1)
    assert again.equals(first) and "another code, views" in report[0] and "loaded finished weights" in report[1]
    assert (tmp_path / "weights.safetensors").read_bytes() == before
    assert len(list((tmp_path / "archive").iterdir())) == 2


@pytest.fixture
def edit(tmp_path, monkeypatch):
    """Replaces text in a file of a copy of the code, which is what the digests then read."""
    shutil.copytree(provenance.ROOT / "p2vlib", tmp_path / "p2vlib", ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(provenance, "ROOT", tmp_path)

    def replace_text(file: str, old: str, new: str) -> None:
        path = tmp_path / "p2vlib" / file
        text = path.read_text(encoding="utf-8") if path.exists() else ""
        assert old in text, f"{old!r} is not in {file}"
        path.write_text(text.replace(old, new, 1) if old else new, encoding="utf-8")

    return replace_text


def test_the_digest_follows_what_a_network_computes_and_ignores_other_networks_and_new_test_people(edit):
    def digests() -> tuple[str, str]:
        return checkpoints._code(Pix2Vox), checkpoints._code(PSGN)

    before = digests()
    edit("models/one_more_network.py", "", "EDGE = 32\n")
    edit("models/registry.py", '"psgn": PSGNConfig(),', '"psgn": PSGNConfig(hidden=7),')
    edit("config.py", "test_seed: int = ", "test_seed: int = 7 + ")
    assert digests() == before
    for file, old, new, changed in (
        ("models/pix2vox.py", "(coarse + correction) / 2", "(coarse - correction) / 2", (True, False)),
        ("models/psgn.py", "CHAMFER_WEIGHT = 1e4", "CHAMFER_WEIGHT = 1e3", (False, True)),
        ("models/network.py", "std=0.01 *", "std=0.02 *", (True, True)),
        ("training/batches.py", "2**40", "2**41", (True, True)),
    ):
        edit(file, old, new)
        after = digests()
        assert tuple(one != other for one, other in zip(before, after, strict=True)) == changed, file
        before = after


def test_the_provenance_names_everything_that_the_weights_depend_on(tmp_path):
    def differences(samples: Captures, recipe=RECIPE, model=None) -> set[str]:
        other = training.training_provenance(model or tiny(), samples, recipe, None)
        return {key for key in other if other[key] != provenance_of_tiny[key]}

    provenance_of_tiny = training.training_provenance(tiny(), data(), RECIPE, None)
    assert differences(data()) == differences(data_with_cameras()) == set(), "this network gets no cameras"
    assert differences(replace(data(), truth=~data().truth)) == {"captures"}
    assert differences(data(), replace(RECIPE, seed=3)) == {"seed"}
    assert differences(data(), model=MeanColour()) == {"network", "code"}, "code outside the project counts as well"
    plain, other = MeanColour(), MeanColour()
    other.layer = nn.Sequential(nn.Dropout(0.5), other.layer)  # a setting that the shapes of the weights do not tell
    one, two = (training.training_provenance(model, data(), RECIPE, None) for model in (plain, other))
    assert {key for key in one if one[key] != two[key]} == {"network"}


def test_weights_of_another_network_and_a_truncated_file_are_refused(tmp_path):
    path, provenance, lines = tmp_path / "weights.safetensors", {"seed": 0}, []
    checkpoints.save(path, tiny(), provenance, pd.DataFrame())
    with pytest.raises(ValueError, match="another network"):
        checkpoints.load_weights(models.build("pix2vox-f-narrow"), path)
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match="weights.safetensors: .*expected a complete safetensors file"):
        checkpoints.read_provenance(path)
    checkpoints.archive_stale([path], provenance, lines.append)
    assert not path.exists() and len(lines) == 1 and f"{path}: cannot be read" in lines[0]


def test_a_network_from_a_notebook_cell_has_a_digest_that_follows_its_forward():
    def define(body: str) -> type:
        source, cell = f"import torch\nclass Cell(torch.nn.Module):\n    def forward(self):\n        {body}\n", "<cell>"
        linecache.cache[cell] = (len(source), None, source.splitlines(True), cell)
        namespace = {"__name__": "no_module"}
        exec(compile(source, cell, "exec"), namespace)
        return namespace["Cell"]

    digest = checkpoints._code(define("return 1"))
    assert checkpoints._code(define("return 1  # one")) == digest != checkpoints._code(define("return 2"))
    typed = define("return 1")
    del linecache.cache["<cell>"]
    assert checkpoints._code(typed), "typed at a prompt, whose lines are not kept"
