"""Configuration of a run: frozen dataclasses, presets for the scales, strict overrides.

`from_params` turns the parameters of a notebook into a `Config` and rejects unknown ones; the configuration is saved
with the run as ``config.json``.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field, replace
from typing import Any, Literal, get_args, get_origin, get_type_hints

DATA_RECIPE = 2
"""Increase when the same configuration gives other photos or shapes; older captures are then generated again."""


def check_choices(kind: type, values: dict[str, Any]) -> None:
    """Raises ValueError where one of ``values``, for fields of the dataclass ``kind``, is not in its `Literal`."""
    hints = get_type_hints(kind)
    for name, value in values.items():
        if get_origin(hints[name]) is Literal and value not in (choices := get_args(hints[name])):
            raise ValueError(f"{kind.__name__}.{name} is {value!r}; expected one of {', '.join(choices)}")


@dataclass(frozen=True)
class FeetData:
    """The synthetic feet and their photos."""

    train: int = 2
    """People in the training set, with both feet."""
    validation: int = 2
    """People in the validation set, for thresholds and design decisions."""
    test: int = 2
    """People in the test set, evaluated once at the end."""
    train_seed: int = 11
    validation_seed: int = 12
    test_seed: int = 0x9357157
    """Three seeds for three populations, so that no person is in two splits. The test seed is a part of the hash of
    the commit that froze the design, so nobody could have seen these people before."""
    views: int = 4
    """Photos of a foot per domain (studio, phone, mat, wild)."""
    studio_samples: int = 6
    """Samples per pixel of a studio photo."""
    phone_samples: int = 6
    """Samples per pixel of a phone photo."""
    mats: bool = False
    """Whether everybody is also photographed standing on a printed mat (domain ``mat``)."""
    wild: bool = False
    """Whether as many further people, of wider variety, are photographed in everyday scenes (domain ``wild``)."""
    wild_train: int = 0
    """People of the domain ``wild`` in the training set, if not as many as of the others."""


@dataclass(frozen=True)
class ObjectData:
    """The synthetic CAD objects; numbers are per category, of which there are thirteen."""

    train: int = 2
    validation: int = 1
    test: int = 1
    train_seed: int = 21
    validation_seed: int = 22
    test_seed: int = 0xA83F180
    """Another part of that hash."""
    views: int = 4
    samples: int = 6
    """Samples per pixel."""


@dataclass(frozen=True)
class Training:
    """A training recipe: a single-view stage, then a stage with 1 to `views` photos, as Pix2Vox was trained."""

    steps: int = 2
    """Optimiser steps of both stages together."""
    epochs: int = 0
    """If not 0, passes over all captures, instead of `steps`: each capture occurs once per pass, `batch` counts
    captures whatever the number of views, and `steps_per_epoch` is the length of a pass."""
    single_view_share: float = 0.1
    """Fraction of the steps, at the beginning, that use one photo, as in the published schedule. It is short here since
    later steps, too, have a loss term for each view (`losses.training_loss`)."""
    batch: int = 4
    """Photos per step: ``batch // views`` captures, at least two, so that all steps cost about the same."""
    views: int = 4
    """Maximum number of photos in the second stage; drawn for each step, or for each pass if `epochs` is given."""
    view_sampling: Literal["even", "any"] = "even"
    """Choice of the photos of a capture: `even` (evenly spaced from a random start) or `any` (random, as published)."""
    view_order: Literal["clockwise", "shuffled"] = "clockwise"
    """Order of the photos, for recurrent networks: `clockwise` or `shuffled`."""
    learning_rate: float = 3e-3
    schedule: Literal["cosine", "step"] = "cosine"
    """`cosine` with a short warm-up, or `step` (halved once, at 60 % of the first stage, as published)."""
    weight_decay: float = 1e-4
    gradient_clip: float = 1.0
    """Maximum gradient norm; 0: no clipping."""
    fusion_rate: float = 1.0
    """Learning rate of the fusion as a fraction of that of the other parts."""
    freeze_after_first_stage: bool = False
    """The two stages of Pix2Vox and AttSets: after the single-view stage the network's `frozen_parts` do not train, and
    the schedule starts again."""
    loss: Literal["default", "published"] = "default"
    """`default` or `published` (`losses.training_loss`)."""
    augmentation: Literal["default", "published"] = "default"
    """`default` or `published` (`augmentation.RECIPES`)."""
    mirror: bool = True
    """Mirror photos and volume of half of the captures, so that left feet also train right ones."""
    camera_noise: tuple[float, float] = (0.6, 0.006)
    """Maximum standard deviations of the camera error: degrees about each axis, and translation in edges of the cube
    (0.006 of 0.32 m is 2 mm); see `augmentation.perturb_cameras`."""
    placement_noise: tuple[float, float] = (0.0, 0.0)
    """Standard deviations of the error of the cube's placement: degrees, and edges of the cube along x and z; for
    captures with fine ground truth (`dataset.load_feet`)."""
    lift_noise: float = 0.0
    """Standard deviation of the height of the cube above the floor on which the foot stands, in edges."""
    close_crops: float = 0.0
    """Share of the samples whose photos are cropped to the foot itself instead of its cube. Only for captures with crop
    boxes (`dataset.load_feet`)."""
    point_samples: int = 0
    """If not 0, query points near the surface per capture for the point head, which is then the only part trained."""
    accumulation: int = 1
    """Parts in which a GPU or processor computes the gradients of a batch, one after the other, to save memory."""
    average_decay: float = 0.0
    """If not 0, the result is the exponential moving average of the weights over the steps, with this decay."""
    steps_per_epoch: int = 50
    """Steps between two rows of the history, validations and checkpoints."""
    seed: int = 0

    def __post_init__(self) -> None:
        check_choices(type(self), vars(self))
        sizes = self.steps, self.batch, self.views, self.accumulation, self.steps_per_epoch
        if min(sizes) < 1 or not all(0 <= share <= 1 for share in (self.single_view_share, self.close_crops)):
            raise ValueError(f"a training needs sizes of at least 1 and shares from 0 to 1; found {self}")


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
"""Training recipes by name. The scales replace parts of `default`.

`published` is that of Pix2Vox: Adam, 64 samples per step, 250 epochs with one view, the rate halved after 150; then,
according to the authors, 100 epochs with any number of views for fusion and refiner alone. The rate of the second stage
is not published: here it is the initial one throughout.
"""


