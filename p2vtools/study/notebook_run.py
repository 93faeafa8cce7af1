"""One run of a notebook: its configuration, and the figures, tables, metrics and manifest that it leaves.

A run at scale ``s`` writes below ``reports/s``: figures, tables and one manifest (``parts/<notebook>.json``), which
`p2vtools.study.report` turns into pages. Weights, stamps, intermediate files and the notebook's part of the metrics go
to ``.runs/s``, which git ignores. A run of a sweep uses its own name in place of ``s``: ``grids/s/05.views=8``.
"""

from __future__ import annotations

import json
import os
import platform
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import psutil

from p2vlib import __version__
from p2vlib.config import Config, from_params, read_settings
from p2vlib.files import read_json, write_atomically, write_text
from p2vlib.models import check_names
from p2vlib.provenance import commit, home, text_digest
from p2vtools.study import learning
from p2vtools.study.metrics_csv import METRICS, format_metrics
from p2vtools.study.parameters import default_parameters, notebook_code
from p2vtools.study.seeds import design_digest

RERUN = "expected a JSON object; run its notebook again"
"""What to do about a damaged file of a run."""

SMOKE_NOTE = "smoke run: shows that it runs, not a result"

MANIFEST = {
    **dict.fromkeys(("notebook", "title", "answer", "commit"), str),
    **dict.fromkeys(("figures", "tables"), list),
    **dict.fromkeys(("seconds", "peak_memory_gib"), (int, float)),
}
"""Keys of a manifest that every reader needs -> types."""


def part_of_metrics(work: Path, notebook: str) -> Path:
    """The file that holds a notebook's rows of `metrics.csv` until the report joins the notebooks' parts."""
    return work / "metrics" / f"{notebook}.csv"


def manifests(folder: Path) -> dict[str, dict[str, Any]]:
    """The manifests of the notebooks that completed, by notebook name, in order.

    Raises:
        ValueError: a damaged file, or one that names another notebook than its file.
    """
    files = sorted(file for file in folder.glob("parts/*.json") if not file.name.endswith(".config.json"))
    return {file.stem: _read_manifest(file) for file in files}


def _read_manifest(file: Path) -> dict[str, Any]:
    manifest = read_json(file, RERUN)
    wrong = [key for key, kind in MANIFEST.items() if not isinstance(manifest.get(key), kind)]
    if not wrong and not all(
        isinstance(entry, dict) and isinstance(entry.get("file"), str) and isinstance(entry.get("caption"), str)
        for entry in manifest["figures"] + manifest["tables"]
    ):
        wrong = ["figures or tables"]
    if wrong or manifest["notebook"] != file.stem:
        found = f"has no valid {', '.join(wrong)}" if wrong else f"is of the notebook {manifest['notebook']!r}"
        raise ValueError(f"{file}: {found}; expected the manifest of {file.stem}: run its notebook again")
    return manifest


def read_config(path: Path) -> dict[str, Any]:
    """The settings in a ``config.json`` of a run, with their present names.

    Raises:
        FileError: no such file, or no JSON object.
    """
    read_json(path, RERUN)
    return read_settings(path.read_text("utf-8"))


