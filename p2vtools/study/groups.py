"""The pretrained weights in groups of their test feet: floors, lights, skins, cameras, lengths, adults and children."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from p2vlib import progress
from p2vlib.config import Config
from p2vlib.data import dataset
from p2vlib.evaluation import iou_at, predict
from p2vlib.geometry.frames import SIDES
from p2vtools.archives.camera_files import read_metadata
from p2vtools.archives.capture_folder import read_subject
from p2vtools.fit.pretrained import PretrainedModel
from p2vtools.study.intervals import bootstrap_interval, format_interval
from p2vtools.synthesis.feet.population import sample_population
from p2vtools.synthesis.feet.wide_population import ANSUR
from p2vtools.synthesis.photos.trajectories import HIGHEST, LOWEST, sample_phone_trajectory

GROUPS = "groups"
"""Name of the rows beside the weights (`model_card.save_rows`)."""

EXPLANATION = (
    "Means with 95 % intervals over people; the IoU with true placement, the length with the cameras of a mat and the "
    "placement found. All floors, lights, skins, cameras and lengths of the domains phone and wild occur in the "
    "training; no network was trained without them, so these groups show where the weights are weaker, not how they "
    "generalise. Only the photos of the domain studio, all from 25 to 30 degrees of elevation and without a floor, are "
    "of a kind that the weights have never seen."
)
"""What `group_table` is and is not."""

NEVER_SEEN = "studio"
"""The domain without which the weights were trained."""

DARKEST = 0.2
"""Share of the feet of a domain that count as the darkest skins."""

MIN_PEOPLE = 4
"""Kinds of floors and lights of fewer people have no row."""


def capture_properties(folder: Path) -> dict[str, object]:
    """What is not in a rendered capture folder: sampled again from its seed, without rendering.

    Returns:
        sex; child; skin (mean linear reflectance); floor and light (kinds, empty in the studio; ``photographed`` for an
        environment map); outside (share of the photos from below 30 or above 65 degrees).

    Raises:
        ValueError: the cameras in the folder are not those that its seed gives.
    """
    subject = read_subject(folder)
    recipe, side, look = subject["recipe"], subject["side"], subject["look"]
    views = recipe["views"]
    stored = np.array(read_metadata(folder / "rendering" / "rendering_metadata.txt", views))
    is_wild = look == "wild"
    variety = "wide" if is_wild else "usual"
    (person,) = sample_population(recipe["seed"], 1, first=recipe["index"], variety=variety)
    rng = np.random.default_rng([recipe["seed"], recipe["index"], SIDES.index(side), 3 if is_wild else 0])
    floor, light, skin, rows = "", "", person.skin, stored
    if is_wild:
        from p2vtools.synthesis.feet.appearance import sample_appearance  # heavy, as the next ones
        from p2vtools.synthesis.feet.foot import make_feet
        from p2vtools.synthesis.photos import wild_light
        from p2vtools.synthesis.photos.wild_scenes import sample_wild_scene

        skin = sample_appearance(rng, person).tone
        scene = sample_wild_scene(rng, views, make_feet(person)[side].leg_mesh, side)
        floor, light, rows = scene.floor, scene.light.name, scene.rows
        light = light if light in wild_light.KINDS_INDOORS else "photographed"
    elif look == "phone":
        cube = subject["cube"]
        target = np.add(cube["lower"], cube["edge"] / 2) * [1, 0, 1] + [0, 0.05, 0]
        trajectory = sample_phone_trajectory(rng, views, target)
        floor, light, rows = trajectory.floor.kind, trajectory.lighting.kind, trajectory.rows
    if not np.allclose(rows, stored, atol=1e-3):
        raise ValueError(
            f"{folder}: its cameras are not those of its seed; expected a capture rendered by this version"
        )
    outside = float(np.mean((stored[:, 1] < LOWEST) | (stored[:, 1] > HIGHEST)))
    who = {"sex": person.sex, "child": person.is_child, "skin": float(np.mean(skin))}
    return {**who, "floor": floor, "light": light, "outside": outside}


def group_rows(
    weights: PretrainedModel, config: Config, folders: Mapping[str, Sequence[Path]], lengths: pd.DataFrame
) -> pd.DataFrame:
    """One row per test foot and domain: look, sample, subject, iou, length, measured, and `capture_properties`.

    Args:
        folders: domain -> the captures of the test feet.
        lengths: rows of `model_card.measure_captures` with measure ``length``, with a column look.
    """
    from p2vtools.synthesis.collection import build_collection  # heavy

    build_collection(config)
    captures = dataset.load_feet(config, *folders).select(split="test")
    rows = []
    for look, paths in folders.items():
        feet = captures.select(look=look, light="steady" if look == NEVER_SEEN else "drift")
        volumes = predict(weights.model, feet, range(feet.photos.shape[1]))
        overlap = iou_at(volumes, feet.truth, (weights.card["threshold of the test IoU by photos"],))[:, 0]
        found = dict(zip(feet.table["sample"], overlap.tolist(), strict=True))
        for path in progress.bar(paths, f"groups, {look}", unit="foot"):
            rows.append({"look": look, "sample": path.name, "iou": found[path.name], **capture_properties(path)})
    known = lengths.rename(columns={"truth": "length", "value": "measured"})
    return pd.DataFrame(rows).merge(known[["look", "sample", "subject", "length", "measured"]], on=["look", "sample"])


def group_table(rows: pd.DataFrame) -> pd.DataFrame:
    """IoU and error of the length by domain and group, means with 95 % intervals over people, adults and children.

    One person has no interval and no row. A foot that could not be measured is in no error.
    """
    table = []
    for look, feet in rows.groupby("look", sort=False):
        for group, is_in in _groups(feet):
            cells = {"domain": look, "group": group}
            for who, part in {"adults": feet[is_in & ~feet.child], "children": feet[is_in & feet.child]}.items():
                if (people := part.subject.nunique()) > 1:
                    error = (part.measured - part.length).abs()
                    cells[f"{who}: people"] = str(people)
                    cells[f"{who}: IoU"] = _cell(part.iou, part.subject, 3)
                    cells[f"{who}: error of the length, mm"] = _cell(error, part.subject, 1)
            table += [cells] if len(cells) > 2 else []
    return pd.DataFrame(table).fillna("–")


def _groups(feet: pd.DataFrame) -> Iterator[tuple[str, pd.Series]]:
    """Title and members of each group of the feet of one domain."""
    yield "all", feet.iou.notna()
    for column in ("floor", "light"):
        people = feet.groupby(column).subject.nunique()
        for kind in people.index[people >= MIN_PEOPLE]:
            yield f"{column}: {kind}", feet[column] == kind
    yield "the darkest fifth of the skins", feet.skin <= feet.skin.quantile(DARKEST)
    if not (outside := feet.outside > 0.5).all():
        yield f"most photos from below {LOWEST:.0f} or above {HIGHEST:.0f} degrees", outside
    mean, deviation = (feet.sex.map({sex: values[place] for sex, values in ANSUR.items()}) for place in (0, 1))
    is_extreme = (feet.length - mean).abs() > 2 * deviation
    yield "length beyond two standard deviations of ANSUR II", is_extreme & ~feet.child


def _cell(values: pd.Series, subjects: pd.Series, digits: int) -> str:
    found = values.notna()
    if not found.any():
        return "–"
    interval = bootstrap_interval(values[found].to_numpy(), subjects[found].to_numpy())
    return format_interval(*interval, f".{digits}f")
