"""The numbers that matter most of a run, with their intervals, beside what they have to be held against."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from html import escape
from typing import Any

import pandas as pd

from p2vlib.evaluation import paired_difference, summarise
from p2vtools.study.report.numbers import published_results


@dataclass(frozen=True)
class Beside:
    """What a number is held against; ``told`` says it with its interval, where it has one.

    ``mark`` is how the drawing shows it: ``guess`` (looks at no photo), ``slides``, or not at all.
    """

    name: str
    value: float
    told: str
    mark: str = ""


@dataclass(frozen=True)
class Finding:
    """One number, its 95 % interval, what it was measured on, and what it has to be held against."""

    title: str
    value: float
    low: float
    high: float
    beside: tuple[Beside, ...]
    note: str
    form: str = ".3f"
    unit: str = ""


def findings(metrics: pd.DataFrame, config: dict[str, Any]) -> list[Finding]:
    """At most three: the best system on feet, what the LSTM adds, and the shipped weights, or else objects.

    Args:
        metrics: of one run, as `p2vlib.evaluation.metrics_csv.read` gives them.
        config: the run's, whose ``order_free`` and ``recurrent`` networks are compared.
    """
    chosen = metrics[metrics.selected & (metrics.placement == "true") & (metrics.order == "clockwise")]
    feet = chosen[(chosen.dataset == "feet") & (chosen.look == "phone") & chosen.training.str.startswith("feet")]
    found = [*_best(feet), *_recurrence(chosen, feet, config), *_shipped(feet), *_objects(chosen, config)]
    return found[:3]


def _best(feet: pd.DataFrame) -> Iterator[Finding]:
    """The best of all that this run trained on feet, and the mean foot that it has to beat."""
    own = feet[(feet.variant == "main") & feet.cameras.isin(["none", "true"])]
    systems = own[own.model != "mean-shape"]
    cells = summarise(systems, ["notebook", "model", "training", "views"])
    if cells.empty:
        return
    best = cells.loc[cells.iou.idxmax()]
    same = own[(own.notebook == best.notebook) & (own.views == best.views) & (own.training == best.training)]
    network, mean = same[same.model == best.model], same[same.model == "mean-shape"]
    beside = _guess("mean foot", mean)
    if beside:
        gain = paired_difference(network, mean)
        beside.append(Beside("the gain over it, paired", gain[0], _with_interval(*gain, "+.3f")))
    note = f"{best.model}, {_photos(best)}, the best of {systems.model.nunique()} systems trained on feet here; "
    note += f"{_who(network)} in phone looks. The slides' feet are others, and no foot was learnt from there."
    yield Finding("IoU on unseen feet", best.iou, best.low, best.high, (*beside, _slides("foot")), note)


def _recurrence(chosen: pd.DataFrame, feet: pd.DataFrame, config: dict[str, Any]) -> Iterator[Finding]:
    """What the LSTM adds on feet where nothing but objects was learnt from, as on the slides; and tuned on feet."""

    def with_and_without(rows: pd.DataFrame) -> list[pd.DataFrame]:
        rows = rows[rows.notebook.str.startswith("05") & (rows.variant == "main") & (rows.views == 4)]
        return [rows[rows.model == config[part]] for part in ("recurrent", "order_free")]

    lstm, plain = with_and_without(chosen[(chosen.dataset == "feet") & (chosen.training == "objects")])
    if lstm.empty or plain.empty:
        return
    difference, low, high = paired_difference(lstm, plain)
    slides = [_slides("foot", model).value for model in ("Pix2Vox-A", "Pix2Vox-LSTM")]
    beside = [Beside("slides", slides[1] - slides[0], f"{slides[1] - slides[0]:+.3f}", mark="slides")]
    lstm_tuned, plain_tuned = with_and_without(feet)
    if len(lstm_tuned) and len(plain_tuned):
        tuned = paired_difference(lstm_tuned, plain_tuned)
        beside.append(Beside("fine-tuned on feet", tuned[0], _with_interval(*tuned, "+.3f")))
    note = f"{plain.iou.mean():.3f} → {lstm.iou.mean():.3f} (slides: {slides[0]:.3f} → {slides[1]:.3f}); trained on "
    note += f"objects alone, four photos clockwise, {_who(lstm)}, paired."
    yield Finding("What the LSTM adds to Pix2Vox on feet", difference, low, high, tuple(beside), note, "+.3f")


def _shipped(feet: pd.DataFrame) -> Iterator[Finding]:
    """What the weights that come with the project reach on the same feet."""
    rows = feet[feet.variant == "shipped"]
    cells = summarise(rows, ["notebook", "views"])
    if cells.empty:
        return
    best = cells.loc[cells.views.idxmax()]
    mean = feet[(feet.model == "mean-shape") & (feet.notebook == best.notebook) & (feet.views == best.views)]
    beside = (*_guess("mean foot", mean), _slides("foot"))
    note = f"{_photos(best)} with their cameras, {_who(rows)} in phone looks; they learnt for longer, from more."
    yield Finding("IoU of the weights that come along", best.iou, best.low, best.high, beside, note)


def _objects(chosen: pd.DataFrame, config: dict[str, Any]) -> Iterator[Finding]:
    """The slides' other half: objects, from one photo."""
    objects = chosen[(chosen.dataset != "feet") & (chosen.views == 1) & chosen.notebook.str.startswith("03")]
    own, mean = (objects[objects.model == name] for name in (config["order_free"], "mean-shape"))
    if own.empty:
        return
    cell = summarise(own, ["model"]).iloc[0]
    beside = (*_guess("mean object of the category", mean), _slides("overall", "Pix2Vox-A"))
    note = f"{cell.model}, one photo, {cell.samples} objects. The slides' objects are ShapeNet's."
    yield Finding("IoU on unseen objects", cell.iou, cell.low, cell.high, beside, note)


