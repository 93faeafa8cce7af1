"""The published networks at 224 pixels on the packed data, on a GPU, with the dependencies of `p2vlib` alone.

    python benchmarks/gpu_study.py --out reports/gpu

Trains Pix2Vox-A and Pix2Vox-LSTM on objects with the same steps, fine-tunes both on feet in the phone domain, and
trains the camera-aware network on feet. Thresholds are chosen on validation people; the mean shape is tested beside
the networks. Writes ``metrics.csv`` (one row per test evaluation), ``trainings.csv`` (recipe, steps, seconds, last loss
and validation IoU of every training), ``steps.csv`` (time and memory of one training step of every network) and
``README.md`` to ``--out``.
"""

from __future__ import annotations

import argparse
import shutil
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pandas as pd
import torch

from p2vlib import evaluation, models, training
from p2vlib.config import Training, from_params
from p2vlib.data.dataset import Captures, load
from p2vlib.models.network import Batch, fast_bf16
from p2vlib.provenance import commit
from p2vlib.training.losses import training_loss
from p2vtools.study import baselines, intervals
from p2vtools.study.metrics_csv import format_metrics

DEVICE = "cuda" if torch.cuda.is_available() else "cpu"
CARD = torch.cuda.get_device_name() if torch.cuda.is_available() else "CPU"


