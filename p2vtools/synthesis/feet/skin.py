"""The skin of a leg: photographic where textures are present, with procedural marks drawn on top."""

from __future__ import annotations

import numpy as np
from jaxtyping import Float

from p2vtools.synthesis.assets import asset_files, read_skin, skin_texels
from p2vtools.synthesis.colours import saturated_colour
from p2vtools.synthesis.feet.leg_canvas import CHART_SHAPE, Drawing, LegCanvas, sample_image

Colours = Float[np.ndarray, "vertices 3"]
Mask = Float[np.ndarray, "vertices 1"]
"""0 to 1."""

TOES = np.array([30.0, 15.0, 2.0, -11.0, -23.0])
"""Position ``around`` of the middle of each toe in the chart, big toe first, mm."""

ANKLE = 255.0
"""Position ``along`` of the ankle in the chart, mm."""

MARKS = {"veins": 0.5, "tendons": 0.4, "hair": 0.25, "tan": 0.15, "tattoo": 0.08, "plaster": 0.04, "scar": 0.08}
MARKS |= {"henna": 0.03, "dust": 0.25, "freckles": 0.2}
"""Share of the feet with each mark."""

POLISH = 0.12
"""Share of the feet with nail polish."""


def _point(along: float, around: float) -> tuple[float, float]:
    return around + (CHART_SHAPE[1] - 1) / 2, along


def _walk(rng: np.random.Generator, start: np.ndarray, end: np.ndarray, wander: float) -> list[tuple[float, float]]:
    """A smooth random path of 12 points in the chart, which deviates from the straight line by about ``wander`` mm."""
    share = np.linspace(0, 1, 12)[:, None]
    bends = sum(
        rng.normal(0, 1 / order, 2) * np.sin(np.pi * order * share + rng.uniform(0, 2 * np.pi))
        for order in (1, 2, 3, 4)
    )
    points = start + share * (end - start) + wander * bends * np.sin(np.pi * share)
    return [_point(*point) for point in points]


def paint_skin(
    canvas: LegCanvas, rng: np.random.Generator, tone: np.ndarray, texture: float, marks: frozenset[str]
) -> Colours:
    """Linear RGB of the skin of a whole leg.

    Args:
        tone: mean colour, linear RGB.
        texture: as `Appearance.texture`.
        marks: keys of `MARKS`, and ``"polish"``.
    """
    albedo = _bare_skin(canvas, rng, tone, texture)
    painters = {"veins": _veins, "tendons": _tendons, "hair": _hair, "tan": _tan, "freckles": _freckles}
    painters |= {"scar": _scar, "henna": _henna, "tattoo": _tattoo, "dust": _dust, "plaster": _plaster}
    for name, paint in painters.items():
        if name in marks:
            albedo = paint(canvas, rng, albedo, tone)
    if "polish" in marks:
        strength = canvas.nails[:, None] * (rng.random() < 0.8 or 0.6)
        albedo = albedo + strength * (saturated_colour(rng) - albedo)
    return albedo


def _bare_skin(canvas: LegCanvas, rng: np.random.Generator, tone: np.ndarray, texture: float) -> Colours:
    skins = asset_files("skins")
    if skins:
        detail = skin_detail(canvas, read_skin(skins[min(int(texture * len(skins)), len(skins) - 1)]))
        detail = detail ** rng.uniform(0.7, 1.3)
        detail = np.minimum(detail, 1 + (detail - 1) * (1 - tone))  # light skin cannot get much lighter
        nail, red = rng.uniform(0, 0.5), rng.uniform(0, 0.7)
    else:
        detail, nail, red = np.ones((len(canvas.uv), 3)), rng.uniform(0.3, 0.9), rng.uniform(0.3, 1.8)
    mottling = rng.uniform(0.01, 0.05) * canvas.noise(rng, 18) + rng.uniform(0.005, 0.03) * canvas.noise(rng, 5)
    blush = rng.uniform(0, 0.04) * canvas.noise(rng, 25)[:, None] * [1.0, -1.0, -0.6]
    albedo = tone * detail * (1 + mottling[:, None] + blush)
    albedo *= 1 + red * canvas.redness[:, None] * [0.06, -0.14, -0.12]
    albedo *= 1 + rng.uniform(0, 0.35) * _knuckles(canvas) * [-0.25, -0.5, -0.5]
    height, down = canvas.position[:, 1], -canvas.normals[:, 1]
    sole = (np.clip((26 - height) / 14, 0, 1) * np.clip((down + 0.35) / 0.4, 0, 1))[:, None]
    sole = sole * rng.uniform(0.4, 0.9) * np.clip(1 - tone.mean() / 0.5, 0, 1)  # soles have little pigment
    albedo += sole * (np.array([0.42, 0.24, 0.17]) * rng.uniform(0.7, 1.2) - albedo)
    pale = 0.75 * tone + 0.25 * np.array([0.75, 0.55, 0.48])
    return albedo + nail * canvas.nails[:, None] * (pale * rng.uniform(0.9, 1.25) - albedo)


