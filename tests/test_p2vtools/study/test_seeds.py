import json
import shutil
import subprocess

import pytest

from p2vlib.config import FeetData, ObjectData
from p2vlib.provenance import ROOT
from p2vtools.study import seeds
from p2vtools.study.benchmark import walks
from p2vtools.study.report import pages

DRAWS = [
    {"commit": "aaaaaaa", "date": "2026-01-01", "seeds": {"feet.test": 1}, "designs": {"05_lstm": "old"}},
    {"commit": "bbbbbbb", "date": "2026-02-01", "seeds": {"feet.test": 2}, "designs": {"05_lstm": "new"}},
]


def test_seeds_are_the_drawn_ones_and_no_result_is_newer_than_its_people_without_saying_so():
    kinds = {"feet": FeetData(), "objects": ObjectData()}
    splits = ("train", "validation", "test")
    of_code = {f"{name}.{split}": getattr(data, f"{split}_seed") for name, data in kinds.items() for split in splits}
    assert seeds.drawn_seeds(seeds.read_seeds()["draws"]) == of_code | {"evaluate": walks.SEED}
    # If this fails, run `p2v seeds` and commit data/seeds.json.
    content = seeds.read_seeds()
    looks = {(look["result"], look["commit"]): look for look in content["looks"]}
    results = seeds.find_results(seeds.drawn_seeds(content["draws"]))
    assert {"data/weights/rays-foot.json", "reports/evaluate/README.md"} < {look["result"] for look in results}
    for look in results:
        recorded = looks[look["result"], look["commit"]]
        assert recorded["frozen"] == seeds.is_frozen(look, content["draws"]), look["result"]


def test_a_notebook_that_was_interrupted_is_no_result(home):
    shutil.copytree(ROOT / "data/weights", home / "data/weights")
    (home / "reports/full/parts").mkdir(parents=True)
    (home / "reports/full/parts/03.config.json").write_text("{}")
    assert [look["result"] for look in seeds.find_results({})] == ["data/weights/rays-foot.json"]


@pytest.mark.parametrize(
    ("change", "frozen"),
    [
        ({}, True),
        ({"design": "changed"}, False),
        ({"design": None}, False),
        ({"commit": "ccccccc+"}, False),
        ({"people": {"feet.test": 1}}, False),  # the design of the later draw on people of the earlier one
        ({"people": {"feet.test": 1}, "design": "old"}, True),
        ({"result": "reports/quick/parts/06_systems.json"}, False),
    ],
)
def test_a_design_is_frozen_only_for_people_drawn_after_it(change, frozen):
    look = {"result": "reports/quick/parts/05_lstm.json", "people": {"feet.test": 2}}
    look |= {"commit": "ccccccc", "design": "new"}
    assert seeds.is_frozen(look | change, DRAWS) == frozen


def test_the_report_counts_frozen_designs(home):
    look = {"result": "reports/quick/parts/05_lstm.json", "commit": "ccccccc", "frozen": True}
    other = look | {"result": "reports/quick/parts/06_systems.json", "frozen": False}
    looks = [look, look | {"commit": "earlier"}, other]
    (home / "data").mkdir()
    seeds.seeds_path().write_text(json.dumps({"draws": [], "looks": looks}))
    completed = [{"notebook": name, "commit": "ccccccc"} for name in ("05_lstm", "06_systems", "07_fit")]
    told = pages._freshness(home / "reports/quick", completed)
    assert told == {"Test people": "drawn after the design was frozen for 1 of 2 notebooks"}
    assert pages._freshness(home / "reports/smoke", completed) == {}


def test_a_draw_needs_a_clean_checkout_and_takes_the_hash_of_its_commit(home, monkeypatch):
    for file in ("p2vlib/config.py", "p2vtools/study/benchmark/walks.py", "data/seeds.json"):
        (home / file).parent.mkdir(parents=True)
        shutil.copy(ROOT / file, home / file)
    identity = ["-c", "user.name=a", "-c", "user.email=a@b.c"]
    for command in (["init", "--quiet"], ["add", "."], [*identity, "commit", "--quiet", "--message=frozen"]):
        subprocess.run(["git", *command], cwd=home, check=True)
    with pytest.raises(ValueError, match="'unknown'.*; expected a git clone with the commit of every result"):
        seeds._git("show", "-s", "--format=%cs", "unknown")
    monkeypatch.setattr(seeds, "designs", lambda: {"05_lstm": "new"})
    (home / "p2vlib/config.py").write_text((ROOT / "p2vlib/config.py").read_text("utf-8") + "\n")
    with pytest.raises(ValueError, match=r"expected a checkout without changes"):
        seeds.draw_test_seeds()
    shutil.copy(ROOT / "p2vlib/config.py", home / "p2vlib/config.py")
    drawn = seeds.draw_test_seeds()
    digits = subprocess.run(["git", "rev-parse", "HEAD"], cwd=home, capture_output=True, text=True).stdout
    names, parts = ("feet.test", "objects.test", "evaluate"), (digits[:7], digits[7:14], digits[14:21])
    assert drawn == {name: int(part, 16) for name, part in zip(names, parts, strict=True)}
    text = (home / "p2vlib/config.py").read_text("utf-8")
    assert all(f"test_seed: int = 0x{drawn[name]:X}\n" in text for name in names[:2])
    assert f"\nSEED = 0x{drawn['evaluate']:X}\n" in (home / "p2vtools/study/benchmark/walks.py").read_text("utf-8")
    last = seeds.read_seeds()["draws"][-1]
    assert last["seeds"] == drawn and last["designs"] == {"05_lstm": "new"} and digits.startswith(last["commit"])


def test_a_design_is_code_cells_and_weights_but_no_results(home, monkeypatch):
    monkeypatch.setattr(seeds, "code_digest", " ".join)
    weights = home / "data/weights"
    shutil.copytree(ROOT / "data/weights", weights)
    modules, card = ["p2vtools.fit.pretrained"], json.loads((weights / "rays-foot.json").read_text())
    design = seeds.design_digest(modules)
    assert design != seeds.design_digest(modules, ["cell"])
    assert design != seeds.design_digest([*modules, "p2vlib.config"])
    (weights / "rays-foot.json").write_text(json.dumps(card | {"test IoU by photos": []}))
    assert seeds.design_digest(modules) == design
    (weights / "rays-foot.json").write_text(json.dumps(card | {"threshold": 0.1}))
    assert seeds.design_digest(modules) != design
