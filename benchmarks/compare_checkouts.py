"""Record what a checkout of the project computes, and compare two recordings item by item.

    python benchmarks/compare_checkouts.py record CHECKOUT OUT [--inputs FOLDER] [--parts data,networks,...]
    python benchmarks/compare_checkouts.py compare OUT_A OUT_B [--ignore PREFIX ...] [--ignore-objects] [--verbose]

``record`` copies the files of CHECKOUT to OUT/checkout and runs everything there, on one thread, so CHECKOUT itself is
never written to. Each part writes OUT/<part>.json and OUT/<part>.npz. Parts that need a given input read it from the
inputs folder: OUT/inputs, filled by the first recording, or the one passed with ``--inputs``. Pass the inputs of the
first recording to every later one.

``compare`` prints one line per item and exits with 1 if any item is DIFFERENT or missing. ``--ignore`` takes prefixes
of item names; ``--ignore-objects`` leaves out the CAD objects and every result that depends on them. To record a
checkout that renamed something, extend `NAMES` and the tables below it.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
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
from recordings import compare

# ------------------------------------------------------------------------------------- names of the recorded project

NAMES = {  # "module:attribute", newest first; the first one that can be imported from the checkout is used
    "names": ["p2vlib.models:names"],
    "build": ["p2vlib.models:build"],
    "Training": ["p2vlib.config:Training"],
    "from_params": ["p2vlib.config:from_params"],
    "load": ["p2vlib.data.dataset:load", "p2vlib.datasets:load"],
    "load_feet": ["p2vlib.data.dataset:load_feet", "p2vlib.datasets:load_feet"],
    "draw": ["p2vlib.training.batches:sample_batch", "p2vlib.batches:draw"],
    "loss": ["p2vlib.training.losses:training_loss", "p2vlib.losses:loss_of"],
    "train": ["p2vlib.training:train"],
    "predict": ["p2vlib.evaluation:predict"],
    "load_pretrained": ["p2vtools.fit.pretrained:load_pretrained", "p2vlib.shipped:load"],
    "pretrained_path": ["p2vtools.fit.pretrained:pretrained_path", "p2vlib.shipped:path"],
    "population": ["p2vtools.synthesis.feet.population:sample_population", "p2vlib.capture.people:population"],
    "make_feet": ["p2vtools.synthesis.feet.foot:make_feet", "p2vlib.capture.feet:make_feet"],
    "degrade": ["p2vtools.synthesis.scan_degradation:degrade_scan", "p2vlib.capture.degrade:scanned"],
}
COMMAND_LINES = ["p2vtools", "p2vlib"]  # packages with the command line, newest first
TENSORS = {r"^point_head\.": "finer.", r"^calibration$": "line"}
"""Pattern of new keys of a state dict -> replacement that gives the key at f5c6dde."""
OLD_NETWORKS = {"unprojection": "rays"}  # new name of a network -> its name at f5c6dde


def project(name: str) -> Any:
    """The object of the checkout called ``name`` in `NAMES`."""
    for candidate in NAMES[name]:
        module, attribute = candidate.split(":")
        try:
            return getattr(importlib.import_module(module), attribute)
        except (ImportError, AttributeError) as error:
            failure = error
    raise ImportError(f"no name for {name!r} in this checkout") from failure


def new_name(field: str) -> str:
    """The name in this checkout of a field or option of f5c6dde."""
    return getattr(importlib.import_module("p2vlib.config"), "RENAMED_FIELDS", {}).get(field, field)


def get(thing: Any, field: str) -> Any:
    """Field ``field`` (its name at f5c6dde) of an object of the checkout."""
    name = new_name(field)
    return getattr(thing, name if hasattr(thing, name) else field)


def recipe(**options: Any) -> Any:
    """A training recipe; the options have the names of f5c6dde."""
    training = project("Training")
    return training(
        **{(new if hasattr(training(), new := new_name(old)) else old): value for old, value in options.items()}
    )


def losses_of(model: Any, views: Any, cameras: Any, truth: Any, name: str) -> float:
    """The training loss ``name`` (of f5c6dde) of a network in training mode."""
    result = model.train()(views, cameras)
    if project("loss").__name__ == "loss_of":
        return float(project("loss")(result, truth, name, cameras))
    import torch

    batch = importlib.import_module("p2vlib.models.network").Batch
    # PSGN samples the surface from the generator of the step; at f5c6dde it was the global one.
    given = batch(views, cameras, truth, cameras, generator=torch.default_generator)
    return float(project("loss")(model, result, given, {"own": "default"}.get(name, name)))


def draw(captures: Any, recipe: Any, step: int, share: tuple[int, int]) -> Any:
    """The batch of a step, with query points where the recipe asks for them."""
    if project("draw").__name__ == "draw":
        return project("draw")(captures, recipe, step, share)
    return project("draw")(captures, recipe, step, share, pretrained()[0].query_points)


def feet(whole: bool, split: str) -> Any:
    """The phone captures of the smoke feet in a split; ``whole``: uncropped photos with the finer ground truth."""
    config = project("from_params")("smoke")
    captures = project("load_feet")(config, "phone") if whole else project("load")(config)
    return captures.select(dataset="feet", look="phone", light="drift", cube="metric", split=split)


def command(checkout: Path) -> list[str]:
    """The start of every command line of the project."""
    return [sys.executable, "-m", next(name for name in COMMAND_LINES if (checkout / name / "__main__.py").is_file())]


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

# ------------------------------------------------------------------------------------------------------------ record

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


def state_of(model: Any) -> dict[str, Any]:
    """Key -> fingerprint of every tensor of a model."""
    found = {}
    for key, tensor in model.state_dict().items():
        for pattern, replacement in TENSORS.items():
            key = re.sub(pattern, replacement, key)
        found[key] = fingerprint(tensor)
    return found


def record_networks(inputs: Path) -> Iterator[tuple[str, Any]]:
    """Every network: initial state, predictions and losses on fixed inputs, and state after two training steps."""
    import torch

    given = {key: torch.from_numpy(value) for key, value in np.load(inputs / "tensors.npz").items()}
    truth, cameras = given["truth"], given["cameras"]
    for name in project("names")():
        item = OLD_NETWORKS.get(name, name)
        torch.manual_seed(7)
        model = project("build")(name)
        yield f"networks/{item}/state", state_of(model)
        size = get(get(model, "config"), "image_size")
        own_cameras = cameras if get(model, "needs_cameras") else None
        views = torch.rand(2, 4, 3, size, size, generator=torch.Generator().manual_seed(1))
        for number in (1, 2, 4):
            with torch.no_grad():
                result = model.eval()(views[:, :number], None if own_cameras is None else own_cameras[:, :number])
                yield f"networks/{item}/probability-{number}", get(result, "probability").numpy()
        for loss in ("own", "published"):
            torch.manual_seed(8)
            with torch.no_grad():
                yield f"networks/{item}/loss-{loss}", losses_of(model, views, own_cameras, truth, loss)
        del model
        if size <= 96:
            yield from trained(f"networks/{item}/trained", name, dict(mirror=False))
    published = dict(epochs=1, single_view=0.5, loss="published", augmentation="published", hold=True, schedule="step")
    yield from trained("networks/pix2vox-a-narrow/trained-published", "pix2vox-a-narrow", published)
    yield from trained("networks/rays/trained-whole", "rays", dict(mirror=False, placement_noise=(4.0, 0.025)), True)


def trained(item: str, name: str, options: dict[str, Any], whole: bool = False) -> Iterator[tuple[str, Any]]:
    """History and state of network ``name`` (or the pretrained one) after a short training on smoke feet."""
    import torch

    torch.manual_seed(9)
    model = pretrained()[0] if name == "pretrained" else project("build")(name)
    folder = Path(".compare") / item
    shutil.rmtree(folder, ignore_errors=True)
    torch.manual_seed(10)  # PSGN draws points of the surface from the global generator
    history = project("train")(model, feet(whole, "train"), feet(whole, "validation"), recipe(**options), folder)
    yield f"{item}/history", table_of(history)
    yield f"{item}/state", state_of(model)


def pretrained() -> tuple[Any, Any]:
    """The pretrained network, and all that is stored with it."""
    weights = project("load_pretrained")(project("pretrained_path")())
    return get(weights, "model"), weights


def record_pretrained(_: Path) -> Iterator[tuple[str, Any]]:
    """The pretrained weights, their predictions on the smoke feet, and two training steps of its point head."""
    model, weights = pretrained()
    yield "pretrained/state", state_of(model)
    yield "pretrained/threshold", get(weights, "threshold")
    for whole in (False, True):
        for number in (1, 2, 4):
            found = project("predict")(model, feet(whole, "test"), range(number))
            yield f"pretrained/{'whole' if whole else 'cropped'}-{number}", found.numpy()
    yield from trained("pretrained/finer", "pretrained", dict(points=256, placement_noise=(4.0, 0.025)), True)


def record_batches(_: Path) -> Iterator[tuple[str, Any]]:
    """Batches of several recipes and steps."""
    moved = dict(placement_noise=(4.0, 0.025), lift_noise=0.02, points=256, views=4, batch=8)
    recipes = {
        "own": (dict(), False),
        "any": (dict(choice="any", order="shuffled", seed=3), False),
        "published": (dict(epochs=2, epoch=2, augmentation="published", choice="any", mirror=False), False),
        "whole": (dict(mirror=False), True),
        "moved": (moved, True),
    }
    for name, (options, whole) in recipes.items():
        captures = feet(whole, "train")
        for step in range(3):
            for share in ((0, 1), (1, 2)):
                batch = draw(captures, recipe(steps=3, **options), step, share)
                fields = ("views", "cameras", "truth", "true_cameras", "points", "inside")
                values = {field: get(batch, field) for field in fields}
                facts = {field: None if value is None else fingerprint(value) for field, value in values.items()}
                yield f"batches/{name}/step-{step}-share-{share[0]}", facts


def record_commands(inputs: Path) -> Iterator[tuple[str, Any]]:
    """Numbers printed by the command line, and the meshes that it writes."""
    import trimesh

    checkout, folder = Path.cwd(), Path(".compare/commands")
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    (folder / "inputs").symlink_to(inputs)
    for item, arguments in COMMANDS.items():
        run = subprocess.run([*command(checkout), *arguments.split()], cwd=folder, capture_output=True, text=True)
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
            yield item, {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def record_data(_: Path) -> Iterator[tuple[str, Any]]:
    """Hashes of the smoke captures, and their subject.json field by field."""
    for subject in sorted(Path("data").glob("*/smoke/**/subject.json")):
        folder, facts = subject.parent, json.loads(subject.read_text())
        found = {f"subject.{key}": value for key, value in facts.items() if not VOLATILE.search(key)}
        for path in sorted(folder.rglob("*.*")):
            if path != subject:
                found[str(path.relative_to(folder))] = {"sha256": hashlib.sha256(path.read_bytes()).hexdigest()}
        parts = folder.relative_to("data").parts
        yield "/".join(part for part in parts if part not in ("smoke", "ShapeNetRendering")), found


def table_of(table: Any) -> dict[str, list[Any]]:
    """Column -> values of a table, without times and memory."""
    kept = [column for column in table if not VOLATILE.search(str(column))]
    return json.loads(json.dumps({str(column): table[column].tolist() for column in kept}, default=str))


def record_study(_: Path) -> Iterator[tuple[str, Any]]:
    """Tables and metrics of the smoke study; the metrics by notebook, test data, training data, network and variant."""
    import pandas as pd

    folder = Path("reports/smoke")
    for path in sorted(folder.glob("tables/*.csv")):
        table = pd.read_csv(path, keep_default_na=False)
        table = table[~table.isin(["psgn-narrow"]).any(axis=1)]  # see TOLERATED
        table = table.replace(OLD_NETWORKS)
        yield f"study/tables/{path.name}", table_of(table)
    metrics = pd.read_csv(folder / "metrics.csv", dtype={"taxonomy": str}, keep_default_na=False)
    metrics["model"] = metrics["model"].replace(OLD_NETWORKS)
    metrics = metrics.sort_values(list(metrics.columns)[:13], kind="stable")
    for names, rows in metrics.groupby(["notebook", "dataset", "training", "model", "variant"]):
        yield "study/metrics/" + "/".join(map(str, names)), table_of(rows)


def record_inputs(inputs: Path) -> Iterator[tuple[str, Any]]:
    """Make the inputs that all recordings share, unless they are there."""
    if not (inputs / "tensors.npz").is_file():
        (person,) = project("population")(4713, 1)
        (inputs / "captures").mkdir(parents=True, exist_ok=True)
        scan, _ = project("degrade")(project("make_feet")(person)["left"], np.random.default_rng(1))
        scan.export(inputs / "scan.ply")
        for look, name in CAPTURES.items():
            shutil.copytree(f"data/feet/smoke/{look}/{name}", inputs / "captures" / look, dirs_exist_ok=True)
        captures = feet(False, "test")
        tensors = {"cameras": get(captures, "cameras")[:2], "truth": get(captures, "truth")[:2]}
        np.savez(inputs / "tensors.npz", **{key: value.numpy() for key, value in tensors.items()})
    yield "inputs/scan", {"sha256": hashlib.sha256((inputs / "scan.ply").read_bytes()).hexdigest()}


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
        listed = ["git", "-C", str(checkout), "ls-files", "-z", "-co", "--exclude-standard"]
        for name in subprocess.run(listed, capture_output=True, text=True, check=True).stdout.split("\0"):
            if name and (checkout / name).is_file():
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(checkout / name, copy / name)
        (copy / ".compare").mkdir()
        (copy / ".compare" / "sitecustomize.py").write_text(ONE_WORKER)
    path = os.pathsep.join([str(copy), str(copy / ".compare")])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    for part in parts:
        began = time.perf_counter()
        child = [sys.executable, str(Path(__file__).resolve()), "part", part, str(out.resolve()), str(inputs)]
        for line in ([*command(copy), *PARTS[part][0].split()] if PARTS[part][0] else [], child):
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
    two.add_argument("--ignore-objects", action="store_true", help="leave out the CAD objects and what depends on them")
    two.add_argument("--verbose", action="store_true", help="print the text of commands that differ")
    told = vars(parser.parse_args())
    return {"record": record, "part": record_part, "compare": compare}[told.pop("action")](**told) or 0


if __name__ == "__main__":
    sys.exit(main())
