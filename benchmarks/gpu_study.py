"""The published networks at 224 pixels on the packed data, on a GPU, with the dependencies of `p2vlib` alone.

    python benchmarks/gpu_study.py --out reports/gpu

Trains Pix2Vox-F, -A and -LSTM on objects with the same steps, fine-tunes F, A and the arms of the ablation (`ARMS`) on
feet of the phone domain with the same steps, and trains the camera-aware network on feet: all of it once per seed, the
seeds side by side in processes of their own. Thresholds are chosen on validation people; the mean shape is tested
beside the networks, and each network is checked whether it learned. Writes ``metrics.csv`` (one row per test
evaluation), ``trainings.csv`` (recipe, steps, seconds, loss and checks of every training), ``steps.csv`` (time and
memory of one training step of every network, measured unless the file is there) and ``README.md`` to ``--out``.
"""

from __future__ import annotations

import argparse
import os
import shutil
import statistics
import threading
import time
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import replace
from multiprocessing import connection, get_context, parent_process
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from bench_published import Way, random_batch, seconds

from p2vlib import evaluation, models, training
from p2vlib.config import Training, from_params
from p2vlib.data.dataset import load
from p2vlib.geometry.cameras import look_at
from p2vlib.geometry.frames import Cube
from p2vlib.provenance import commit
from p2vtools.study import baselines, intervals, learning
from p2vtools.study.metrics_csv import format_metrics

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CARD = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"

FEET = dict(dataset="feet", look="phone", light="drift", cube="metric")
"""The captures of feet that all networks learn and are tested on."""

ARMS = {
    "main": ("clockwise", {}),
    "shuffled-training": ("shuffled", {}),
    "convlstm2d": ("clockwise", {"recurrent": "convlstm2d"}),
}
"""Recurrent arms of the ablation: variant -> order of the photos in training, fields of the config of Pix2Vox-LSTM. All
are fine-tuned from the weights of Pix2Vox-A on objects, as Pix2Vox-A itself is (notebook 05)."""


def time_steps(names: Sequence[str], samples: int = 4, views: int = 4, repeats: int = 5) -> pd.DataFrame:
    """Milliseconds, input photos per second and peak memory of a training step of each network, on random data."""
    rows = []
    for name in names:
        torch.manual_seed(0)
        model = models.build(name)
        size = model.config.image_size
        cameras = example_cameras(samples, views) if model.needs_cameras else None
        way = Way(model, random_batch(size, samples, views, DEVICE, cameras), plain=False, device=DEVICE)
        median = statistics.median([seconds(way.step, DEVICE) for _ in range(repeats + 2)][2:])
        peak = torch.cuda.max_memory_allocated() / 2**30 if DEVICE == "cuda" else float("nan")
        rows.append((name, size, samples, views, median * 1000, samples * views / median, peak))
        del model, way
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    columns = ["network", "pixels", "samples", "views", "ms a step", "photos/s", "peak memory, GiB"]
    return pd.DataFrame(rows, columns=columns).round(2)


def example_cameras(samples: int, views: int) -> torch.Tensor:
    """Cameras around the unit cube that look at its middle, ``[samples, views, 3, 7]`` (`Camera.normalised`)."""
    cube = Cube((0.0, 0.0, 0.0), 1.0)
    cameras = [look_at((360 * view / views, 30.0, 0.0, 2.5, 40.0), cube.centre, 96, 96) for view in range(views)]
    rows = np.stack([camera.normalised(cube, camera.crop_box(cube)) for camera in cameras])
    return torch.tensor(rows, dtype=torch.float32, device=DEVICE).expand(samples, -1, -1, -1)