def _guess(name: str, mean: pd.DataFrame) -> list[Beside]:
    """What the mean shape reaches without a photo, where the same test has it."""
    cells = summarise(mean, ["model"])[["iou", "low", "high"]].to_numpy()
    return [Beside(name, cell[0], _with_interval(*cell), "guess") for cell in cells]


def _slides(taxonomy: str, model: str | None = None) -> Beside:
    """The slides' best IoU of a category (``foot``, ``overall``) over thresholds, of one model or of all."""
    numbers = published_results()
    rows = numbers[(numbers.source == "slides 2021") & (numbers.taxonomy == taxonomy) & numbers.threshold.notna()]
    best = rows[rows.model == (model or rows.model)].sort_values("value").iloc[-1]
    return Beside(f"slides, {best.model}", float(best.value), f"{best.value:.3f}", mark="slides")


def _with_interval(value: float, low: float, high: float, form: str = ".3f") -> str:
    return f"{value:{form}} [{low:{form}}, {high:{form}}]".replace("-", "−")


def _photos(cell: pd.Series) -> str:
    return f"{cell.views} photos" if cell.views > 1 else "one photo"


def _who(rows: pd.DataFrame) -> str:
    return f"{rows['sample'].nunique()} feet of {rows.subject.nunique()} people never seen"


def shown(finding: Finding) -> str:
    """A finding as HTML: the number, a rail on which it stands with its interval, and what it is held against."""
    value = f"{finding.value:{finding.form}}".replace("-", "−")
    interval = f"[{finding.low:{finding.form}}, {finding.high:{finding.form}}]".replace("-", "−")
    beside = "".join(f"<dt>{escape(one.name)}</dt><dd>{escape(one.told)}</dd>" for one in finding.beside)
    return (
        f'<article class="finding"><h2>{escape(finding.title)}</h2>'
        f'<p class="value">{value}{escape(finding.unit)} <small>{interval}</small></p>'
        f"{_rail(finding)}<dl>{beside}</dl><p>{escape(finding.note)}</p></article>"
    )


def _rail(finding: Finding) -> str:
    """Where the number stands between two ends: its interval, beside what it is held against (the slides' dashed)."""
    signed = finding.form.startswith("+")
    others = [one for one in finding.beside if one.mark]
    reach = max(abs(value) for value in (finding.low, finding.high, *(one.value for one in others)))
    most = 1.0 if not signed and reach <= 1 else 1.15 * reach
    least = -most if signed else 0.0

    def at(value: float) -> str:
        return f"{3 + 94 * (value - least) / (most - least):.1f}%"

    def mark(kind: str, value: float) -> str:
        return f'<line class="{kind}" x1="{at(value)}" x2="{at(value)}" y1="5" y2="27"/>'

    def end(value: float, anchor: str) -> str:
        told = f"{value:.0f}" if value in (0.0, 1.0) else f"{value:{finding.form}}".replace("-", "−") + finding.unit
        return f'<text x="{at(value)}" y="44" text-anchor="{anchor}">{escape(told)}</text>'

    marks = "".join(mark(one.mark, one.value) for one in others)
    zero = mark("rail", 0.0) + end(0.0, "middle") if signed else ""
    return (
        f'<svg aria-hidden="true" height="46"><line class="rail" x1="3%" x2="97%" y1="16" y2="16"/>{zero}'
        f'<line class="span" x1="{at(finding.low)}" x2="{at(finding.high)}" y1="16" y2="16"/>{marks}'
        f'<circle class="dot" cx="{at(finding.value)}" cy="16" r="5.5"/>'
        f"{end(least, 'start')}{end(most, 'end')}</svg>"
    )