def training_recipe(name: str) -> Training:
    """The recipe called ``name`` in `RECIPES`.

    Raises:
        ValueError: an unknown name.
    """
    if name not in RECIPES:
        raise ValueError(f"unknown recipe {name!r}; expected one of {', '.join(RECIPES)}")
    return RECIPES[name]


@dataclass(frozen=True)
class Config:
    """Configuration of a run of the study."""

    scale: str = "smoke"
    seed: int = 0
    """Added to the seeds of networks and batches; the data have seeds of their own."""
    image_size: int = 96
    """Edge of the cropped photos, pixels."""
    networks: tuple[str, ...] = ("pix2vox-f-narrow", "pix2vox-a-narrow", "pix2vox-lstm-narrow")
    """Networks of notebook 03: names for `p2vlib.models.build`."""
    order_free: str = "pix2vox-a-narrow"
    """The network without recurrence that notebooks 04 and 05 fine-tune on feet."""
    recurrent: str = "pix2vox-lstm-narrow"
    """Its counterpart in notebook 05: the same network with an LSTM between encoder and decoder."""
    repeats: int = 1
    """Fine-tunings of each network in notebook 05, with different seeds."""
    views: tuple[int, ...] = (1, 2, 4)
    """Numbers of photos in the tests on objects."""
    feet_views: tuple[int, ...] = (1, 2, 4)
    """Numbers of photos in the tests on feet; the main result is at four, as on the slides."""
    feet: FeetData = field(default_factory=FeetData)
    objects: ObjectData = field(default_factory=ObjectData)
    pretraining: Training = field(default_factory=Training)
    """Training on the thirteen categories (notebook 03)."""
    finetuning: Training = field(default_factory=lambda: Training(mirror=False))
    """Training on feet (notebooks 04 and 05), from the weights of the pretraining."""
    systems: tuple[str, ...] = ("3d-r2n2-narrow", "attsets-narrow", "psgn-narrow", "pix2vox-a-narrow", "unprojection")
    """Networks of notebook 06, each trained on objects and then on feet, with recipes based on the two above."""

    def to_json(self) -> str:
        """The configuration as JSON."""
        return json.dumps(dataclasses.asdict(self), indent=2)