class PeakMemory(threading.Thread):
    """Samples the resident memory of this process and of its children; ``gib`` is the largest of any one of them.

    Sampling works on every system; a peak shorter than half a second may be missed.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.ended = threading.Event()
        self.gib = 0.0
        self.sample()
        self.start()

    def run(self) -> None:
        while not self.ended.wait(0.5):
            self.sample()

    def sample(self) -> float:
        """Takes one sample; returns the peak so far, GiB."""
        own = psutil.Process()
        for process in (own, *own.children(recursive=True)):
            try:
                self.gib = max(self.gib, process.memory_info().rss / 2**30)
            except psutil.Error:  # the child has ended
                continue
        return self.gib


@dataclass
class NotebookRun:
    """One notebook at one scale. Create it with `begin`, save results with `save_*`, close it with `answer`."""

    notebook: str
    config: Config
    title: str = ""
    parameters: dict[str, Any] = field(default_factory=dict)
    """Values of the notebook's own parameters that differ from their defaults."""
    scale_free: bool = False
    """Whether the notebook computes the same at every scale, so a smoke run gives results as well."""
    figures: list[dict[str, Any]] = field(default_factory=list)
    tables: list[dict[str, Any]] = field(default_factory=list)
    checks: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=learning.COLUMNS), repr=False)
    """Which networks learned; set by `save_checks`."""
    metrics: str = ""
    """Digest of the saved metrics rows; empty without metrics."""
    provenance: dict[str, Any] = field(default_factory=lambda: provenance())
    """Version, commit and machine at the start of the run."""
    started: float = field(default_factory=time.perf_counter)
    memory: PeakMemory = field(default_factory=PeakMemory, repr=False)

    @property
    def name(self) -> str:
        """The scale or, in a sweep, the name that the runner gives this run (``P2VLIB_RUN``)."""
        return os.environ.get("P2VLIB_RUN") or self.config.scale

    @property
    def folder(self) -> Path:
        """``reports/<name>``, or the runner's staging folder for a notebook that it runs (``P2VLIB_REPORT``)."""
        return Path(os.environ.get("P2VLIB_REPORT") or home() / "reports" / self.name)

    @property
    def work(self) -> Path:
        """``.runs/<name>``: weights and intermediate files."""
        return home() / ".runs" / self.name

    @property
    def is_smoke(self) -> bool:
        """Whether the numbers of this run only show that it runs."""
        return self.config.scale == "smoke" and not self.scale_free

    def save_figure(self, figure: Any, name: str, caption: str, *, photos: bool = False) -> Any:
        """Saves a matplotlib figure as ``figures/<notebook>-<name>.png``, marked in a smoke run; returns it.

        Args:
            photos: save as JPEG, a quarter of the size, because the figure shows mostly photos.
        """
        if self.is_smoke:
            figure.text(0.995, 1.005, SMOKE_NOTE, ha="right", va="bottom", fontsize=8, color="firebrick")
        suffix, quality = ("jpg", {"quality": 90}) if photos else ("png", None)
        target = self.folder / "figures" / f"{self.notebook}-{name}.{suffix}"
        kwargs = dict(format=suffix, dpi=110, bbox_inches="tight", pil_kwargs=quality)
        write_atomically(target, lambda partial: figure.savefig(partial, **kwargs))
        self.figures.append({"file": f"figures/{target.name}", "caption": caption, "cell": _current_cell()})
        return figure

    def save_table(self, table: pd.DataFrame, name: str, caption: str) -> pd.DataFrame:
        """Saves a table as ``tables/<notebook>-<name>.csv``, with networks that did not learn marked; returns it."""
        target = self.folder / "tables" / f"{self.notebook}-{name}.csv"
        table = learning.mark_unlearned(table, self.checks)
        write_text(target, table.to_csv(index=False))
        self.tables.append({"file": f"tables/{target.name}", "caption": caption, "cell": _current_cell()})
        return table

    def save_checks(self, checks: pd.DataFrame) -> pd.DataFrame:
        """Saves the ``checks`` of the networks (`experiments.check_networks`) as a table, and marks later tables."""
        self.checks = checks
        return self.save_table(checks, learning.TABLE, learning.CAPTION)

    def save_metrics(self, metrics: pd.DataFrame) -> pd.DataFrame:
        """Saves this notebook's rows of `metrics.csv`; returns them.

        Args:
            metrics: the columns of `p2vtools.study.metrics_csv`, without ``notebook``, which is added.

        Raises:
            ValueError: as `format_metrics`.
        """
        metrics = metrics.assign(notebook=self.notebook)
        text = format_metrics(metrics)
        write_text(part_of_metrics(self.work, self.notebook), text)
        self.metrics = text_digest(text)
        return metrics[list(METRICS)].reset_index(drop=True)

    def answer(self, text: str, *networks: str) -> None:
        """Displays the notebook's answer, one paragraph with its numbers, and writes the manifest of the run.

        Args:
            networks: titles of the networks that the text compares; if one did not learn, there is no answer.
        """
        from IPython.display import Markdown, display

        failed = learning.unlearned(self.checks).network
        if missing := [title for title in networks if title in set(failed)]:
            text = f"No answer: {'; '.join(missing)} {learning.DID_NOT_LEARN} (table *{learning.TABLE}*)."
        if self.is_smoke:
            text = f"*({SMOKE_NOTE})* {text}"
        display(Markdown(text))
        self.memory.ended.set()
        manifest = {
            "notebook": self.notebook,
            "title": self.title,
            "parameters": self.parameters,
            "seed": self.config.seed,
            "answer": text,
            "figures": self.figures,
            "tables": self.tables,
            "metrics": self.metrics,
            "seconds": round(time.perf_counter() - self.started, 1),
            "peak_memory_gib": round(self.memory.sample(), 2),
            **self.provenance,
        }
        write_text(self.folder / "parts" / f"{self.notebook}.json", json.dumps(manifest, indent=2))


