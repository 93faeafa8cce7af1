"""What a run of the study costs: photos, memory, hours of rendering and training."""

from __future__ import annotations

from p2vlib.config import Config


def estimate_cost(config: Config) -> str:
    """What a run of ``config`` will cost, in a sentence: photos, gigabytes in memory, hours of rendering and training.

    Rendering was measured at 0.1 CPU-seconds a photo at six samples a pixel and grows with them. A training step of
    the published networks takes about 70 GFLOP a photo (encoder forward, the rest forward and backward) and is
    reckoned at 100 TFLOP/s, an eighth of what one H200 multiplies in bfloat16.
    """
    feet, objects = config.feet, config.objects
    people = feet.train + feet.validation + feet.test
    photos = 2 * feet.views * (2 * people + feet.test)
    rendering = 0.1 * photos * (feet.studio_samples + feet.phone_samples) / 12
    things = 13 * (objects.train + objects.validation + objects.test) * objects.views
    rendering += 0.1 * things * objects.samples / 6
    held = photos + 2 * feet.views * people + things
    gigabytes = held * 4 * config.image_size**2 / 1e9
    # Notebook 05 has three arms, a fourth when repeated; two of its pretrainings and one fine-tuning are made before.
    arms = config.repeats * (3 if config.repeats == 1 else 4)
    trainings = [config.pretraining] * (len(config.networks) + arms - 2) + [config.finetuning] * (3 + arms - 1)
    # Notebook 06 trains every system twice, and unprojection six times more.
    trainings += [config.comparison] * (2 * len(config.systems) + 6)
    seen = sum(training.steps * training.batch for training in trainings)
    return (
        f"scale {config.scale}: {photos + things:,} photos to render, {rendering / 3600:.1f} CPU-hours (divide by your "
        f"cores); {gigabytes:.0f} GB of photos at {config.image_size} px in memory; {len(trainings)} trainings, "
        f"{seen / 1e6:.0f} million photos seen, about {seen * 70e9 / 100e12 / 3600:.0f} hours on one H200"
    )
