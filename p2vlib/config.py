"""Everything that a run depends on, in frozen dataclasses, and the three scales smoke, quick and full.

A notebook's parameters become one `Config` through `from_params`, which rejects what it does not know; the run folder
keeps it as `config.json`.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field, replace
from typing import Any, get_type_hints

DATA_RECIPE = 1
"""Grows when the same config would give other photos or shapes than before; older captures are then made anew."""


@dataclass(frozen=True)
class FeetData:
    """The embedded population of feet and its photographs."""

    train: int = 2
    """People to learn from; both feet of each."""
    validation: int = 2
    """People on whom thresholds and designs are chosen."""
    test: int = 2
    """People who are looked at once, at the end."""
    train_seed: int = 11
    validation_seed: int = 12
    test_seed: int = 0x1E68E4E
    """Three seeds, three populations: nobody crosses a split. The last is the name of the commit that the design was
    frozen in, so nobody could have looked at these people before."""
    views: int = 4
    """Photos of a foot and look."""
    studio_samples: int = 6
    """Light paths a pixel of a studio photo."""
    phone_samples: int = 6
    """Light paths a pixel of a phone photo."""
    mats: bool = False
    """Whether everybody is also photographed standing on a printed mat (look ``mat``)."""


@dataclass(frozen=True)
class ObjectData:
    """The embedded CAD objects: numbers are for each of the thirteen categories."""

    train: int = 2
    validation: int = 1
    test: int = 1
    train_seed: int = 21
    validation_seed: int = 22
    test_seed: int = 0x1E68E4E
    """As with the feet, the last is the name of the commit that the design was frozen in."""
    views: int = 4
    samples: int = 6
    """Light paths a pixel."""


@dataclass(frozen=True)
class Training:
    """One optimisation: a single-view stage, then a stage with 1..`views` photos, as Pix2Vox was trained."""

    steps: int = 2
    """Optimiser steps, both stages together."""
    epochs: int = 0
    """Passes over all captures, instead of `steps`: a pass shows each capture once, `batch` counts captures whatever
    the number of views, and `steps_per_epoch` is one pass."""
    single_view_share: float = 0.1
    """The share of the steps that sees one photo, first, as in the paper's own schedule. It is short here, since the
    later steps, too, ask every view for itself (`losses.training_loss`)."""
    batch: int = 4
    """Photos a step: ``batch // views`` captures, at least two, so that a step costs the same at any view count."""
    views: int = 4
    """Most photos of a capture in the second stage; the number is drawn for each step, or for each pass if `epochs` are
    given."""
    view_sampling: str = "even"
    """Which photos of a capture: `even` around it from any start, or `any`, as published."""
    learning_rate: float = 3e-3
    schedule: str = "cosine"
    """`cosine` with a short warm-up, or `step` (halved once, at 60 % of the first stage, as published)."""
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    """Largest gradient norm; 0: any."""
    camera_noise: tuple[float, float] = (0.6, 0.006)
    """Largest error of the cameras that a network is told: degrees about each axis, and place in edges of the cube (of
    a foot's 0.32 m: 2 mm), as standard deviations; a sample has a random share of it (`augmentation.jittered`)."""
    placement_noise: tuple[float, float] = (0.0, 0.0)
    """Error of the cube's place about a foot: degrees, and edges of the cube along x and z, as standard deviations;
    where the captures hold a finer truth (`datasets.load_feet`)."""
    lift_noise: float = 0.0
    """Likewise of its height, in edges: with it the floor of the cube is not the one that the foot stands on."""
    mirror: bool = True
    """Mirror picture and volume together, so that a left foot teaches right ones: chirality stays true."""
    loss: str = "default"
    """What is minimised: `default` or `published` (see `losses.training_loss`)."""
    fusion_rate: float = 1.0
    """The learning rate of the fusion as a share of the others'."""
    freeze_after_first_stage: bool = False
    """The two stages of Pix2Vox and AttSets: after the single-view stage the network's `frozen_parts` do not train, and
    the schedule starts again."""
    augmentation: str = "default"
    """What the photos go through: `default` or `published` (see `augmentation`)."""
    steps_per_epoch: int = 50
    """Steps between two lines of history, validations and checkpoints."""
    point_samples: int = 0
    """Places near the surface at which a finer head is asked; it alone then learns, and the rest stays as it is."""
    view_order: str = "clockwise"
    """`clockwise` or `shuffled`: the order in which a recurrent network meets the photos."""
    seed: int = 0


