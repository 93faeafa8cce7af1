"""Record what a checkout of the project computes, and compare two recordings item by item.

    python benchmarks/compare_checkouts.py record CHECKOUT OUT [--inputs FOLDER] [--parts data,networks,...]
    python benchmarks/compare_checkouts.py compare OUT_A OUT_B [--ignore PREFIX ...] [--verbose]

``record`` copies the files of CHECKOUT to OUT/checkout and runs everything there, on one thread, so CHECKOUT itself is
never written to. Each part writes OUT/<part>.json and OUT/<part>.npz, which map item names to values and arrays. Parts
that need a given input read it from the inputs folder: OUT/inputs, filled by the first recording, or the one passed
with ``--inputs``. Pass the inputs of the first recording to every later one.

``compare`` prints one line per item and exits with 1 if any item is DIFFERENT or missing. ``--ignore`` takes prefixes
of item names.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator
from contextlib import redirect_stdout
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
import trimesh
from mutants import copy_checkout

from p2vlib import evaluation, models, training
from p2vlib.config import Training, from_params
from p2vlib.data import dataset
from p2vlib.models.network import Batch
from p2vlib.training.batches import sample_batch
from p2vlib.training.losses import training_loss
from p2vtools.fit.pretrained import load_pretrained
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.scan_degradation import degrade_scan

COMMAND = [sys.executable, "-m", "p2vtools"]

COMMANDS = {  # item -> arguments; run in one folder after the other, where `inputs` is a link to the inputs
    "reconstruct-phone": "reconstruct inputs/captures/phone --out phone.obj",
    "reconstruct-studio": "reconstruct inputs/captures/studio --out studio.ply --size 64",
    "reconstruct-steady": "reconstruct inputs/captures/steady --out steady.stl --size 32 --placement given",
    "reconstruct-noted": "reconstruct inputs/captures/phone --out noted.glb --cameras noted",
    "measure-phone": "measure phone.obj --side right",
    "measure-studio": "measure studio.ply --side left",
    "measure-truth": "measure inputs/captures/steady/model.obj --side left",
    "clean": "clean inputs/scan.ply --out cleaned",
    "measure-cleaned": "measure cleaned/model.obj --side left",
    "validate": "validate inputs/captures",
}
CAPTURES = {"phone": "person-test-0000-right", "studio": "person-test-0001-left", "steady": "person-test-0001-left"}

VOLATILE = re.compile(r"\[s\]|\b(seconds|minutes|training min|ms|memory|GiB|commit|time|date)\b|^quick ")
"""Columns and fields that hold times or memory, or repeat numbers of the committed quick run."""
DURATION = re.compile(r"\d+(\.\d+)? (s|ms|min|minutes|seconds)\b")


def fingerprint(tensor: Any) -> dict[str, Any]:
    """Shape, hash and a sample of a tensor; the sample decides where the hash differs."""
    array = np.ascontiguousarray(tensor.detach().cpu().numpy())
    flat = array.astype(np.float64).ravel()
    picked = flat[np.linspace(0, flat.size - 1, 24).astype(int)] if flat.size else flat
    digest = hashlib.sha256(array.tobytes()).hexdigest()
    sample = [flat.mean(), np.abs(flat).mean(), *picked] if flat.size else []
    return {"shape": list(array.shape), "hash": digest, "sample": [float(value) for value in sample]}


def file_digest(path: Path) -> dict[str, str]:
    return {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def state_of(model: torch.nn.Module) -> dict[str, Any]:
    """Key -> fingerprint of every tensor of a model."""
    return {key: fingerprint(tensor) for key, tensor in model.state_dict().items()}


def feet(whole: bool, split: str) -> dataset.Captures:
    """The phone captures of the smoke feet in a split; ``whole``: uncropped photos with the finer ground truth."""
    config = from_params("smoke")
    captures = dataset.load_feet(config, "phone") if whole else dataset.load(config)
    return captures.select(dataset="feet", look="phone", light="drift", cube="metric", split=split)


def trained(item: str, model: torch.nn.Module, recipe: Training, whole: bool = False) -> Iterator[tuple[str, Any]]:
    """History and state of ``model`` after a short training on smoke feet."""
    folder = Path(".compare") / item
    shutil.rmtree(folder, ignore_errors=True)
    history = training.train(model, feet(whole, "train"), feet(whole, "validation"), recipe, folder)
    yield f"{item}/history", table_of(history)
    yield f"{item}/state", state_of(model)


def build(name: str, seed: int) -> torch.nn.Module:
    """The network ``name``, with weights drawn from ``seed``."""
    torch.manual_seed(seed)
    return models.build(name)


def record_networks(inputs: Path) -> Iterator[tuple[str, Any]]:
    """Every network: initial state, predictions and losses on fixed inputs, and state after two training steps."""
    given = {key: torch.from_numpy(value) for key, value in np.load(inputs / "tensors.npz").items()}
    for name in models.names():
        item, model = f"networks/{name}", build(name, 7)
        yield f"{item}/state", state_of(model)
        size = model.config.image_size
        cameras = given["cameras"] if model.needs_cameras else None
        views = torch.rand(2, 4, 3, size, size, generator=torch.Generator().manual_seed(1))
        for number in (1, 2, 4):
            with torch.no_grad():
                result = model.eval()(views[:, :number], None if cameras is None else cameras[:, :number])
                yield f"{item}/probability-{number}", result.probability.numpy()
        for loss in ("default", "published"):
            batch = Batch(views, cameras, given["truth"], cameras, generator=torch.Generator().manual_seed(8))
            with torch.no_grad():
                result = model.train()(views, cameras)
                yield f"{item}/loss-{loss}", float(training_loss(model, result, batch, loss))
        if size <= 96:
            yield from trained(f"{item}/trained", build(name, 9), Training(mirror=False))
    published = Training(
        epochs=1,
        single_view_share=0.5,
        loss="published",
        augmentation="published",
        freeze_after_first_stage=True,
        schedule="step",
    )
    yield from trained("networks/trained-published", build("pix2vox-a-narrow", 9), published)
    moved = Training(mirror=False, placement_noise=(4.0, 0.025))
    yield from trained("networks/trained-whole", build("unprojection", 9), moved, True)


def record_pretrained(_: Path) -> Iterator[tuple[str, Any]]:
    """The pretrained weights, their predictions on the smoke feet, and a short training of its point head."""
    weights = load_pretrained()
    yield "pretrained/state", state_of(weights.model)
    yield "pretrained/threshold", weights.threshold
    for whole in (False, True):
        for number in (1, 2, 4):
            found = evaluation.predict(weights.model, feet(whole, "test"), range(number))
            yield f"pretrained/{'whole' if whole else 'cropped'}-{number}", found.numpy()
    recipe = Training(point_samples=256, placement_noise=(4.0, 0.025))
    yield from trained("pretrained/point-head", weights.model, recipe, True)


def record_batches(_: Path) -> Iterator[tuple[str, Any]]:
    """Batches of several recipes and steps."""
    recipes = {
        "default": (Training(steps=3), False),
        "any": (Training(steps=3, view_sampling="any", view_order="shuffled", seed=3), False),
        "published": (
            Training(epochs=2, steps_per_epoch=2, augmentation="published", view_sampling="any", mirror=False),
            False,
        ),
        "whole": (Training(steps=3, mirror=False), True),
        "moved": (
            Training(steps=3, placement_noise=(4.0, 0.025), lift_noise=0.02, point_samples=256, views=4, batch=8),
            True,
        ),
    }
    query_points = load_pretrained().model.query_points
    for name, (recipe, whole) in recipes.items():
        captures = feet(whole, "train")
        for step in range(3):
            for share in ((0, 1), (1, 2)):
                batch = sample_batch(captures, recipe, step, share, query_points)._replace(generator=None)
                facts = {field: fingerprint(value) for field, value in batch._asdict().items() if value is not None}
                yield f"batches/{name}/step-{step}-share-{share[0]}", facts


def record_commands(inputs: Path) -> Iterator[tuple[str, Any]]:
    """Numbers printed by the command line, and the meshes that it writes."""
    folder = Path(".compare/commands")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "inputs").symlink_to(inputs)
    for item, arguments in COMMANDS.items():
        run = subprocess.run([*COMMAND, *arguments.split()], cwd=folder, capture_output=True, text=True)
        text = run.stdout + run.stderr
        yield f"commands/{item}/exit", run.returncode
        numbers = re.findall(r"\d+(?:\.\d+)?", DURATION.sub("", text))
        yield f"commands/{item}/numbers", {"values": sorted(map(float, numbers)), "text": text}
    for path in sorted(folder.glob("*.*")) + sorted(folder.glob("cleaned/*.*")):
        item = f"commands/files/{path.relative_to(folder)}"
        if path.suffix in (".obj", ".ply", ".stl", ".glb"):
            mesh = trimesh.load(path, force="mesh", process=False)
            yield f"{item}/vertices", np.asarray(mesh.vertices)
            yield f"{item}/faces", np.asarray(mesh.faces)
        elif path.suffix == ".binvox":
            yield item, file_digest(path)


def record_data(_: Path) -> Iterator[tuple[str, Any]]:
    """Hashes of the smoke captures, and their subject.json field by field."""
    for subject in sorted(Path("data").glob("*/smoke/**/subject.json")):
        folder, facts = subject.parent, json.loads(subject.read_text())
        found = {f"subject.{key}": value for key, value in facts.items() if not VOLATILE.search(key)}
        for path in sorted(folder.rglob("*.*")):
            if path != subject:
                found[str(path.relative_to(folder))] = file_digest(path)
        parts = folder.relative_to("data").parts
        yield "/".join(part for part in parts if part not in ("smoke", "ShapeNetRendering")), found


def table_of(table: Any) -> dict[str, list[Any]]:
    """Column -> values of a table, without times and memory."""
    kept = [column for column in table if not VOLATILE.search(str(column))]
    return json.loads(json.dumps({str(column): table[column].tolist() for column in kept}, default=str))


def record_study(_: Path) -> Iterator[tuple[str, Any]]:
    """Tables and metrics of the smoke study; the metrics by notebook, test data, training data, network and variant."""
    folder = Path("reports/smoke")
    for path in sorted(folder.glob("tables/*.csv")):
        yield f"study/tables/{path.name}", table_of(pd.read_csv(path, keep_default_na=False))
    metrics = pd.read_csv(folder / "metrics.csv", dtype={"taxonomy": str}, keep_default_na=False)
    metrics = metrics.sort_values(list(metrics.columns)[:13], kind="stable")
    for names, rows in metrics.groupby(["notebook", "dataset", "training", "model", "variant"]):
        yield "study/metrics/" + "/".join(map(str, names)), table_of(rows)


def record_inputs(inputs: Path) -> Iterator[tuple[str, Any]]:
    """Make the inputs that all recordings share, unless they are there."""
    if not (inputs / "tensors.npz").is_file():
        (person,) = sample_population(4713, 1)
        (inputs / "captures").mkdir(parents=True, exist_ok=True)
        scan, _ = degrade_scan(make_feet(person)["left"], np.random.default_rng(1))
        scan.export(inputs / "scan.ply")
        for look, name in CAPTURES.items():
            shutil.copytree(f"data/feet/smoke/{look}/{name}", inputs / "captures" / look, dirs_exist_ok=True)
        captures = feet(False, "test")
        np.savez(inputs / "tensors.npz", cameras=captures.cameras[:2].numpy(), truth=captures.truth[:2].numpy())
    yield "inputs/scan", file_digest(inputs / "scan.ply")


PARTS = {  # part -> (commands of the project that run first, function)
    "data": ("data --scale smoke", record_data),
    "inputs": ("", record_inputs),
    "batches": ("", record_batches),
    "networks": ("", record_networks),
    "pretrained": ("", record_pretrained),
    "commands": ("", record_commands),
    "study": ("study --scale smoke", record_study),
}

ONE_WORKER = """
import concurrent.futures.thread as thread
start = thread.ThreadPoolExecutor.__init__
def one_worker(self, max_workers=None, *args, **kwargs):
    start(self, 1, *args, **kwargs)