def time_steps(names: Sequence[str], samples: int = 4, views: int = 4, repeats: int = 5) -> pd.DataFrame:
    """Seconds, input photos per second and peak memory of a training step of each network, on random data."""
    rows = []
    for name in names:
        torch.manual_seed(0)
        model = models.build(name).to(DEVICE).train()
        optimizer = torch.optim.AdamW((p for p in model.parameters() if p.requires_grad), 1e-4, fused=DEVICE == "cuda")
        size = model.config.image_size
        photos = torch.rand(samples, views, 3, size, size, device=DEVICE)
        truth = torch.rand(samples, 32, 32, 32, device=DEVICE) > 0.9
        cameras = example_cameras(samples, views) if model.needs_cameras else None
        generator = torch.Generator().manual_seed(0)
        seconds = []
        for _ in range(repeats + 2):
            synchronise()
            began = time.perf_counter()
            with torch.autocast(DEVICE, torch.bfloat16, enabled=fast_bf16(DEVICE), cache_enabled=False):
                result = model(photos, cameras)
            loss = training_loss(model, result, Batch(photos, cameras, truth, cameras, generator=generator))
            loss.backward()
            optimizer.step()
            optimizer.zero_grad()
            synchronise()
            seconds.append(time.perf_counter() - began)
        median = sorted(seconds[2:])[repeats // 2]
        peak = torch.cuda.max_memory_allocated() / 2**30 if DEVICE == "cuda" else float("nan")
        finite = bool(torch.isfinite(loss.detach()).item())
        rows.append((name, size, samples, views, median * 1000, samples * views / median, peak, finite))
        del model, optimizer
        if DEVICE == "cuda":
            torch.cuda.empty_cache()
            torch.cuda.reset_peak_memory_stats()
    columns = ["network", "pixels", "samples", "views", "ms a step", "photos/s", "peak memory, GiB", "loss is finite"]
    return pd.DataFrame(rows, columns=columns).round(2)


def example_cameras(samples: int, views: int) -> torch.Tensor:
    """Cameras around the unit cube that look at its middle, ``[samples, views, 3, 7]`` (`Camera.normalised`)."""
    angles = torch.arange(views) * 2 * torch.pi / views
    back = torch.stack([angles.cos(), torch.full_like(angles, 0.6), angles.sin()], -1)
    back = back / back.norm(dim=-1, keepdim=True)
    right = torch.stack([-back[:, 2], torch.zeros(views), back[:, 0]], -1)
    right = right / right.norm(dim=-1, keepdim=True)
    rotation = torch.stack([right, torch.linalg.cross(right, back), -back], 1)
    position = 0.5 + 2 * back
    offset = -(rotation @ position[..., None])
    intrinsics = torch.tensor([[1.5, 0.0, 0.5], [0.0, 1.5, 0.5], [0.0, 0.0, 1.0]]).expand(views, 3, 3)
    return torch.cat([intrinsics, rotation, offset], -1).expand(samples, -1, -1, -1).to(DEVICE)


def synchronise() -> None:
    """Waits for the device."""
    if DEVICE == "cuda":
        torch.cuda.synchronize()


class Study:
    """The trainings and tests of one run; each training is a row of ``trainings``."""

    def __init__(self, captures: Captures, work: Path, image_size: int) -> None:
        self.captures, self.work, self.image_size = captures, work, image_size
        self.trainings: list[dict] = []
        self.metrics: list[pd.DataFrame] = []

    def select(self, domain: str, split: str) -> Captures:
        """Objects in their own cube, or feet in the phone domain in the metric cube."""
        if domain == "objects":
            return self.captures.select(dataset="objects", split=split)
        return self.captures.select(dataset="feet", look="phone", light="drift", cube="metric", split=split)

    def train(
        self, name: str, domain: str, recipe: Training, variant: str, start: Path | None = None
    ) -> torch.nn.Module:
        """Trains ``name`` on ``domain`` and records the row; returns the network on the device, in evaluation mode."""
        torch.manual_seed(recipe.seed)
        model = models.build(name, image_size=self.image_size)
        learn, validation = self.select(domain, "train"), self.select(domain, "validation")
        began = time.perf_counter()
        history = training.train(
            model, learn, validation, recipe, self.work / f"{name}_{domain}_{variant}", start=start
        )
        last = history.iloc[-1]
        row = {"network": name, "domain": domain, "variant": variant, "seed": recipe.seed, "steps": recipe.steps}
        row |= {"photos a step": recipe.batch, "seconds": round(time.perf_counter() - began, 1)}
        row |= {"loss": round(last.loss, 3), "validation IoU": round(last.validation_iou, 4)}
        self.trainings.append({**row, "recipe": training.recipe_summary(recipe, learn, validation)})
        return model.to(DEVICE).eval()

    def test(
        self, model: torch.nn.Module, name: str, domain: str, variant: str, views: Sequence[int], **kwargs
    ) -> None:
        """Tests a network on the test split; the threshold is the best on validation."""
        threshold, _ = evaluation.best_threshold(evaluation.evaluate(model, self.select(domain, "validation"), (4,)))
        scores = evaluation.evaluate(model, self.select(domain, "test"), views, **kwargs)
        facts = dict(model=name, training="objects" if domain == "objects" else "feet-phone", variant=variant)
        cameras = "true" if model.needs_cameras else "none"
        dataset = "objects" if domain == "objects" else "feet"
        self.metrics.append(evaluation.metric_rows(scores, threshold, dataset=dataset, cameras=cameras, **facts))

    def test_mean_shape(self, domain: str, by: str, views: Sequence[int]) -> None:
        """Tests the mean shape of the training captures, which uses no photo."""
        train, validation, test = (self.select(domain, split) for split in ("train", "validation", "test"))
        threshold = baselines.mean_shape_threshold(train, validation, by)
        scores = baselines.score_mean_shape(train, test, by, views)
        facts = dict(model="mean-shape", training="objects" if domain == "objects" else "feet-phone")
        self.metrics.append(
            evaluation.metric_rows(scores, threshold, dataset="objects" if domain == "objects" else "feet", **facts)
        )


def run(options: argparse.Namespace) -> None:
    """Runs the whole study and writes its files to the folder ``options.out``."""
    began, out, work = time.perf_counter(), options.out, Path(".runs") / "gpu"
    changes = {name: int(value) for name, _, value in (text.partition("=") for text in options.set)}
    suffix, size = ("-narrow", 96) if options.narrow else ("", 224)
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(work, ignore_errors=True)
    names = [name for name in models.names() if name.endswith("-narrow") == options.narrow or name == "unprojection"]
    time_steps(names).to_csv(out / "steps.csv", index=False)
    study = Study(load(from_params(options.scale, image_size=size, **changes)), work, size)
    recipe = Training(batch=options.batch, views=8, learning_rate=1e-3, steps_per_epoch=10**6)
    views = [number for number in (1, 2, 4, 8) if number <= study.captures.photos.shape[1]]
    for domain, by in (("objects", "taxonomy"), ("feet", "side")):
        study.test_mean_shape(domain, by, views)
    networks = [f"pix2vox-{kind}{suffix}" for kind in ("a", "lstm")]
    for name in networks:
        model = study.train(name, "objects", replace(recipe, steps=options.steps), "main")
        study.test(model, name, "objects", "main", views)
    for seed in range(options.seeds):
        variant = f"main-seed{seed}" if seed else "main"
        for name in networks:
            start = work / f"{name}_objects_main" / "weights.safetensors"
            tuning = replace(recipe, steps=options.feet_steps, mirror=False, seed=seed)
            model = study.train(name, "feet", tuning, variant, start)
            study.test(model, name, "feet", variant, views, orders=("clockwise", "shuffled"))
    study.image_size = models.CONFIGS["unprojection"].image_size
    study.captures = load(from_params(options.scale, image_size=study.image_size, **changes))
    cameras = replace(recipe, batch=32, learning_rate=3e-3, steps=options.camera_steps, mirror=False)
    model = study.train("unprojection", "feet", cameras, "main")
    study.test(model, "unprojection", "feet", "main", views)
    write(study, out, f"{options.scale}, {changes}" if changes else options.scale, began)


def write(study: Study, out: Path, data: str, began: float) -> None:
    """Writes the tables and a page that says what was run where."""
    metrics = pd.concat(study.metrics, ignore_index=True).assign(notebook="gpu_study")
    (out / "metrics.csv").write_text(format_metrics(metrics), encoding="utf-8")
    pd.DataFrame(study.trainings).to_csv(out / "trainings.csv", index=False)
    selected = metrics[metrics.selected & (metrics.order == "clockwise")]
    rows = intervals.summarise(selected, ["dataset", "model", "variant", "views"]).round(4)
    minutes = (time.perf_counter() - began) / 60
    lines = [
        "# Scale gpu",
        f"{CARD}, torch {torch.__version__}, commit {commit()}; {minutes:.1f} minutes in all. Data of scale {data}. "
        "Written by `benchmarks/gpu_study.py`.",
        table(rows),
        table(pd.DataFrame(study.trainings).drop(columns="recipe")),
        table(pd.read_csv(out / "steps.csv")),
    ]
    (out / "README.md").write_text("\n\n".join(lines) + "\n", encoding="utf-8")
    print(rows.to_string())


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
    parser.add_argument("--seeds", type=int, default=1, help="trainings of every fine-tuning (default: 1)")
    parser.add_argument("--batch", type=int, default=64, help="photos a step (default: 64)")
    parser.add_argument("--out", type=Path, default=Path("reports/gpu"), help="folder of the results")
    run(parser.parse_args())


if __name__ == "__main__":
    main()
