"""What runs left in their folders, and what they were told and where they ran, as far as that differs."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from p2vlib.config import read_settings
from p2vlib.evaluation import metrics_csv as metrics
from p2vlib.provenance import home
from p2vtools.study.notebook_run import manifests
from p2vtools.study.parameters import default_parameters

PARAMETER = " (parameter)"

PLACES = ("version", "commit", "torch", "device", "machine")


@dataclass(frozen=True, eq=False)
class Result:
    """What a run left in its folder."""

    name: str
    metrics: pd.DataFrame
    """At the selected thresholds."""
    manifests: dict[str, dict[str, Any]]
    configs: dict[str, dict[str, Any]]
    """By notebook, as are the manifests."""

    @property
    def scale(self) -> str:
        return next(iter(self.configs.values()))["scale"]

    @property
    def is_smoke(self) -> bool:
        """Whether its numbers only show that it runs."""
        return self.scale == "smoke"


def read_runs(folders: Sequence[Path]) -> list[Result]:
    """The runs in ``folders``, named by their folders, or by their whole paths where two would have one name.

    Raises:
        ValueError: a folder without a run, or the same one twice.
    """
    if len({folder.resolve() for folder in folders}) < len(folders):
        raise ValueError("one run stands twice among those to compare")
    names = [folder.resolve().name for folder in folders]
    runs = []
    for name, folder in zip(names, folders, strict=True):
        ended = manifests(folder)
        if not ended or not (folder / "metrics.csv").is_file():
            raise ValueError(f"{folder}: holds no run; expected metrics.csv and parts/NN.json, as `study` leaves them")
        rows = metrics.read_metrics(folder / "metrics.csv")
        configs = {part: read_settings((folder / "parts" / f"{part}.config.json").read_text()) for part in ended}
        unique = name if names.count(name) == 1 else str(folder)
        runs.append(Result(unique, rows[rows.selected], ended, configs))
    return runs


def settings(runs: Sequence[Result]) -> pd.DataFrame:
    """What the runs' notebooks were told, and where they ran, as far as that differs: a row a setting, a column a run.

    One that differs in the same way in every notebook has one row. What they took, they took for the same notebooks.

    Raises:
        ValueError: they have no notebook in common.
    """
    shared = [name for name in runs[0].manifests if all(name in run.manifests for run in runs)]
    if not shared:
        raise ValueError("the runs have no notebook in common")
    rows: dict[tuple[str, tuple[str, ...]], list[str]] = {}
    for notebook in shared:
        told = [_told(run, notebook) for run in runs]
        for key in dict.fromkeys(key for facts in told for key in facts):
            default = _default(notebook, key) if key.endswith(PARAMETER) else "not there"
            values = tuple(facts.get(key, default) for facts in told)
            if len(set(values)) > 1:
                rows.setdefault((key, values), []).append(notebook[:2])
    table = [(key, "all" if len(at) == len(shared) else ", ".join(at), *values) for (key, values), at in rows.items()]
    ran = tuple(", ".join(name[:2] for name in run.manifests) for run in runs)
    if len(set(ran)) > 1:
        table.insert(0, ("notebooks that ran", "", *ran))
    minutes = (sum(run.manifests[notebook]["seconds"] for notebook in shared) / 60 for run in runs)
    memory = (max(run.manifests[notebook]["peak_memory_gib"] for notebook in shared) for run in runs)
    table.append(("time", "together", *(f"{value:.1f} min" for value in minutes)))
    table.append(("peak memory", "largest", *(f"{value:.1f} GiB" for value in memory)))
    return pd.DataFrame(table, columns=["setting", "notebooks", *(run.name for run in runs)])


def _told(run: Result, notebook: str) -> dict[str, str]:
    manifest = run.manifests[notebook]
    given = {key + PARAMETER: value for key, value in manifest["parameters"].items()}
    facts = {**given, **_flat(run.configs[notebook]), **{key: manifest[key] for key in PLACES}}
    return {key: str(value) for key, value in facts.items()}


def _default(notebook: str, key: str) -> str:
    """What a parameter is of which a run was told nothing: the value that this checkout's notebook declares."""
    path = home() / "notebooks" / f"{notebook}.ipynb"
    value = default_parameters(path).get(key.removesuffix(PARAMETER)) if path.is_file() else None
    return "default" if value is None else f"{value} (default)"


def _flat(config: dict[str, Any], above: str = "") -> dict[str, Any]:
    flat = {}
    for key, value in config.items():
        flat |= _flat(value, f"{above}{key}.") if isinstance(value, dict) else {above + key: value}
    return flat