class Study:
    """The trainings and tests of one seed; each training is a row of ``trainings``."""

    def __init__(self, options: argparse.Namespace, seed: int) -> None:
        self.seed, self.work = seed, options.work / f"seed-{seed}"
        self.suffix, self.image_size = ("-narrow", 96) if options.narrow else ("", 224)
        changes = {name: int(value) for name, _, value in (text.partition("=") for text in options.set)}
        self.config = from_params(options.scale, image_size=self.image_size, **changes)
        self.load()
        self.views = [number for number in (1, 2, 4, 8) if number <= self.splits["feet", "test"].photos.shape[1]]
        self.mean_iou: dict[str, float] = {}
        self.trainings: list[dict] = []
        self.metrics: list[pd.DataFrame] = []

    def load(self) -> None:
        """Loads the captures of each split with photos of `image_size`: objects, and feet in the phone domain."""
        captures = load(replace(self.config, image_size=self.image_size))
        self.splits = {
            (domain, split): captures.select(split=split, **values)
            for domain, values in {"objects": {"dataset": "objects"}, "feet": FEET}.items()
            for split in ("train", "validation", "test")
        }

    def facts(self, domain: str, variant: str = "main") -> dict[str, str]:
        """Columns of the metrics of a network."""
        variant = f"{variant}-seed{self.seed}" if self.seed else variant
        training = "objects" if domain == "objects" else "feet-phone"
        return {"dataset": domain, "training": training, "variant": variant}

    def train(
        self, kind: str, domain: str, recipe: Training, variant: str = "main", start: Path | None = None, **fields
    ) -> Path:
        """Trains a network, tests it on the test split, and returns the file of its weights.

        Args:
            kind: ``f``, ``a``, ``lstm``, or ``unprojection``.
            fields: of the network's config.
        """
        name = kind if kind == "unprojection" else f"pix2vox-{kind}{self.suffix}"
        recipe = replace(recipe, seed=1000 * self.seed)
        torch.manual_seed(recipe.seed)
        model = models.build(name, image_size=self.image_size, **fields)
        learn, validation, test = (self.splits[domain, split] for split in ("train", "validation", "test"))
        folder, began = self.work / f"{name}_{domain}_{variant}", time.perf_counter()
        history = training.train(model, learn, validation, recipe, folder, start=start)
        seconds = round(time.perf_counter() - began, 1)
        model.to(DEVICE).eval()
        check = learning.check_learning(model, validation, self.mean_iou[domain], [1, self.views[-1]])
        row = {"network": name, "domain": domain, "variant": variant, "seed": self.seed, "steps": recipe.steps}
        row |= {"photos a step": recipe.batch, "seconds": seconds, "loss": round(history.loss.iloc[-1], 3)}
        row |= {"validation IoU": round(check["iou"], 4), "mean shape": round(self.mean_iou[domain], 4)}
        row |= {"answers": round(check["answers"], 4), "learned": check["learned"]}
        self.trainings.append({**row, "recipe": training.recipe_summary(recipe, learn, validation)})
        threshold, _ = evaluation.best_threshold(evaluation.evaluate(model, validation, (4,)))
        orders = ("clockwise", "shuffled") if kind == "lstm" and domain == "feet" else ("clockwise",)
        scores = evaluation.evaluate(model, test, self.views, orders=orders)
        cameras = "true" if model.needs_cameras else "none"
        facts = {"model": name, "cameras": cameras, **self.facts(domain, variant)}
        self.metrics.append(evaluation.metric_rows(scores, threshold, **facts))
        return folder / "weights.safetensors"

    def test_mean_shape(self, domain: str, by: str) -> None:
        """Tests the mean shape of the training captures, which uses no photo."""
        train, validation, test = (self.splits[domain, split] for split in ("train", "validation", "test"))
        threshold = baselines.mean_shape_threshold(train, validation, by)
        own = baselines.score_mean_shape(train, validation, by)
        self.mean_iou[domain] = float(own[own.threshold == threshold].iou.mean())
        scores = baselines.score_mean_shape(train, test, by, self.views)
        if not self.seed:  # it is the same for all seeds
            self.metrics.append(evaluation.metric_rows(scores, threshold, model="mean-shape", **self.facts(domain)))

    def write(self) -> tuple[pd.DataFrame, pd.DataFrame]:
        """The metrics and the trainings so far, which are also kept as files."""
        metrics = pd.concat(self.metrics, ignore_index=True).assign(notebook="gpu_study")
        (self.work / "metrics.csv").write_text(format_metrics(metrics), encoding="utf-8")
        trainings = pd.DataFrame(self.trainings)
        trainings.to_csv(self.work / "trainings.csv", index=False)
        return metrics, trainings