PRESETS = {
    "smoke": Config(feet=FeetData(wild=True)),
    "quick": Config(
        scale="quick",
        views=(1, 2, 3, 4, 5, 6, 7, 8),
        feet_views=(1, 2, 4, 8),
        repeats=3,
        feet=FeetData(train=100, validation=15, test=40, views=8, wild=True),
        objects=ObjectData(train=96, validation=6, test=16, views=8),
        pretraining=Training(steps=1600, batch=12, learning_rate=2e-3, steps_per_epoch=160),
        finetuning=Training(steps=320, batch=24, steps_per_epoch=80, mirror=False),
        systems=(
            *("3d-r2n2-narrow", "attsets-narrow", "psgn-narrow", "pix2vox-f-narrow", "pix2vox-a-narrow"),
            *("pix2vox++-f-narrow", "pix2vox++-a-narrow", "pix2vox-lstm-narrow", "unprojection"),
        ),
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
"""Former names of fields -> present names."""


def read_settings(text: str) -> dict[str, Any]:
    """The content of a ``config.json``; former names of fields and values are replaced by the present ones.

    >>> read_settings('{"adapted": "pix2vox-a", "finetuning": {"clip": 1.0, "loss": "own"}}')
    {'order_free': 'pix2vox-a', 'finetuning': {'gradient_clip': 1.0, 'loss': 'default'}}
    """

    def rename(part: dict[str, Any]) -> dict[str, Any]:
        return {RENAMED_FIELDS.get(name, name): "default" if value == "own" else value for name, value in part.items()}

    return json.loads(text, object_hook=rename)


def from_params(scale: str, **changes: Any) -> Config:
    """The preset of ``scale`` with ``changes``.

    Nested fields are named with a dot or a double underscore: ``finetuning.steps``, ``finetuning__steps``.

    >>> from_params("smoke", finetuning__steps=7).finetuning.steps
    7

    Raises:
        ValueError: an unknown scale or field, or a value of another type than in the preset, or not one of a few.
    """
    if scale not in PRESETS:
        raise ValueError(f"unknown scale {scale!r}; expected one of {', '.join(PRESETS)}")
    config = PRESETS[scale]
    for name, value in changes.items():
        config = _replace_nested(config, name.replace("__", ".").split("."), value, name)
    return config


def _replace_nested(part: Any, path: list[str], value: Any, name: str) -> Any:
    hints = get_type_hints(type(part)) if dataclasses.is_dataclass(part) else {}
    if path[0] not in hints:
        raise ValueError(f"unknown parameter {name!r}; {type(part).__name__} has {', '.join(hints) or 'no fields'}")
    current = getattr(part, path[0])
    if len(path) > 1:
        return replace(part, **{path[0]: _replace_nested(current, path[1:], value, name)})
    if isinstance(current, tuple) and isinstance(value, list):
        value = tuple(value)
    if isinstance(current, float) and type(value) is int:
        value = float(value)
    if type(value) is not type(current):
        raise ValueError(f"parameter {name!r} is {value!r}; expected {type(current).__name__}, as {current!r}")
    check_choices(type(part), {path[0]: value})
    return replace(part, **{path[0]: value})
