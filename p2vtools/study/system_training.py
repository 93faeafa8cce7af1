"""Training and evaluation of the systems of notebook 06: each with the recipe that suits it, for equal minutes.

Every network learns first on objects, then on feet of the phone domain. The recipes are those of notebooks 03 and 04
with what `RECIPES` changes; a training whose recipe is the same is shared with these notebooks.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd
import torch

from p2vlib.config import Config, Training
from p2vlib.data.dataset import Captures
from p2vlib.geometry import placement
from p2vlib.geometry.frames import FOOT_SHARE
from p2vtools.fit import camera_alignment
from p2vtools.fit.pretrained import load_pretrained
from p2vtools.study import experiments, intervals, learning
from p2vtools.study.experiments import TrainedNetwork
from p2vtools.study.notebook_run import NotebookRun

STAGES = ("objects", "feet-phone")
"""The trainings of a system, in this order; the second starts from the weights of the first (`Recipe.from_objects`)."""


@dataclass(frozen=True)
class Recipe:
    """How a system is trained, relative to the recipes of notebooks 03 (objects) and 04 (feet)."""

    rate: float = 1.0
    """Learning rate, relative."""
    cost: tuple[float, float] = (1.0, 1.0)
    """Time of a step of one core on objects and on feet, relative; the network has as many fewer steps, so that the
    minutes are equal."""
    views: int = 0
    """Maximum number of photos of a capture; 0: as in the other notebook."""
    single_view_share: float = 0.0
    """If not 0: two stages, this share of the steps with single photos, then the network's attention alone."""
    from_objects: bool = True
    """Whether the training on feet starts from the weights on objects; if not, it takes the minutes of both."""


RECIPES = {
    "3d-r2n2-narrow": Recipe(cost=(1.35, 1.35)),
    "attsets-narrow": Recipe(cost=(1.8, 1.8), single_view_share=0.75),
    "psgn-narrow": Recipe(rate=0.25, cost=(0.7, 0.65), views=1),
    "pix2vox++-f-narrow": Recipe(cost=(1.1, 1.15)),
    "pix2vox++-a-narrow": Recipe(cost=(1.3, 1.3)),
    "unprojection": Recipe(cost=(3.2, 1.25), from_objects=False),
}
"""Recipes by system, chosen on validation; `benchmarks/bench_costs.py` measures the costs. Systems that are missing
have the training of notebooks 03 and 04 unchanged: Pix2Vox-A, whose steps are the unit, and Pix2Vox-F and the LSTM,
whose steps take about 12 % less and 10 % more. At scale full these are all but unprojection, whose costs are those of
quick: the others have equal steps there, not equal minutes."""

FLOOR_NOISE = 0.03125
"""Standard deviation of an unknown floor height, in edges of the cube (0.03125 of 0.32 m: 10 mm)."""

FLOOR_NOISE_HEIGHT = 0.5
"""Share of the cube's height that an unprojection network computes when the floor height is unknown."""


def system_recipe(config: Config, name: str, training: str) -> Training:
    """The recipe of the system ``name`` for one of `STAGES`."""
    recipe, base = RECIPES.get(name, Recipe()), config.pretraining if training == "objects" else config.finetuning
    cost, steps = recipe.cost[STAGES.index(training)], float(base.steps)
    if training != "objects" and not recipe.from_objects:
        steps += config.pretraining.steps * config.pretraining.batch / base.batch
    return replace(
        base,
        steps=max(1, round(steps / cost)),
        steps_per_epoch=max(1, round(base.steps_per_epoch / cost)),
        learning_rate=base.learning_rate * recipe.rate,
        views=recipe.views or base.views,
        single_view_share=recipe.single_view_share or base.single_view_share,
        freeze_after_first_stage=recipe.single_view_share > 0,
    )


def train_system(run: NotebookRun, captures: Captures, name: str) -> dict[str, TrainedNetwork]:
    """Trains the system ``name`` in both `STAGES`; returns training -> network."""
    trained: dict[str, TrainedNetwork] = {}
    for training in STAGES:
        start = trained.get("objects") if RECIPES.get(name, Recipe()).from_objects else None
        trained[training] = train_stage(run, captures, name, training, start)
    return trained


