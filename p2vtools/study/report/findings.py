"""The main results of a run, each with its interval and the numbers to compare it with."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import pandas as pd
from markupsafe import Markup

from p2vtools.study.intervals import format_interval, paired_difference, split_seeds, summarise
from p2vtools.study.report.html import interval_svg
from p2vtools.study.report.numbers import published_results

NOTE = (
    "Means with 95 % intervals over people, of an LSTM's gain over people and seeds (bands). Solid line: a baseline "
    "without photos; dashed line: the slides."
)


@dataclass(frozen=True)
class Reference:
    """A number to compare a finding with.

    ``mark`` is how the drawing shows it: ``guess`` (a baseline without photos), ``slides``, or not at all.
    """

    name: str
    value: float
    text: str
    """The number with its interval, where it has one."""
    mark: str = ""


@dataclass(frozen=True)
class Finding:
    """One number with its 95 % interval, how it was measured, and the numbers to compare it with."""

    title: str
    value: float
    low: float
    high: float
    references: tuple[Reference, ...]
    note: str
    form: str = ".3f"
    unit: str = ""

    def format(self, value: float) -> str:
        return f"{value:{self.form}}".replace("-", "−")

    @property
    def ends(self) -> tuple[float, float]:
        """The ends of the drawn scale: 0 to 1 for a share, symmetric for a difference."""
        signed = self.form.startswith("+")
        values = [self.low, self.high, *(one.value for one in self.references if one.mark)]
        reach = max(map(abs, values))
        most = 1.0 if not signed and reach <= 1 else 1.15 * reach
        return (-most if signed else 0.0), most

    def drawing(self) -> Markup:
        """The number and its interval between the ends of its scale, with the marked references."""
        low, high = self.ends
        marks = {"rail": 0.0} if low < 0 else {}
        marks |= {one.mark: one.value for one in self.references if one.mark}
        labels = [low, 0.0, high] if low < 0 else [low, high]
        texts = [f"{end:.0f}" if end in (0, 1) else self.format(end) + self.unit for end in labels]
        axis = "".join(f"<span>{text}</span>" for text in texts)
        drawing = interval_svg(self.value, self.low, self.high, (low, high), marks)
        return drawing + Markup(f'<div class="axis" aria-hidden="true">{axis}</div>')


def findings(metrics: pd.DataFrame, config: dict[str, Any]) -> list[Finding]:
    """At most three: the best system on feet, the gain from the LSTM, and the pretrained weights, otherwise objects.

    Args:
        metrics: of one run, as `p2vtools.study.metrics_csv.read_metrics` returns them.
        config: the run's; its ``order_free`` and ``recurrent`` networks are compared.
    """
    rows = metrics[metrics.selected & (metrics.placement == "true") & (metrics.order == "clockwise")]
    feet = rows[(rows.dataset == "feet") & (rows.look == "phone") & rows.training.str.startswith("feet")]
    found = [*_best_system(feet), *_lstm_gain(rows, feet, config), *_pretrained(feet), *_objects(rows, config)]
    return found[:3]


def _best_system(feet: pd.DataFrame) -> Iterator[Finding]:
    """The best system that this run trained on feet, and the mean foot of the same test."""
    own = feet[(feet.variant == "main") & feet.cameras.isin(["none", "true"])]
    systems = own[own.model != "mean-shape"]
    cells = summarise(systems, ["notebook", "model", "training", "views"])
    if cells.empty:
        return
    best = cells.loc[cells.iou.idxmax()]
    same = own[(own.notebook == best.notebook) & (own.views == best.views)]
    network = same[(same.model == best.model) & (same.training == best.training)]
    mean = same[(same.model == "mean-shape") & (same.training == "feet-phone")]
    references = _mean_shape("mean foot", mean)
    if references:
        gain = paired_difference(network, mean)
        references.append(Reference("gain over it, paired", gain[0], _with_interval(*gain, "+.3f")))
    note = f"{best.model}, {_photos(best)}, the best of {systems.model.nunique()} systems trained on feet here; "
    note += (
        f"{_sample(network)} in phone photos. The slides' feet are different ones; no system here was trained on them."
    )
    yield Finding("IoU on unseen feet", best.iou, best.low, best.high, (*references, _slides("foot")), note)


def _lstm_gain(rows: pd.DataFrame, feet: pd.DataFrame, config: dict[str, Any]) -> Iterator[Finding]:
    """The gain from the LSTM on feet over all seeds: fine-tuned, if this run did so, and trained on objects alone."""

    def networks(rows: pd.DataFrame) -> list[pd.DataFrame]:
        rows = split_seeds(rows[rows.notebook.str.startswith("05") & (rows.views == 4)])
        rows = rows[rows.variant == "main"]
        pair = [rows[rows.model == config[part]] for part in ("recurrent", "order_free")]
        return [part[part.seed.isin({*pair[0].seed} & {*pair[1].seed})] for part in pair]  # not if one did not learn

    on_objects = networks(rows[(rows.dataset == "feet") & (rows.training == "objects")])
    trainings = {"fine-tuned on feet": networks(feet), "trained on objects alone": on_objects}
    pairs = {name: pair for name, pair in trainings.items() if not any(part.empty for part in pair)}
    if not pairs:
        return
    (training, (lstm, plain)), *others = pairs.items()
    gains = {name: paired_difference(*pair) for name, pair in others}
    references = [Reference(name, gain[0], _with_interval(*gain, "+.3f")) for name, gain in gains.items()]
    slides = [_slides("foot", model).value for model in ("Pix2Vox-A", "Pix2Vox-LSTM")]
    gain = slides[1] - slides[0]
    references.append(Reference("slides, trained on objects alone", gain, f"{gain:+.3f}", mark="slides"))
    note = f"Pix2Vox {plain.iou.mean():.3f}, with the LSTM {lstm.iou.mean():.3f}, {training}; four photos clockwise, "
    note += f"{_sample(lstm)}, paired. Slides: {slides[0]:.3f} and {slides[1]:.3f}."
    title = "Gain from the LSTM over Pix2Vox on feet"
    yield Finding(title, *paired_difference(lstm, plain), tuple(references), note, "+.3f")


def _pretrained(feet: pd.DataFrame) -> Iterator[Finding]:
    """The weights that come with the project, on the same feet."""
    rows = feet[feet.variant == "shipped"]
    cells = summarise(rows, ["notebook", "views"])
    if cells.empty:
        return
    best = cells.loc[cells.views.idxmax()]
    mean = feet[(feet.model == "mean-shape") & (feet.notebook == best.notebook) & (feet.views == best.views)]
    references = (*_mean_shape("mean foot", mean), _slides("foot"))
    note = f"{_photos(best)} with their cameras, {_sample(rows)} in phone photos; trained for longer, on more people."
    yield Finding("IoU of the pretrained weights", best.iou, best.low, best.high, references, note)


def _objects(rows: pd.DataFrame, config: dict[str, Any]) -> Iterator[Finding]:
    """Objects from one photo, the other half of the slides."""
    objects = rows[(rows.dataset != "feet") & (rows.views == 1) & rows.notebook.str.startswith("03")]
    own, mean = (objects[objects.model == name] for name in (config["order_free"], "mean-shape"))
    if own.empty:
        return
    cell = summarise(own, ["model"]).iloc[0]
    references = (*_mean_shape("mean object of the category", mean), _slides("overall", "Pix2Vox-A"))
    note = f"{cell.model}, one photo, {cell.samples} objects. The slides' objects are ShapeNet's."
    yield Finding("IoU on unseen objects", cell.iou, cell.low, cell.high, references, note)


def _mean_shape(name: str, rows: pd.DataFrame) -> list[Reference]:
    """The mean-shape baseline, which uses no photo, if the same test has it."""
    cells = summarise(rows, ["model"])[["iou", "low", "high"]].to_numpy()
    return [Reference(name, cell[0], _with_interval(*cell), "guess") for cell in cells]


def _slides(taxonomy: str, model: str | None = None) -> Reference:
    """The slides' best IoU of a category (``foot``, ``overall``) over thresholds, of one model or of all."""
    rows = published_results(source="slides 2021", taxonomy=taxonomy).dropna(subset="threshold")
    best = rows[rows.model == (model or rows.model)].sort_values("value").iloc[-1]
    return Reference(f"slides, {best.model}", float(best.value), f"{best.value:.3f}", mark="slides")


def _with_interval(value: float, low: float, high: float, form: str = ".3f") -> str:
    return format_interval(value, low, high, form).replace("-", "−")


def _photos(cell: pd.Series) -> str:
    return f"{cell.views} photos" if cell.views > 1 else "one photo"


def _sample(rows: pd.DataFrame) -> str:
    return f"{rows['sample'].nunique()} feet of {rows.subject.nunique()} unseen people"