def provenance() -> dict[str, Any]:
    """Version, commit (with ``+`` and ``dirty`` where files differ from it), torch, device and machine."""
    import torch

    cuda, revision = torch.cuda.is_available(), commit()
    return {
        "version": __version__,
        "commit": revision,
        "dirty": revision.endswith("+"),
        "torch": torch.__version__,
        "device": torch.cuda.get_device_name() if cuda else "cpu",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores",
    }


def begin(
    notebook: str,
    title: str = "",
    namespace: Mapping[str, Any] | None = None,
    *,
    scale: str = "smoke",
    seed: int = 0,
    scale_free: bool = False,
    **changes: Any,
) -> NotebookRun:
    """Starts the run of a notebook: builds and saves its strict config, and prints one line of provenance.

    Args:
        notebook: the name of the notebook's file, such as ``05_lstm_ablation``.
        namespace: ``globals()`` of the notebook. ``scale`` and ``seed`` are read from it, and the manifest records
            which of the other declared parameters differ from their defaults.
        scale_free: the notebook computes the same at every scale, so its figures get no mark of a smoke run.
        changes: fields of the config that differ from the preset of the scale, as `p2vlib.config.from_params`.

    Raises:
        ValueError: an unknown scale, config field or network.
        FileNotFoundError: ``namespace`` is given, and there is no such notebook.
    """
    parameters: dict[str, Any] = {}
    path = home() / "notebooks" / f"{notebook}.ipynb"
    if namespace is not None:
        scale, seed = namespace["scale"], namespace["seed"]
        if not path.is_file():
            raise FileNotFoundError(f"{path}: no such notebook; begin() expects the name of a notebook's file")
        defaults = {name: value for name, value in default_parameters(path).items() if name not in ("scale", "seed")}
        parameters = {name: namespace[name] for name, default in defaults.items() if namespace[name] != default}
    config = from_params(scale, seed=seed, **changes)
    check_names(*config.networks, config.order_free, config.recurrent, *config.systems)
    run = NotebookRun(notebook, config, title, parameters, scale_free)
    if namespace is not None and not run.is_smoke:
        cells, modules = notebook_code(path)
        run.provenance["design"] = design_digest(modules, cells)
    write_text(run.folder / "config.json", from_params(scale).to_json())
    write_text(run.folder / "parts" / f"{notebook}.config.json", config.to_json())
    facts = run.provenance
    print(
        f"{notebook} · scale {scale} · seed {seed} · p2vlib {facts['version']} ({facts['commit']}) · "
        f"torch {facts['torch']} on {facts['device']}, {facts['machine']}"
    )
    return run


def _current_cell() -> int | None:
    """The execution count of the running notebook cell, as in ``[7]``; None outside a notebook."""
    from IPython import get_ipython

    shell = get_ipython()
    return len(shell.user_ns["In"]) - 1 if shell else None  # `execution_count` is already that of the next cell