def train_stage(
    run: NotebookRun,
    captures: Captures,
    name: str,
    training: str,
    start: TrainedNetwork | None,
    variant: str = "main",
    floor_noise: float = 0.0,
    share: float = 1.0,
    **overrides: object,
) -> TrainedNetwork:
    """Trains the system ``name`` in one of `STAGES`.

    Args:
        start: the network whose weights the training starts from; None: from scratch.
        variant: name of the training; weights of notebooks 03 and 04 of this name are used if their recipe is the same.
        floor_noise: standard deviation of the floor's height in the cube, in edges of the cube. The unprojection
            network computes only the part of the cube that a foot can occupy.
        share: share of the steps of the system's recipe.
        overrides: fields of the network's config.
    """
    if name == "unprojection" and training.startswith("feet"):
        overrides = {"height": FLOOR_NOISE_HEIGHT if floor_noise else FOOT_SHARE, **overrides}
    recipe = system_recipe(run.config, name, training)
    recipe = replace(recipe, steps=max(1, round(share * recipe.steps)), lift_noise=floor_noise)
    shared = recipe == (run.config.pretraining if training == "objects" else run.config.finetuning)
    options = dict(variant=variant if shared else f"{variant}-06", start=start, recipe=recipe, **overrides)
    network = experiments.train_network(run, captures, name, training, **options)
    return replace(network, variant=variant)


def recipe_table(config: Config, networks: Mapping[str, Mapping[str, TrainedNetwork]]) -> pd.DataFrame:
    """How each system was trained, one row each.

    Args:
        networks: system -> training -> network (`train_system`).
    """
    rows = []
    for name, trained in networks.items():
        recipes = {training: system_recipe(config, name, training) for training in STAGES}
        row: dict[str, object] = {"system": name}
        for training, recipe in recipes.items():
            row[f"learning rate, {training}"] = recipe.learning_rate
            row[f"steps x photos, {training}"] = f"{recipe.steps:,} x {recipe.batch}"
            row[f"minutes, {training}"] = round(trained[training].minutes, 1)
        row["photos of a capture"] = recipes["objects"].views
        row["two stages"] = "yes" if recipes["objects"].freeze_after_first_stage else "no"
        rows.append(row)
    return pd.DataFrame(rows)


def training_history(networks: Mapping[str, Mapping[str, TrainedNetwork]]) -> pd.DataFrame:
    """The histories of all ``networks`` (as of `recipe_table`), with columns training and model."""
    return pd.concat(
        network.history.assign(training=training, model=name)
        for name, stages in networks.items()
        for training, network in stages.items()
    )


def select_splits(captures: Captures) -> dict[str, list[Captures]]:
    """The train and the validation captures of each of `STAGES`."""
    splits = ("train", "validation")
    return {stage: [experiments.training_captures(captures, stage, split) for split in splits] for stage in STAGES}


def select_tests(captures: Captures) -> dict[tuple[str, str], Captures]:
    """(dataset, domain) -> test captures: objects, and feet in the domains studio and phone."""
    feet = captures.select(dataset="feet", cube="metric", split="test")
    return {
        ("objects", "studio"): captures.select(dataset="objects", split="test"),
        ("feet", "studio"): feet.select(look="studio"),
        ("feet", "phone"): feet.select(look="phone", light="drift"),
    }


def evaluate_system(network: TrainedNetwork, captures: Captures, views: Sequence[int]) -> Iterator[pd.DataFrame]:
    """Metrics of a network on those of `select_tests` that are of its training's kind, objects or feet."""
    validation = experiments.training_captures(captures, network.training, "validation")
    for (dataset, _), test in select_tests(captures).items():
        if network.training.startswith(dataset):
            yield experiments.evaluate_network(network, test, validation, dataset=dataset, views=views, variant="main")


def evaluate_variants(
    variants: Mapping[str, TrainedNetwork], captures: Captures, views: Sequence[int], others: Mapping[str, Captures]
) -> Iterator[pd.DataFrame]:
    """Metrics of ``variants`` (title -> network) on feet of the phone domain.

    Args:
        others: title -> captures in place of ``captures``.
    """
    for variant, network in variants.items():
        data = others.get(variant, captures)
        test, validation = (experiments.training_captures(data, "feet-phone", name) for name in ("test", "validation"))
        rows = experiments.evaluate_network(network, test, validation, dataset="feet", views=views, variant=variant)
        yield rows.assign(cameras="none") if variant == "without poses" else rows