thread.ThreadPoolExecutor.__init__ = one_worker
"""
"""Start-up file of every recorded process: trainings side by side share autocast's cache and the global generator."""


def record(checkout: Path, out: Path, inputs: Path | None, parts: Iterable[str]) -> None:
    """Copy ``checkout`` and run ``parts`` in the copy."""
    copy, inputs = out.resolve() / "checkout", (inputs or out / "inputs").resolve()
    if not copy.exists():
        copy_checkout(checkout, copy)
        (copy / ".compare").mkdir()
        (copy / ".compare" / "sitecustomize.py").write_text(ONE_WORKER)
    path = os.pathsep.join([str(copy), str(copy / ".compare")])
    environment = {**os.environ, "PYTHONPATH": path, "P2VLIB_HOME": str(copy), "OMP_NUM_THREADS": "1"}
    for part in parts:
        began = time.perf_counter()
        child = [sys.executable, str(Path(__file__).resolve()), "part", part, str(out.resolve()), str(inputs)]
        for line in ([*COMMAND, *PARTS[part][0].split()] if PARTS[part][0] else [], child):
            if line:
                subprocess.run(line, cwd=copy, env=environment, check=True)
        print(f"{part}: {time.perf_counter() - began:.0f} s", flush=True)


def record_part(part: str, out: Path, inputs: Path) -> None:
    """Write the items of one part; runs in the copy of the checkout."""
    values, arrays = {}, {}
    with redirect_stdout(io.StringIO()):
        for item, value in PARTS[part][1](inputs):
            (arrays if isinstance(value, np.ndarray) else values)[item] = value
    (out / f"{part}.json").write_text(json.dumps(values, indent=1))
    np.savez_compressed(out / f"{part}.npz", **arrays)


