"""When test people and objects were drawn, and which results looked at them with which design: ``data/seeds.json``.

A result says something about people whom nobody has seen only if its design, that is its code, its notebook and the
pretrained weights, was frozen before the people were drawn. `draw_test_seeds` draws new seeds for all of them from the
hash of a commit and keeps the digests of all designs; each result carries the digest of its own (`design_digest`). A
test compares the file with the seeds in the code and with the committed results.
"""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from p2vlib.files import read_json, write_text
from p2vlib.provenance import code_digest, commit, home, reachable_modules, text_digest
from p2vtools.study.parameters import notebook_code

CALIBRATION = ("threshold", "intervals", "verdict")
"""Entries of the card of the pretrained weights that results depend on."""

WEIGHTS, EVALUATION = "rays-foot", "evaluate"
"""Names of the designs that are no notebooks."""

EVALUATION_NOTEBOOK = "07_fit"
"""The notebook of the people of the evaluation; it uses none of the test people of the other notebooks."""


def seeds_path() -> Path:
    """The committed file of seeds: ``draws``, oldest first, and ``looks``, one per result."""
    return home() / "data" / "seeds.json"


def read_seeds() -> dict[str, list[dict[str, Any]]]:
    """The content of `seeds_path`."""
    return read_json(seeds_path(), "expected the file of the repository, which `p2v seeds` continues")


def drawn_seeds(draws: list[dict[str, Any]]) -> dict[str, int]:
    """Population -> its seed in the latest draw that has it; ``feet`` also seeds the people of the domain ``wild``."""
    return {population: seed for draw in draws for population, seed in draw["seeds"].items()}


def design_digest(modules: Iterable[str], cells: object = ()) -> str:
    """Digest of the design of a result: the code that it reaches, the cells of its notebook, the pretrained weights.

    16 hexadecimal digits. Of the card of the weights only `CALIBRATION` counts, not the results.
    """
    weights: list[Any] = []
    if "p2vtools.fit.pretrained" in reachable_modules(modules):
        content = (file := _weights()).read_bytes()
        header = 8 + int.from_bytes(content[:8], "little")  # of safetensors; it repeats the card
        card = read_json(file.with_suffix(".json"), "expected the card of the weights")
        weights = [hashlib.sha256(content[header:]).hexdigest(), [card.get(name) for name in CALIBRATION]]
    return text_digest(json.dumps([cells, code_digest(modules), weights]))


def designs() -> dict[str, str]:
    """Name of each notebook, `WEIGHTS` (the test of their card) and `EVALUATION` -> `design_digest`."""
    notebooks = {path.stem: notebook_code(path) for path in sorted((home() / "notebooks").glob("[0-9][0-9]*_*.ipynb"))}
    found = {name: design_digest(modules, cells) for name, (cells, modules) in notebooks.items()}
    found[WEIGHTS] = design_digest(["p2vtools.study.model_card"])
    return {**found, EVALUATION: design_digest(["p2vtools.study.benchmark.run"])}


def draw_test_seeds(populations: str = "all") -> dict[str, int]:
    """Replaces test seeds in the code by parts of the hash of the present commit.

    Args:
        populations: ``all`` (feet, objects and the people of the evaluation), or `EVALUATION`.

    Raises:
        ValueError: files differ from the commit, or a seed is not where it is expected.
    """
    if not re.fullmatch(r"[0-9a-f]+", revision := commit()):
        raise ValueError(f"{home()}: the commit is {revision}; expected a checkout without changes: commit them first")
    digits = _git("rev-parse", "HEAD")
    names = ("feet.test", "objects.test", EVALUATION)
    drawn = {name: int(digits[7 * i : 7 * i + 7], 16) for i, name in enumerate(names)}
    if populations == EVALUATION:
        drawn = {EVALUATION: drawn[EVALUATION]}
    else:
        seeds = [drawn["feet.test"], drawn["objects.test"]]
        _replace(home() / "p2vlib" / "config.py", r"(?<=    test_seed: int = )\w+", seeds)
    _replace(home() / "p2vtools" / "study" / "benchmark" / "walks.py", r"(?<=^SEED = )\w+", [drawn[EVALUATION]])
    content = read_seeds()
    draw = {"commit": revision, "date": _git("show", "-s", "--format=%cs"), "seeds": drawn, "designs": designs()}
    _write({**content, "draws": [*content["draws"], draw]})
    return drawn