def evaluate_noisy_cameras(
    networks: Mapping[str, TrainedNetwork], test: Captures, validation: Captures, views: Sequence[int]
) -> Iterator[pd.DataFrame]:
    """Metrics of feet with the camera errors of each of `CAMERA_NOISE`.

    Args:
        networks: prefix of the variant -> network.
    """
    for prefix, network in networks.items():
        for source, (degrees, metres) in camera_alignment.CAMERA_NOISE.items():
            noisy = camera_alignment.add_camera_noise(test, degrees, metres)
            labels = dict(dataset="feet", variant=f"{prefix}cameras of {source}")
            rows = experiments.evaluate_network(network, noisy, validation, views=views, **labels)
            yield rows.assign(cameras="noisy")


def limit_people(captures: Captures, people: int) -> Captures:
    """The feet of ``captures`` with at most ``people`` in the train split; validation and test stay complete."""
    feet = captures.select(dataset="feet")
    in_train = feet.table.split == "train"
    selected = sorted(feet.table.subject[in_train].unique())[:people]
    return feet.select(subject=[*selected, *feet.table.subject[~in_train].unique()])


def without_poses(captures: Captures) -> Captures:
    """``captures`` in which every photo has the camera of the first one, so cameras carry no information."""
    return replace(captures, cameras=captures.cameras[:1, :1].expand_as(captures.cameras).contiguous())


def with_floor_noise(captures: Captures) -> Captures:
    """``captures`` (from `dataset.load_feet`) in cubes moved up or down by random heights (`FLOOR_NOISE`)."""
    moves = placement.sample_placements(len(captures), 0.0, 0.0, torch.Generator().manual_seed(0), FLOOR_NOISE)
    margin, size = placement.MAX_DEVIATIONS * FLOOR_NOISE, captures.truth.shape[-1]
    truth, cameras, boxes = placement.move_cube(
        captures.fine_truth, captures.cameras, captures.boxes, moves, size, margin
    )
    return replace(captures, truth=truth, cameras=cameras, boxes=boxes, fine_truth=None)


def pretrained_network(path: Path) -> TrainedNetwork:
    """The pretrained weights at ``path`` as a network of the comparison."""
    return TrainedNetwork("unprojection", "feet-phone", "shipped", load_pretrained(path).model, pd.DataFrame(), path)


# ----------------------------------------------------------------------------------------------------- what cameras add


def best_blind(networks: Mapping[str, TrainedNetwork], checks: pd.DataFrame) -> str:
    """The system without cameras with the highest IoU on validation, of those that learned if any did.

    Args:
        checks: `experiments.check_networks` of ``networks``, among others.
    """
    blind = [name for name, network in networks.items() if not network.model.needs_cameras]
    rows = checks[checks.network.isin(blind)]
    learned = rows[rows.verdict != learning.DID_NOT_LEARN]
    rows = rows if learned.empty else learned
    return str(rows.set_index("network").iou.idxmax())


def camera_gains(metrics: pd.DataFrame, blind: str, views: Sequence[int]) -> pd.DataFrame:
    """What cameras add on feet of the phone domain: unprojection minus the system ``blind``, paired by foot.

    Columns: blind, crop, views, unprojection, without cameras, difference, low, high (95 % interval over people). The
    crop of ``blind`` is the true ``cube``, as of unprojection, or the ``whole photo`` (variant ``uncropped``).
    """
    feet = metrics[(metrics.dataset == "feet") & (metrics.look == "phone") & (metrics.order == "clockwise")]
    feet = feet[feet.selected & (feet.training == "feet-phone")]
    main = feet[(feet.model == "unprojection") & (feet.variant == "main")]
    rows = []
    for number in views:
        ours = main[main.views == number]
        for crop, variant in {"cube": "main", "whole photo": "uncropped"}.items():
            theirs = feet[(feet.model == blind) & (feet.variant == variant) & (feet.views == number)]
            difference = intervals.paired_difference(ours, theirs)
            rows.append((blind, crop, number, float(ours.iou.mean()), float(theirs.iou.mean()), *difference))
    names = ["blind", "crop", "views", "unprojection", "without cameras", "difference", "low", "high"]
    return pd.DataFrame(rows, columns=names)


def describe_gains(gains: pd.DataFrame, views: Sequence[int]) -> str:
    """The differences in a table of `camera_gains` as text, for some numbers of photos."""
    rows = gains.set_index(["crop", "views"])
    parts = [
        f"with {title}, {number} photo{'s' * (number > 1)} {row.difference:+.3f} [{row.low:+.3f}, {row.high:+.3f}]"
        for crop, title in {"cube": "the same crop", "whole photo": "whole photos"}.items()
        for number in views
        for row in [rows.loc[crop, number]]
    ]
    return "; ".join(parts)