def skin_detail(canvas: LegCanvas, skin: Float[np.ndarray, "height width 3"]) -> Colours:
    """A photographic skin divided by its mean around the ankle, per channel; 1 above, where the skin was cut."""
    texels = skin_texels(canvas.uv)
    colours = sample_image(skin, texels[:, ::-1].T)
    height = canvas.position[:, 1]
    ankle = (height > 60) & (height < 100) & (texels[:, 1] > 0)
    weight = np.clip((115 - height) / 45, 0, 1)[:, None] * np.clip(texels[:, 1:] / 10, 0, 1)
    return 1 + weight * (np.clip(colours / colours[ankle].mean(axis=0), 0.15, 3) - 1)


def _knuckles(canvas: LegCanvas) -> Mask:
    """The middle joints of the toes, seen from above, and the heel."""
    draw = Drawing()
    for toe, around in enumerate(TOES):
        x, y = _point(22 + (3 if toe else 12), around)
        draw.ellipse((x - 5, y - 4, x + 5, y + 4), fill=255)
    heel = np.exp(-(((canvas.position - [0, 18, 0]) / [16, 18, 30]) ** 2).sum(axis=1))
    return np.maximum(draw.sample(canvas, 2.0), heel[:, None])


def _veins(canvas: LegCanvas, rng: np.random.Generator, albedo: Colours, tone: np.ndarray) -> Colours:
    """Branching bluish lines from the roots of the toes over the instep to the ankle."""
    width, draw = int(rng.integers(2, 5)), Drawing()
    strength = rng.uniform(0.1, 0.45) * np.clip(tone.mean() / 0.25, 0.4, 1)
    for around in rng.choice(TOES, rng.integers(2, 5), replace=False):
        start, end = np.array([70 + rng.uniform(-10, 10), around]), np.array([ANKLE + 40, rng.uniform(-35, 35)])
        path = _walk(rng, start, end, 8)
        draw.line(path, fill=255, width=width, joint="curve")
        branch = np.array(path[rng.integers(2, 8)])[::-1] - [0, (CHART_SHAPE[1] - 1) / 2]
        path = _walk(rng, branch, branch + [rng.uniform(30, 80), rng.uniform(-40, 40)], 5)
        draw.line(path, fill=200, width=width)
    return albedo * (1 - strength * draw.sample(canvas, 1.4) * [1.0, 0.65, 0.5])


def _tendons(canvas: LegCanvas, rng: np.random.Generator, albedo: Colours, tone: np.ndarray) -> Colours:
    """Faint bright lines with dark flanks from each toe to the front of the ankle."""
    draw = Drawing()
    for around in TOES:
        draw.line([_point(60, around), _point(ANKLE - 20, around / 5 + 4)], fill=255, width=4)
    line, halo = draw.sample(canvas, 1.0), draw.sample(canvas, 4.0)
    return albedo * (1 + rng.uniform(0.06, 0.28) * (line - 1.5 * halo))