RECIPES = {
    "default": Training(),
    "published": Training(
        epochs=350,
        single_view_share=250 / 350,
        batch=64,
        views=24,
        view_sampling="any",
        learning_rate=1e-3,
        schedule="step",
        weight_decay=0.0,
        gradient_clip=0.0,
        mirror=False,
        loss="published",
        fusion_rate=0.1,
        freeze_after_first_stage=True,
        augmentation="published",
    ),
}
"""How to train, by name; `default` is filled in by each scale.

`published` is Pix2Vox's: Adam, 64 samples a step, 250 passes with one view, the rate halved after 150; then, as the
authors say of the paper, 100 passes with any number of views for fusion and refiner alone. The rate of the second stage
is not published: here it is the first one throughout.
"""


def training_recipe(name: str) -> Training:
    """One of `RECIPES`.

    Raises:
        ValueError: there is none of that name.
    """
    if name not in RECIPES:
        raise ValueError(f"no recipe is called {name!r}; there are {', '.join(RECIPES)}")
    return RECIPES[name]


@dataclass(frozen=True)
class Config:
    """One run of the study."""

    scale: str = "smoke"
    seed: int = 0
    """Added to the seed of every network and of every batch; the data keep theirs."""
    image_size: int = 96
    """Edge of the photos as the narrow networks see them, pixels."""
    networks: tuple[str, ...] = ("pix2vox-f-narrow", "pix2vox-a-narrow", "pix2vox-lstm-narrow")
    """The networks of notebook 03, names of `p2vlib.models.build`."""
    order_free: str = "pix2vox-a-narrow"
    """The order-free network that notebooks 04 and 05 fine-tune on feet."""
    recurrent: str = "pix2vox-lstm-narrow"
    """Its recurrent twin in notebook 05: the same network with the LSTM between encoder and decoder."""
    repeats: int = 1
    """How often notebook 05 trains each of its networks, with other seeds; more than once also the identity's."""
    views: tuple[int, ...] = (1, 2, 4)
    """View counts at which objects are tested."""
    feet_views: tuple[int, ...] = (1, 2, 4)
    """View counts at which feet are tested; their headline is at four, as on the slides."""
    feet: FeetData = field(default_factory=FeetData)
    objects: ObjectData = field(default_factory=ObjectData)
    pretraining: Training = field(default_factory=Training)
    """On the thirteen categories (notebook 03)."""
    finetuning: Training = field(default_factory=lambda: Training(mirror=False))
    """On feet (notebooks 04 and 05), from the pretrained weights."""
    systems: tuple[str, ...] = ("3d-r2n2-narrow", "attsets-narrow", "psgn-narrow", "pix2vox-a-narrow", "unprojection")
    """The networks of notebook 06, each trained from nothing on objects and on feet."""
    comparison: Training = field(default_factory=lambda: Training(mirror=False))
    """How notebook 06 trains every one of them: the same steps on the same data."""

    def to_json(self) -> str:
        """The configuration as indented JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2)


PRESETS = {
    "smoke": Config(),
    "quick": Config(
        scale="quick",
        views=(1, 2, 3, 4, 5, 6, 7, 8),
        feet_views=(1, 2, 4, 8),
        feet=FeetData(train=100, validation=15, test=40, views=8),
        objects=ObjectData(train=96, validation=6, test=16, views=8),
        pretraining=Training(steps=2400, batch=12, learning_rate=2e-3, steps_per_epoch=240),
        finetuning=Training(steps=320, batch=24, steps_per_epoch=80, mirror=False),
        systems=(
            *("3d-r2n2-narrow", "attsets-narrow", "psgn-narrow", "pix2vox-f-narrow", "pix2vox-a-narrow"),
            *("pix2vox++-f-narrow", "pix2vox++-a-narrow", "pix2vox-lstm-narrow", "unprojection"),
        ),
        comparison=Training(steps=450, batch=24, views=8, steps_per_epoch=150, mirror=False),
    ),
    "full": Config(
        scale="full",
        image_size=224,
        networks=("pix2vox-f", "pix2vox-a", "pix2vox-lstm"),
        order_free="pix2vox-a",
        recurrent="pix2vox-lstm",
        repeats=3,
        views=(1, 2, 3, 4, 5, 8, 12),
        feet_views=(1, 2, 4, 8, 12),
        feet=FeetData(train=1000, validation=50, test=100, views=12, studio_samples=32, phone_samples=64),
        objects=ObjectData(train=200, validation=20, test=40, views=12, samples=32),
        pretraining=Training(steps=40_000, batch=256, views=8, learning_rate=1e-3, steps_per_epoch=500),
        finetuning=Training(steps=20_000, batch=256, views=8, learning_rate=1e-3, steps_per_epoch=500, mirror=False),
        systems=(
            *("3d-r2n2", "attsets", "psgn", "pix2vox-f", "pix2vox-a"),
            *("pix2vox++-f", "pix2vox++-a", "pix2vox-lstm", "unprojection"),
        ),
        comparison=Training(steps=20_000, batch=256, views=8, learning_rate=1e-3, steps_per_epoch=500, mirror=False),
    ),
}


RENAMED_FIELDS = {
    "adapted": "order_free",
    "single_view": "single_view_share",
    "choice": "view_sampling",
    "hold": "freeze_after_first_stage",
    "epoch": "steps_per_epoch",
    "points": "point_samples",
    "order": "view_order",
    "clip": "gradient_clip",
}
"""Earlier name of a field -> its name now."""


def read_settings(text: str) -> dict[str, Any]:
    """The content of a ``config.json``, also one that an earlier version wrote, under the present names of the fields.

    >>> read_settings('{"adapted": "pix2vox-a", "finetuning": {"clip": 1.0, "loss": "own"}}')
    {'order_free': 'pix2vox-a', 'finetuning': {'gradient_clip': 1.0, 'loss': 'default'}}
    """

    def rename(part: dict[str, Any]) -> dict[str, Any]:
        return {RENAMED_FIELDS.get(name, name): "default" if value == "own" else value for name, value in part.items()}

    return json.loads(text, object_hook=rename)


def from_params(scale: str, **changes: Any) -> Config:
    """The preset of ``scale`` with ``changes``; a nested field is named with a dot or a double underscore.

    Raises:
        ValueError: an unknown scale or field, or a value of another type than the preset's.
    """
    if scale not in PRESETS:
        raise ValueError(f"unknown scale {scale!r}; expected one of {', '.join(PRESETS)}")
    config = PRESETS[scale]
    for name, value in changes.items():
        config = _changed(config, name.replace("__", ".").split("."), value, name)
    return config


def _changed(part: Any, path: list[str], value: Any, name: str) -> Any:
    hints = get_type_hints(type(part)) if dataclasses.is_dataclass(part) else {}
    if path[0] not in hints:
        raise ValueError(f"unknown parameter {name!r}; {type(part).__name__} has {', '.join(hints) or 'no fields'}")
    current = getattr(part, path[0])
    if len(path) > 1:
        return replace(part, **{path[0]: _changed(current, path[1:], value, name)})
    if isinstance(current, tuple) and isinstance(value, list):
        value = tuple(value)
    if isinstance(current, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(current):
        raise ValueError(f"parameter {name!r} is {value!r}; expected {type(current).__name__}, as {current!r}")
    return replace(part, **{path[0]: value})