def _replace(file: Path, pattern: str, seeds: list[int]) -> None:
    text, values = file.read_text("utf-8"), iter(seeds)
    if (found := len(re.findall(pattern, text, re.MULTILINE))) != len(seeds):
        raise ValueError(f"{file}: found {found} test seeds, expected {len(seeds)}; adapt the pattern {pattern}")
    write_text(file, re.sub(pattern, lambda _: f"0x{next(values):X}", text, flags=re.MULTILINE))


def record_looks() -> list[dict[str, Any]]:
    """Adds the results that the file does not have yet; returns the looks of all present results.

    A look has ``result`` (the file), ``people`` (population -> seed), ``commit``, ``date``, ``design`` (None: the
    result does not say) and ``frozen``: whether the design was frozen before the people were drawn.
    """
    content, present = read_seeds(), []
    known = {(look["result"], look["commit"]): look for look in content["looks"]}
    for look in find_results(drawn_seeds(content["draws"])):
        if (key := (look["result"], look["commit"])) not in known:
            look["date"] = _git("show", "-s", "--format=%cs", look["commit"].rstrip("+"))
            content["looks"].append(known.setdefault(key, {**look, "frozen": is_frozen(look, content["draws"])}))
        present.append(known[key])
    _write(content)
    return present


def is_frozen(look: dict[str, Any], draws: list[dict[str, Any]]) -> bool:
    """Whether a draw has the people of ``look`` and, from the same moment, its design; not for uncommitted code."""
    if look["design"] is None or look["commit"].endswith("+"):
        return False
    file = Path(look["result"])
    name = file.parent.name if file.stem == "README" else file.stem
    fits = [draw for draw in draws if look["people"].items() <= draw["seeds"].items()]
    return any(draw["designs"].get(name) == look["design"] for draw in fits)


def find_results(drawn: dict[str, int]) -> list[dict[str, Any]]:
    """Result, people, commit and design of each result of the checkout; those of pages and of 07 are of ``drawn``."""
    found = []

    def add(file: Path, people: dict[str, int], commit_: str, design: str | None) -> None:
        result = file.relative_to(home()).as_posix()
        found.append({"result": result, "people": people, "commit": commit_, "design": design})

    for file in sorted((home() / "reports").glob("[qf]u*/parts/*.json")):  # scales quick and full
        if file.name.endswith(".config.json"):  # all that an interrupted notebook leaves
            continue
        config = read_json(file.with_suffix(".config.json"), "expected the configuration of a run")
        manifest = read_json(file, "expected the manifest of a run")
        people = {f"{name}.test": config[name]["test_seed"] for name in ("feet", "objects")}
        if file.stem == EVALUATION_NOTEBOOK:
            people = {EVALUATION: drawn[EVALUATION]}
        add(file, people, manifest["commit"], manifest.get("design"))
    card = read_json(file := _weights().with_suffix(".json"), "expected the card of the weights")
    add(file, {"feet.test": card["data"]["people"]["test_seed"]}, card["commit"], card.get("design"))
    for name, populations in {EVALUATION: [EVALUATION], "gpu": ["feet.test", "objects.test"]}.items():
        if (page := home() / "reports" / name / "README.md").is_file():
            text = page.read_text("utf-8")
            (commit_,) = re.findall(r"(?:evaluate` at|commit) ([0-9a-f]{7,40}\+?)", text)[:1]
            design = re.search(r"design ([0-9a-f]{16})", text)
            add(page, {key: drawn[key] for key in populations}, commit_, design and design[1])
    return found


def _weights() -> Path:
    return home() / "data" / "weights" / f"{WEIGHTS}.safetensors"


def _write(content: dict[str, list[dict[str, Any]]]) -> None:
    """One line per draw and per look."""
    parts = [f' "{key}": [\n  ' + ",\n  ".join(map(json.dumps, rows)) + "\n ]" for key, rows in content.items()]
    write_text(seeds_path(), "{\n" + ",\n".join(parts) + "\n}\n")


def _git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], cwd=home(), capture_output=True, encoding="utf-8")
    if done.returncode:
        found = done.stderr.partition("\n")[0]
        raise ValueError(f"{home()}: {found}; expected a git clone with the commit of every result")
    return done.stdout.strip()