def _hair(canvas: LegCanvas, rng: np.random.Generator, albedo: Colours, tone: np.ndarray) -> Colours:
    """Short dark strokes on the shank, some on the instep and on the big toe."""
    count, strength, draw = int(1400 * rng.uniform(0.3, 1)), rng.uniform(0.4, 0.9), Drawing()
    starts = rng.uniform(ANKLE, CHART_SHAPE[0], count) - rng.exponential(15, count)
    along = np.concatenate([starts, rng.normal(40, 6, count // 40)])
    around = np.concatenate([rng.uniform(-140, 140, count), rng.normal(TOES[0], 4, count // 40)])
    for start in np.column_stack([along, around]):
        draw.line([_point(*start), _point(*(start - [rng.uniform(5, 14), rng.uniform(-5, 5)]))], fill=255)
    return albedo * (1 - strength * draw.sample(canvas, 0.5))


def _freckles(canvas: LegCanvas, rng: np.random.Generator, albedo: Colours, tone: np.ndarray) -> Colours:
    """Freckles and moles, and irregular patches."""
    strength, draw = rng.uniform(0.3, 0.7), Drawing()
    for _ in range(rng.integers(3, 60)):
        x, y = _point(rng.uniform(30, 500), rng.uniform(-120, 120))
        radius = rng.uniform(0.8, 2.2)
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=int(rng.integers(90, 255)))
    return albedo * (1 - strength * draw.sample(canvas, 0.7) * [0.8, 1.0, 1.0])


def _tan(canvas: LegCanvas, rng: np.random.Generator, albedo: Colours, tone: np.ndarray) -> Colours:
    """A tan with pale skin where sandal straps or a sock were."""
    is_sock = rng.random() < 0.3
    edge = rng.uniform(280, 360)
    straps = [(rng.uniform(60, 220), rng.uniform(-30, 30), rng.uniform(-60, 60)) for _ in range(rng.integers(1, 4))]
    is_thong = rng.random() < 0.4
    factor, draw = rng.uniform(0.55, 0.85) ** np.array([0.8, 1.0, 1.1]), Drawing()
    if is_sock:
        draw.rectangle((0, 0, CHART_SHAPE[1], edge), fill=255)
        straps, is_thong = [], False
    for along, shift, slope in straps:
        ends = [_point(along, -160), _point(along + shift + slope, 160)]
        draw.line(ends, fill=255, width=int(rng.integers(8, 30)))
    for around in (-60, 60) if is_thong else ():
        draw.line([_point(55, TOES[0] - 8), _point(170, around)], fill=255, width=int(rng.integers(8, 18)))
    return albedo * (factor + (1.1 - factor) * draw.sample(canvas, 1.5))


def _scar(canvas: LegCanvas, rng: np.random.Generator, albedo: Colours, tone: np.ndarray) -> Colours:
    start = np.array([rng.uniform(80, 350), rng.uniform(-50, 50)])
    path = _walk(rng, start, start + rng.normal(0, 25, 2), 3)
    draw = Drawing()
    draw.line(path, fill=255, width=int(rng.integers(2, 5)))
    colour = albedo * rng.choice([[1.4, 1.35, 1.35], [1.15, 0.8, 0.8], [0.65, 0.55, 0.55]])
    return albedo + draw.sample(canvas) * rng.uniform(0.4, 0.9) * (colour - albedo)


def _ornament(rng: np.random.Generator) -> Drawing:
    """Curves, strokes like letters, rings and solid shapes somewhere on instep, ankle or shin."""
    middle = np.array([rng.uniform(90, 380), rng.uniform(-45, 45)])
    size = rng.uniform(15, 45)
    kinds = rng.choice(["curves", "letters", "star", "disc", "band", "web"], rng.integers(1, 4))
    width, draw = int(rng.integers(2, 6)), Drawing()
    for kind in kinds:
        spots = middle + rng.normal(0, size / 2, (8, 2))
        x, y = _point(*spots[0])
        if kind == "curves":
            for start, end in spots.reshape(4, 2, 2):
                draw.line(_walk(rng, start, end, size / 3), fill=255, width=width, joint="curve")
        elif kind == "letters":
            for letter in range(rng.integers(4, 10)):
                strokes = middle + [0, 7 * letter - 25] + rng.uniform(-4, 4, (4, 2)) * [1.5, 0.7]
                draw.line([_point(*stroke) for stroke in strokes], fill=255, width=max(width - 1, 2))
        elif kind == "star":
            angles = np.linspace(0, 2 * np.pi, 11)[:-1] + rng.uniform(0, 6)
            radii = np.tile([size / 2, size / 5], 5)
            draw.polygon([(x + r * np.cos(a), y + r * np.sin(a)) for r, a in zip(radii, angles, strict=True)], 255)
        elif kind == "disc":
            box = (x - size / 3, y - size / 2, x + size / 3, y + size / 2)
            draw.ellipse(box, fill=255 if rng.random() < 0.5 else 0, outline=255, width=width)
        elif kind == "band":
            for row in (0, 8, 14):
                draw.line([_point(middle[0] + row, -160), _point(middle[0] + row, 160)], fill=255, width=width)
        else:
            for spot in spots:
                draw.line([_point(*middle), _point(*spot)], fill=255, width=width)
                draw.ellipse((*_point(*(spot - 3)), *_point(*(spot + 3)))[0:4], fill=255)
    return draw


def _tattoo(canvas: LegCanvas, rng: np.random.Generator, albedo: Colours, tone: np.ndarray) -> Colours:
    """Ornaments in blue-black ink; half of them have one in colour as well."""
    inks = [np.array([0.012, 0.015, 0.022])] * int(rng.integers(1, 3))
    if rng.random() < 0.5:
        inks.insert(0, 0.6 * saturated_colour(rng))
    for ink in inks:
        opacity = rng.uniform(0.6, 0.95) * _ornament(rng).sample(canvas)
        albedo = albedo + opacity * (ink + 0.1 * albedo - albedo)
    return albedo


def _henna(canvas: LegCanvas, rng: np.random.Generator, albedo: Colours, tone: np.ndarray) -> Colours:
    """Reddish brown filigree."""
    for _ in range(rng.integers(2, 5)):
        opacity = rng.uniform(0.5, 0.85) * _ornament(rng).sample(canvas)
        albedo = albedo * (1 - opacity * [0.55, 0.8, 0.92])
    return albedo


def _dust(canvas: LegCanvas, rng: np.random.Generator, albedo: Colours, tone: np.ndarray) -> Colours:
    """Grey or brown dust on the sole and along its rim."""
    rim = np.clip((rng.uniform(8, 40) - canvas.position[:, 1]) / 15, 0, 1)
    patches = np.clip(0.5 + 0.5 * canvas.noise(rng, 15) + 0.3 * canvas.noise(rng, 4), 0, 1)
    dust = rng.choice([[0.2, 0.18, 0.16], [0.12, 0.09, 0.07], [0.03, 0.03, 0.03], [0.35, 0.3, 0.25]])
    return albedo + rng.uniform(0.3, 0.9) * (rim * patches)[:, None] * (dust - albedo)


def _plaster(canvas: LegCanvas, rng: np.random.Generator, albedo: Colours, tone: np.ndarray) -> Colours:
    """A plaster: a rounded rectangle with a paler pad, or a white bandage round the foot or the ankle."""
    colour = np.array([[0.6, 0.4, 0.27], [0.8, 0.78, 0.75], [0.5, 0.3, 0.2], saturated_colour(rng)][rng.integers(4)])
    along, around = rng.uniform(30, 300), rng.uniform(-45, 45)
    x, y = _point(along, around)
    half = np.array([10, 32]) * rng.uniform(0.7, 1.1)
    if rng.random() < 0.5:
        half = half[::-1]
    if rng.random() < 0.2:
        half = np.array([CHART_SHAPE[1], rng.uniform(15, 40)])
    box = (x - half[0], y - half[1], x + half[0], y + half[1])
    cover, pad = Drawing(), Drawing()
    cover.rounded_rectangle(box, 8, fill=255)
    pad.rectangle((x - 8, y - 8, x + 8, y + 8), fill=255)
    return albedo + cover.sample(canvas, 0.5) * (colour * (1 + 0.1 * pad.sample(canvas, 0.7)) - albedo)
