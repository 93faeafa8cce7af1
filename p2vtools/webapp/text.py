"""What the page shows as HTML: photos, the ring of directions, the verdict, measures and sizes."""

from __future__ import annotations

import base64
import html
import io
from collections.abc import Iterable, Sequence
from math import cos, radians, sin

from matplotlib.figure import Figure
from PIL import Image

from p2vlib.geometry.cameras import Row
from p2vtools.capture.capture_writer import MAX_GAP, WrittenCapture
from p2vtools.fit.measure import shoe_sizes
from p2vtools.fit.photo_set import SCALES
from p2vtools.fit.verdict import JudgedFoot
from p2vtools.viewer.style import FAINT, INK, PALETTE
from p2vtools.webapp.visit import CheckedPhoto, Result

GOOD, BAD = PALETTE[2], PALETTE[1]

FOOT = (
    "M92 140C80 140 82 118 84 104C86 86 76 80 80 66C83 54 100 56 110 64C122 73 120 86 114 100C109 114 108 140 92 140Z"
)
"""A right foot from above, toes up, as a path in SVG."""

HEADLINES = {
    "good": (GOOD, "Good", "Each measure is right within its interval for nine feet in ten."),
    "doubtful": (PALETTE[5], "Doubtful", "The measures may be wrong. Follow the advice and take the photos again."),
    "not usable": (BAD, "Not usable", "No measures are shown, because they would probably be wrong."),
}
"""Level of the verdict -> colour, title, meaning."""


def image_html(picture: Image.Image | Figure, description: str, style: str = "") -> str:
    """A picture within the page."""
    stream = io.BytesIO()
    if isinstance(picture, Figure):
        picture.savefig(stream, format="png", dpi=130)
    else:
        picture.convert("RGB").save(stream, "PNG")
    source = base64.b64encode(stream.getvalue()).decode()
    return f'<img alt="{html.escape(description)}" style="{style}" src="data:image/png;base64,{source}">'


def list_html(sentences: Iterable[str]) -> str:
    """A list, empty without ``sentences``."""
    items = "".join(f"<li>{html.escape(sentence[:1].upper() + sentence[1:])}</li>" for sentence in sentences)
    return f"<ul>{items}</ul>" if items else ""


def photos_html(photos: Sequence[CheckedPhoto], problems: Sequence[str]) -> str:
    """All photos with what is wrong with each."""
    cells = []
    for photo, problem in zip(photos, problems, strict=True):
        colour, kind = (BAD, "bad") if problem else (GOOD, "good")
        image = image_html(photo.thumbnail, f"photo {photo.number}", f"border-color: {colour}")
        text = f"✗ {photo.number} {problem}; not used" if problem else f"✓ {photo.number}"
        cells.append(f'<figure>{image}<figcaption class="p2v-{kind}">{html.escape(text)}</figcaption></figure>')
    return f'<div class="p2v-photos">{"".join(cells)}</div>'


def ring_html(rows: Sequence[Row], side: str, advice: Sequence[str]) -> str:
    """A ring that fills with the directions of the photos, seen from above, beside what is missing."""

    def point(azimuth: float, radius: float) -> str:
        return f"{100 + radius * sin(radians(azimuth)):.1f} {100 - radius * cos(radians(azimuth)):.1f}"

    arcs = "".join(
        f'<path d="M {point(row[0] - MAX_GAP / 2, 66)} A 66 66 0 0 1 {point(row[0] + MAX_GAP / 2, 66)}" '
        f'stroke="{GOOD}" stroke-width="16" fill="none"/>'
        for row in rows
    )
    dots = "".join(f'<path d="M {point(row[0], 66)} h 0" stroke="#fff" stroke-width="7"/>' for row in rows)
    labels = "".join(
        f'<text x="{x}" y="{y}" font-size="13" text-anchor="{anchor}" fill="{INK}">{text}</text>'
        for x, y, anchor, text in (
            *((100, 20, "middle", "toes"), (100, 191, "middle", "heel")),
            *((22, 104, "end", "left"), (178, 104, "start", "right")),
        )
    )
    mirror = 'transform="translate(200 0) scale(-1 1)"' if side == "left" else ""
    foot = f'<path {mirror} fill="{FAINT}" d="{FOOT}"/>'
    missing = list_html(advice) or f'<p class="p2v-good">{"Photos from all sides." if rows else ""}</p>'
    return (
        f'<div class="p2v-views"><svg viewBox="-14 0 228 200" width="200" height="175" role="img" '
        f'aria-label="directions of {len(rows)} photos" stroke-linecap="butt">'
        f'<circle cx="100" cy="100" r="66" stroke="{FAINT}" stroke-width="16" fill="none" opacity=".5"/>'
        f'{arcs}<g stroke-linecap="round">{dots}</g>{foot}{labels}</svg><div>{missing}</div></div>'
    )


def verdict_html(result: Result) -> str:
    """The verdict with its reasons, and what to do."""
    verdict = result.judged.verdict
    colour, title, meaning = HEADLINES[verdict.level]
    advice = list(dict.fromkeys([*verdict.advice, *result.written.advice] if verdict.level != "good" else []))
    lists = {"Warning": result.warnings, "What to do": advice, "Reasons": verdict.reasons}
    shown = "".join(f"<p><b>{heading}</b></p>{list_html(lines)}" for heading, lines in lists.items() if lines)
    return f'<div class="p2v-verdict" style="border-color: {colour}"><h3>{title}</h3>{meaning}{shown}</div>'


def measures_html(judged: JudgedFoot, written: WrittenCapture, ruler: float | None) -> str:
    """Shoe sizes and measures with their intervals, or proportions if the scale is unknown."""
    measured, scale = judged.measured, written.scale
    halves, length = measured.half_widths, measured.measures.length
    values = [(name, value, halves.get(name.replace(" ", "_"))) for name, value in measured.measures.items()]
    values = [(name, value, half) for name, value, half in values if half is not None]
    if scale == "unknown":
        rows = [(name, f"{value / length:.0%} of the length") for name, value, _ in values[1:]]
        return f"<p>The size is unknown: only proportions are shown.</p>{_table(rows)}"
    rows = [(name, f"{value:.0f} ± {half:.0f} mm") for name, value, half in values]
    try:
        found = shoe_sizes(length, measured.measures.ball_breadth, halves["length"])
        summary = f"{length:.0f} ± {halves['length']:.0f} mm long, EU {found['EU']}"
        sizes = f'<p class="p2v-size">{html.escape(summary)}</p>{_table(found.items())}'
    except ValueError as error:
        sizes = f"<p>{html.escape(str(error))}</p>"
    source = SCALES[scale] + (f", whose ruler is {ruler:g} mm long" if scale == "mat" and ruler else "")
    return f"<h3>Shoe sizes</h3>{sizes}<h3>Measures</h3>{_table(rows)}<p>The scale comes from {source}.</p>"


def _table(rows: Iterable[tuple[str, str]]) -> str:
    cells = "".join(f"<tr><td>{html.escape(name)}</td><td>{html.escape(value)}</td></tr>" for name, value in rows)
    return f"<table>{cells}</table>"
