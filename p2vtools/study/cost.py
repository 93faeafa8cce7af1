"""What notebooks will cost at a scale: rendering, trainings, gigabytes in memory and on the GPU."""

from __future__ import annotations

from collections.abc import Iterable

from p2vlib.config import Config, Training

FLOP_PER_PHOTO = 70e9
"""One training step of a published network, for each photo: the encoder forward, the rest forward and backward."""

FLOP_PER_SECOND = 100e12
"""An eighth of what one H200 multiplies in bfloat16."""

RENDERING_SECONDS = 0.1 / 6
"""CPU-seconds per photo and sample per pixel."""

WILD_SECONDS = 0.3
"""CPU-seconds per photo in the wild, most of them for skin, floor and light."""

GPU_BYTES_PER_PHOTO = {"pretraining": 30e6, "finetuning": 30e6, "systems": 176e6}
"""Activations that a training step saves for each photo of 224 pixels in float32: of Pix2Vox-A, and of 3D-R2N2, the
largest system of notebook 06. In bfloat16 it is about half; workspaces and the frozen encoder take the rest."""

GPU_BYTES_OF_NETWORK = 120e6 * 16
"""Weights, gradients and the two moments of Adam of the largest network, in float32."""


def estimate_cost(config: Config, numbers: Iterable[str]) -> str:
    """One sentence on the cost of the notebooks with these ``numbers``, including the trainings that they build on.

    Without numbers it is the cost of the data alone.
    """
    numbers = sorted(numbers)
    photos, rendering_hours, held = _data(config)
    gigabytes = held * 4 * config.image_size**2 / 1e9
    parts = f"notebooks {', '.join(numbers)}" if numbers else "data"
    text = (
        f"scale {config.scale}, {parts}: {photos:,} photos to render unless they exist, {rendering_hours:.1f} CPU-"
        f"hours (divide by the cores); {gigabytes:.0f} GB of photos at {config.image_size} px in memory"
    )
    if not (trainings := _trainings(config, numbers)):
        return text
    photos_trained = sum(recipe.steps * recipe.batch for recipe in trainings.values())
    step = max(recipe.batch * GPU_BYTES_PER_PHOTO[stage] for (stage, _), recipe in trainings.items())
    on_gpu = gigabytes + (GPU_BYTES_OF_NETWORK + step * (config.image_size / 224) ** 2) / 1e9
    hours = photos_trained * FLOP_PER_PHOTO / FLOP_PER_SECOND / 3600
    return (
        f"{text}; {len(trainings)} training{'s' * (len(trainings) > 1)} with {photos_trained / 1e6:.0f} million "
        f"photos, about {hours:.0f} hours on one H200, {on_gpu:.0f} GB of GPU memory"
    )


def _data(config: Config) -> tuple[int, float, int]:
    """Photos to render, CPU-hours of rendering, and photos held in memory (studio photos are held in two cubes)."""
    feet, objects = config.feet, config.objects
    people = feet.train + feet.validation + feet.test
    of_feet = 2 * feet.views * (2 * people + feet.test)
    of_objects = 13 * (objects.train + objects.validation + objects.test) * objects.views
    wild = 2 * feet.views * people if feet.wild else 0
    samples = of_feet * (feet.studio_samples + feet.phone_samples) / 2 + of_objects * objects.samples
    held = of_feet + 2 * feet.views * people + wild + of_objects
    return of_feet + wild + of_objects, (RENDERING_SECONDS * samples + WILD_SECONDS * wild) / 3600, held


def _trainings(config: Config, numbers: Iterable[str]) -> dict[tuple, Training]:
    """The trainings that notebooks need, by a key that two notebooks share where they share the training.

    Notebook 03 trains its networks on objects, and 03a takes one of them. Notebook 04 fine-tunes the order-free network
    on each domain and without crops, 05 the four arms of the ablation, with ``config.repeats`` seeds, and three of them
    on its control. Notebook 06 trains each system on objects and on feet, and eight more networks on feet.
    """
    arms = [(config.order_free, "main"), *((config.recurrent, kind) for kind in ("main", "shuffled", "2d"))]
    seeded = [(*arm, seed) for arm in arms for seed in range(config.repeats)]
    first, recurrent = (config.order_free, "main", 0), (config.recurrent, "main", 0)
    pretrained = {"03": [(name, "main", 0) for name in config.networks], "05": [first, recurrent]}
    pretrained |= dict.fromkeys(("03a", "04"), [first])
    finetuned = {"04": [first, ("studio",), ("uncropped",), *[("wild",)] * config.feet.wild]}
    finetuned["05"] = [*seeded, *(("control", number) for number in range(3))]
    compared = [config.pretraining] * len(config.systems) + [config.finetuning] * (len(config.systems) + 8)
    found: dict[tuple, Training] = {}
    for number in numbers:
        found |= {("pretraining", key): config.pretraining for key in pretrained.get(number, ())}
        found |= {("finetuning", key): config.finetuning for key in finetuned.get(number, ())}
        found |= {("systems", key): recipe for key, recipe in enumerate(compared)} if number == "06" else {}
    return found
