"""What one notebook's run reads, writes and says of itself.

A run of scale ``s`` writes below ``reports/s``: its figures, its tables and one manifest (``parts/<notebook>.json``)
from which `p2vtools.study.report` makes the pages. Weights, stamps, half-done work and its part of the metrics, until
that is joined with the others', live in ``.runs/s``, which git ignores. A run of a sweep has a name of its own in
place of ``s``: ``grids/s/05.views=8``.
"""

from __future__ import annotations

import json
import os
import platform
import resource
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from p2vlib import __version__
from p2vlib.config import Config, from_params
from p2vlib.evaluation.metrics_csv import METRICS, format_metrics
from p2vlib.files import write_atomically, write_text
from p2vlib.provenance import commit, home, text_digest

SMOKE_NOTE = "smoke run: shows that it runs, not a result"


def part_of_metrics(work: Path, notebook: str) -> Path:
    """Where the rows of `metrics.csv` that a notebook found wait to be joined with the others'."""
    return work / "metrics" / f"{notebook}.csv"


def peak_memory_gib() -> float:
    """Largest resident memory of this process or of one of its ended children so far, GiB."""
    kinds = (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)
    return max(resource.getrusage(kind).ru_maxrss for kind in kinds) / 2**20


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """What the notebooks that ended well left in a run's ``folder``, by their names, in order."""
    files = sorted(file for file in folder.glob("parts/*.json") if not file.name.endswith(".config.json"))
    return {file.stem: json.loads(file.read_text()) for file in files}


@dataclass
class NotebookRun:
    """One notebook at one scale. Use `begin` to make it, `save_*` while it goes, `answer` as its last act."""

    notebook: str
    config: Config
    title: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    """What else the notebook was told, and did not keep to its default."""
    figures: list[dict[str, str]] = field(default_factory=list)
    tables: list[dict[str, str]] = field(default_factory=list)
    metrics: str = ""
    """What the saved rows of the metrics are known by (`digest`)."""
    started: float = field(default_factory=time.perf_counter)

    @property
    def name(self) -> str:
        """The scale, or what the study calls this run of a grid (``P2VLIB_RUN``)."""
        return os.environ.get("P2VLIB_RUN") or self.config.scale

    @property
    def folder(self) -> Path:
        """``reports/<name>``."""
        return home() / "reports" / self.name

    @property
    def work(self) -> Path:
        """``.runs/<name>``: weights and half-done work."""
        return home() / ".runs" / self.name

    @property
    def is_smoke(self) -> bool:
        """Whether numbers of this run only show that it runs."""
        return self.config.scale == "smoke"

    def save_figure(self, figure: Any, name: str, caption: str, *, photos: bool = False) -> Any:
        """Keeps a matplotlib figure as ``figures/<notebook>-<name>.png``, marked if this is a smoke run; returns it.

        One that is mostly ``photos`` is kept as .jpg, a quarter of the size: results are committed.
        """
        if self.is_smoke:
            figure.text(0.995, -0.01, SMOKE_NOTE, ha="right", va="top", fontsize=8, color="firebrick")
        suffix, quality = ("jpg", {"quality": 90}) if photos else ("png", None)
        target = self.folder / "figures" / f"{self.notebook}-{name}.{suffix}"
        facts = dict(format=suffix, dpi=110, bbox_inches="tight", pil_kwargs=quality)
        write_atomically(target, lambda partial: figure.savefig(partial, **facts))
        self.figures.append({"file": f"figures/{target.name}", "caption": caption})
        return figure

    def save_table(self, table: pd.DataFrame, name: str, caption: str) -> pd.DataFrame:
        """Keeps a table as ``tables/<notebook>-<name>.csv`` for the report page; returns it."""
        target = self.folder / "tables" / f"{self.notebook}-{name}.csv"
        write_text(target, table.to_csv(index=False))
        self.tables.append({"file": f"tables/{target.name}", "caption": caption})
        return table

    def save_metrics(self, metrics: pd.DataFrame) -> pd.DataFrame:
        """Keeps this notebook's rows of `metrics.csv` (without the first column, which is added); returns them.

        Raises:
            ValueError: as `metrics.to_text`.
        """
        metrics = metrics.assign(notebook=self.notebook)
        text = format_metrics(metrics)
        write_text(part_of_metrics(self.work, self.notebook), text)
        self.metrics = text_digest(text)
        return metrics[list(METRICS)].reset_index(drop=True)

    def answer(self, text: str) -> None:
        """Shows the notebook's answer, one paragraph with its numbers, and closes the run's manifest with it."""
        from IPython.display import Markdown, display

        if self.is_smoke:
            text = f"*({SMOKE_NOTE})* {text}"
        display(Markdown(text))
        manifest = {
            "notebook": self.notebook,
            "title": self.title,
            "parameters": self.parameters,
            "answer": text,
            "figures": self.figures,
            "tables": self.tables,
            "metrics": self.metrics,
            "seconds": round(time.perf_counter() - self.started, 1),
            "peak_memory_gib": round(peak_memory_gib(), 2),
            **provenance(),
        }
        write_text(self.folder / "parts" / f"{self.notebook}.json", json.dumps(manifest, indent=2))


def provenance() -> dict[str, Any]:
    """Version, commit, device and machine, as a report tells them."""
    import torch

    cuda = torch.cuda.is_available()
    return {
        "version": __version__,
        "commit": commit(),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def begin(
    notebook: str,
    title: str = "",
    *,
    scale: str = "smoke",
    seed: int = 0,
    parameters: dict[str, Any] | None = None,
    **changes: Any,
) -> NotebookRun:
    """Starts a notebook's run: the strict config from its parameters, saved, and one line that says what runs where.

    ``parameters`` are those that are none of the config's, as far as they are no default: the report tells them.
    """
    config = from_params(scale, seed=seed, **changes)
    run = NotebookRun(notebook, config, title, parameters or {})
    write_text(run.folder / "config.json", from_params(scale).to_json())
    write_text(run.folder / "parts" / f"{notebook}.config.json", config.to_json())
    facts = provenance()
    print(
        f"{notebook} · scale {scale} · seed {seed} · p2vlib {facts['version']} ({facts['commit']}) · "
        f"torch {facts['torch']} on {facts['device']}, {facts['machine']}"
    )
    return run