# ------------------------------------------------------------------------------------------------------------- compare

ABSOLUTE, RELATIVE = 1e-5, 1e-4
"""Tolerances of "equal within float32 tolerance"."""


def read(out: Path) -> dict[str, Any]:
    """All items of a recording."""
    items: dict[str, Any] = {}
    for path in sorted(out.glob("*.json")):
        items |= json.loads(path.read_text())
        items |= dict(np.load(path.with_suffix(".npz")))
    return items


def leaves(value: Any, name: str = "") -> Iterator[tuple[str, Any]]:
    """Name and value of everything in nested dictionaries and lists; lists of numbers are one array."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from leaves(inner, f"{name}/{key}")
    elif isinstance(value, list) and not all(isinstance(inner, int | float) for inner in value):
        for number, inner in enumerate(value):
            yield from leaves(inner, f"{name}/{number}")
    else:
        yield name, np.asarray(value) if isinstance(value, list | int | float) else value


def verdict(a: Any, b: Any) -> tuple[str, str]:
    """How two values of an item agree, and a note on it."""
    ours, theirs = dict(leaves(a)), dict(leaves(b))
    wrong = [f"{name or 'value'} missing" for name in sorted(set(ours) ^ set(theirs))]
    exact, largest = True, 0.0
    for name in ours.keys() & theirs.keys():
        one, other = ours[name], theirs[name]
        if name.endswith(("/hash", "/text")):  # what they stand for is compared beside them
            exact = exact and (name.endswith("/text") or one == other)
        elif isinstance(one, np.ndarray) and isinstance(other, np.ndarray) and one.shape == other.shape:
            if not np.array_equal(one, other, equal_nan=True):
                exact = False
                one, other = one.astype(np.float64), other.astype(np.float64)
                largest = max(largest, float(np.nanmax(np.abs(one - other))))
                if not np.allclose(one, other, RELATIVE, ABSOLUTE, equal_nan=True):
                    wrong.append(f"{name or 'value'} by up to {np.nanmax(np.abs(one - other)):.3g}")
        elif type(one) is not type(other) or isinstance(one, np.ndarray) or one != other:
            wrong.append(name or "value")
    if wrong:
        return "DIFFERENT", f"{len(wrong)} of {len(ours)}: " + ", ".join(sorted(wrong)[:4])
    if exact:
        return "equal bit for bit", ""
    return "equal within float32 tolerance", f"(max abs difference {largest:.3g})"


def compare(first: Path, second: Path, ignore: Iterable[str], verbose: bool) -> int:
    """Print one line per item, then the counts; returns the exit status."""
    ours, theirs, counts = read(first), read(second), {}
    for item in [*ours, *(item for item in theirs if item not in ours)]:
        missing = [str(out) for out, items in ((first, ours), (second, theirs)) if item not in items]
        status, note = ("missing", f"in {missing[0]}") if missing else verdict(ours[item], theirs[item])
        if item.startswith(tuple(ignore)):
            status = "ignored"
        counts[status] = counts.get(status, 0) + 1
        print(f"{item}: {status} {note}".rstrip())
        if verbose and status == "DIFFERENT" and isinstance(ours[item], dict) and "text" in ours[item]:
            print(f"--- {first}\n{ours[item]['text']}--- {second}\n{theirs[item]['text']}")
    print("; ".join(f"{count} {status}" for status, count in sorted(counts.items())))
    return int(bool(counts.get("DIFFERENT") or counts.get("missing")))


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    choice = parser.add_subparsers(dest="action", required=True)
    one = choice.add_parser("record", help="record what a checkout computes")
    one.add_argument("checkout", type=Path)
    one.add_argument("out", type=Path)
    one.add_argument("--inputs", type=Path, help="inputs of the first recording (default: OUT/inputs)")
    one.add_argument("--parts", type=lambda text: text.split(","), default=list(PARTS), help=",".join(PARTS))
    part = choice.add_parser("part")  # what `record` runs in the copy of the checkout
    part.add_argument("part", choices=PARTS)
    part.add_argument("out", type=Path)
    part.add_argument("inputs", type=Path)
    two = choice.add_parser("compare", help="compare two recordings")
    two.add_argument("first", type=Path)
    two.add_argument("second", type=Path)
    two.add_argument(
        "--ignore", nargs="*", default=[], metavar="PREFIX", help="prefixes of items that are not compared"
    )
    two.add_argument("--verbose", action="store_true", help="print the text of commands that differ")
    told = vars(parser.parse_args())
    return {"record": record, "part": record_part, "compare": compare}[told.pop("action")](**told) or 0


if __name__ == "__main__":
    sys.exit(main())
