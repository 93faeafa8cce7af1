from dataclasses import replace

import pytest

from p2vlib import training
from p2vlib.config import RECIPES, Training
from p2vlib.training.recipes import frozen_parts, precision, resolve_epochs
from tests.test_p2vlib.training.test_training import RECIPE, build, data, tiny


def test_the_cosine_warms_up_and_ends_at_zero():
    recipe = replace(RECIPE, steps=100, learning_rate=1.0)
    rates = [training.learning_rate(recipe, step) for step in range(100)]
    assert rates[0] == pytest.approx(1 / 3) and max(rates) <= 1 and rates[-1] == pytest.approx(0, abs=0.01)


def test_published_recipe_has_250_epochs_with_a_milestone_at_150_and_100_without_one():
    recipe = resolve_epochs(RECIPES["published"], 30_643)
    assert recipe.steps_per_epoch == 479 and recipe.steps == 350 * 479
    rates = [training.learning_rate(recipe, epoch * 479) for epoch in (0, 149, 150, 249, 250, 349)]
    assert rates == [1e-3, 1e-3, 5e-4, 5e-4, 1e-3, 1e-3]
    first, second = ((frozen_parts(tiny(), recipe, epoch * 479)) for epoch in (249, 250))
    assert first == () and second == ("encoder", "recurrent", "decoder")
    assert frozen_parts(build("attsets-narrow"), recipe, 250 * 479) == ("encoder", "grow", "decoder")


def test_summary_names_optimiser_rate_schedule_steps_precision_and_data():
    recipe = Training(steps=2400, batch=12, views=8, learning_rate=2e-3)
    assert training.recipe_summary(recipe, data(), data()) == (
        "AdamW, weight decay 0.0001; learning rate 0.002, cosine to 0 after a warm-up; 2,400 steps x 12 photos, "
        f"the first 10% with 1 view, then 1 to 4 views; loss default; {precision()}; "
        "4 captures of 4 photos, 32 px; 4 for validation"
    )
    published = training.recipe_summary(RECIPES["published"], data())
    assert published.startswith("Adam; learning rate 0.001, halved at 60 %; 350 epochs of 1 steps x 64 captures")
    assert precision("meta") == "float32"