def run_seed(options: argparse.Namespace, seed: int) -> tuple[pd.DataFrame, pd.DataFrame]:
    """All trainings and tests of one seed: its metrics and its trainings."""
    torch.set_num_threads(max(1, torch.get_num_threads() // options.seeds))
    study = Study(options, seed)
    objects = Training(batch=options.batch, views=8, learning_rate=1e-3, steps_per_epoch=10**6, steps=options.steps)
    feet = replace(objects, steps=options.feet_steps, mirror=False)
    study.test_mean_shape("objects", "taxonomy")
    study.test_mean_shape("feet", "side")
    starts = {}
    for kind in ("a", "f", "lstm"):
        starts[kind] = study.train(kind, "objects", objects)
        study.write()
    for kind in ("a", "f"):
        study.train(kind, "feet", feet, start=starts[kind])
    for variant, (order, fields) in ARMS.items():
        study.train("lstm", "feet", replace(feet, view_order=order), variant, starts["a"], **fields)
        study.write()
    study.image_size = models.CONFIGS["unprojection"].image_size
    study.load()
    cameras = replace(feet, batch=32, learning_rate=3e-3, steps=options.camera_steps)
    study.train("unprojection", "feet", cameras)
    return study.write()


def watch_parent() -> None:
    """Ends this process as soon as the one that started it has ended, also by a signal."""

    def wait() -> None:
        connection.wait([parent_process().sentinel])
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


def run(options: argparse.Namespace) -> None:
    """Runs the whole study and writes its files to the folder ``options.out``."""
    began = time.perf_counter()
    options.out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(options.work, ignore_errors=True)
    names = [name for name in models.names() if name.endswith("-narrow") == options.narrow or name == "unprojection"]
    if not (options.out / "steps.csv").is_file():
        time_steps(names).to_csv(options.out / "steps.csv", index=False)
    with ProcessPoolExecutor(options.seeds, get_context("spawn"), initializer=watch_parent) as pool:
        results = list(pool.map(run_seed, [options] * options.seeds, range(options.seeds)))
    metrics, trainings = (pd.concat(parts, ignore_index=True) for parts in zip(*results, strict=True))
    write(metrics, trainings, options, time.perf_counter() - began)


def write(metrics: pd.DataFrame, trainings: pd.DataFrame, options: argparse.Namespace, seconds: float) -> None:
    """Writes the tables and a page that says what was run where."""
    out, data = options.out, " with ".join([options.scale, *options.set])
    (out / "metrics.csv").write_text(format_metrics(metrics), encoding="utf-8")
    trainings.to_csv(out / "trainings.csv", index=False)
    rows = intervals.split_seeds(metrics[metrics.selected & (metrics.order == "clockwise")])
    means = intervals.summarise(rows, ["dataset", "model", "variant", "views"]).round(4)
    feet = rows[(rows.dataset == "feet") & (rows.views == 4)]
    differences = []
    reference = feet[feet.model.str.startswith("pix2vox-a")]
    failed = trainings[~trainings.learned]
    unlearned = set(failed[failed.domain == "feet"][["network", "variant"]].itertuples(index=False, name=None))
    for (model, variant), arm in feet.groupby(["model", "variant"], sort=False):
        if model != reference.model.iloc[0] and (model, variant) not in unlearned:
            differences.append((model, variant, *intervals.paired_difference(arm, reference)))
    names = [f"{row.network} on {row.domain}, {row.variant}, seed {row.seed}" for row in failed.itertuples()]
    lines = [
        "# Scale gpu",
        f"{CARD}, torch {torch.__version__}, commit {commit()}; {seconds / 60:.1f} minutes in all, {options.seeds} "
        f"seeds side by side. Data of scale {data}. Written by `benchmarks/gpu_study.py`.",
        "Test IoU, with 95 % intervals over people (or objects) and seeds; all are of the generator of the training "
        "data.",
        table(means),
        "Feet, four photos: differences in IoU to Pix2Vox-A, paired by foot and seed, with 95 % intervals over people "
        "and seeds. Networks of which a training did not learn are left out.",
        table(pd.DataFrame(differences, columns=["model", "variant", "difference", "low", "high"]).round(4)),
        "All trainings. `answers` is the IoU between a network's answers to different captures of a category; with "
        f"the validation IoU and that of the mean shape it tells whether the network learned. Did not learn: "
        f"{'; '.join(names) or 'none'}.",
        table(trainings.drop(columns="recipe")),
        "One training step of every network, measured alone.",
        table(pd.read_csv(out / "steps.csv")),
    ]
    (out / "README.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    print(means.to_string())


def table(rows: pd.DataFrame) -> str:
    """A data frame as a Markdown table."""
    cells = [list(map(str, rows.columns)), ["---"] * len(rows.columns), *rows.values.tolist()]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in cells)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="quick", help="whose packed data are used (default: quick)")
    parser.add_argument("--set", nargs="*", default=[], metavar="FIELD=NUMBER", help="changed sizes of the data")
    parser.add_argument("--narrow", action="store_true", help="the narrow networks at 96 pixels, for a trial on a CPU")
    parser.add_argument("--steps", type=int, default=1150, help="steps on objects (default: 1150)")
    parser.add_argument("--feet-steps", type=int, default=330, help="steps of the fine-tuning (default: 330)")
    parser.add_argument(
        "--camera-steps", type=int, default=900, help="steps of the camera-aware network (default: 900)"
    )
    parser.add_argument("--seeds", type=int, default=3, help="number of seeds, side by side (default: 3)")
    parser.add_argument("--batch", type=int, default=64, help="photos a step (default: 64)")
    parser.add_argument("--out", type=Path, default=Path("reports/gpu"), help="folder of the results")
    parser.add_argument("--work", type=Path, default=Path(".runs/gpu"), help="folder of the weights")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
