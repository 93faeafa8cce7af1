"""What a training step of each system of notebook 06 costs, relative to Pix2Vox-A: `system_training.RECIPES`.

    python benchmarks/bench_costs.py [--scale quick]

Two systems train at a time with one core each, as in the notebook. Prints seconds per step and the cost, on objects and
on feet, beside the cost of the recipe. Run `p2v data` of the scale before. It takes five minutes on two cores.
"""

from __future__ import annotations

import argparse
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch

from p2vlib import models
from p2vlib.config import PRESETS, Config
from p2vlib.data import dataset
from p2vlib.data.dataset import Captures
from p2vlib.geometry.frames import FOOT_SHARE
from p2vlib.training import train
from p2vtools.study.system_training import RECIPES, STAGES, Recipe, select_splits, system_recipe

STEPS = 24
"""Steps of an epoch; of the three epochs the first is not measured."""


def seconds_per_step(config: Config, splits: dict[str, list[Captures]], job: tuple[str, str]) -> float:
    """Seconds of a step of ``job``, a system and a training, without the validation."""
    name, training = job
    train_split, validation = splits[training]
    recipe = replace(system_recipe(config, name, training), steps=3 * STEPS, steps_per_epoch=STEPS)
    overrides = {"height": FOOT_SHARE} if name == "unprojection" and training != "objects" else {}
    model = models.build(name, image_size=config.image_size, **overrides)
    few = validation.rows(np.arange(2))
    with TemporaryDirectory() as folder:
        history = train(model, train_split, few, recipe, Path(folder), report=lambda line: None)
    return float(history.seconds.iloc[2] - history.seconds.iloc[0]) / (2 * STEPS)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scale", default="quick", choices=PRESETS)
    config = PRESETS[parser.parse_args().scale]
    measure = partial(seconds_per_step, config, select_splits(dataset.load(config)))
    jobs = [(name, training) for training in STAGES for name in config.systems]
    with ThreadPoolExecutor(2, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        seconds = dict(zip(jobs, pool.map(measure, jobs), strict=True))
    print("| system | training | seconds per step | cost | cost of the recipe |\n|---|---|---|---|---|")
    for (name, training), one in seconds.items():
        cost, expected = one / seconds[config.order_free, training], RECIPES.get(name, Recipe()).cost
        print(f"| {name} | {training} | {one:.3f} | {cost:.2f} | {expected[STAGES.index(training)]} |")


if __name__ == "__main__":
    main()
