import dataclasses
import json

import pytest

from p2vlib.config import PRESETS, Training, from_params, read_settings, training_recipe


def test_presets_have_people_of_different_seeds_and_the_promised_sizes():
    assert from_params("quick") is PRESETS["quick"]
    with pytest.raises(dataclasses.FrozenInstanceError):
        PRESETS["smoke"].seed = 3
    for scale, config in PRESETS.items():
        assert config.scale == scale
        for part in (config.feet, config.objects):
            assert len({part.train_seed, part.validation_seed, part.test_seed}) == 3
    people = [PRESETS[scale].feet.train for scale in ("smoke", "quick", "full")]
    assert people == sorted(set(people))
    quick = PRESETS["quick"]
    assert quick.feet.train >= 100 and quick.feet.validation >= 15 and quick.feet.test >= 40 and quick.feet.views >= 8
    assert quick.objects.train + quick.objects.validation + quick.objects.test >= 30
    assert max(quick.views) == 8


def test_changed_fields_have_the_type_of_the_preset_and_nothing_else_changes():
    for name in ("pretraining.steps", "pretraining__steps"):
        config = from_params("quick", **{name: 7})
        assert config.pretraining.steps == 7
        assert dataclasses.replace(config, pretraining=PRESETS["quick"].pretraining) == PRESETS["quick"]
    config = from_params("smoke", views=[1, 2], finetuning__gradient_clip=2)
    assert config.views == (1, 2)
    assert config.finetuning.gradient_clip == 2.0 and type(config.finetuning.gradient_clip) is float


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"image_sise": 64}, "unknown parameter 'image_sise'; Config has scale, seed, image_size"),
        ({"feet__trian": 3}, "unknown parameter 'feet__trian'; FeetData has train"),
        ({"seed__low": 3}, "unknown parameter 'seed__low'; int has no fields"),
        ({"image_size": "64"}, "parameter 'image_size' is '64'; expected int"),
        ({"seed": True}, "parameter 'seed' is True; expected int"),
        ({"pretraining": {"steps": 3}}, "expected Training"),
        ({"pretraining__loss": "mine"}, "Training.loss is 'mine'; expected one of default, published"),
        ({"scale": "fast"}, "unknown scale 'fast'; expected one of smoke, quick, full"),
    ],
)
def test_unknown_names_and_other_types_are_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        from_params(**{"scale": "smoke", **changes})
    with pytest.raises(ValueError, match="unknown recipe 'mine'; expected one of default, published"):
        training_recipe("mine")
    for name, value in (("steps_per_epoch", 0), ("single_view_share", 10.0)):
        with pytest.raises(ValueError, match=rf"at least 1 and shares from 0 to 1; found Training\(.*{name}={value}"):
            from_params("smoke", **{f"finetuning.{name}": value})
    recipe = Training()
    vars(recipe)["schedule"] = "linear"  # the check of types in the tests would not let it pass
    with pytest.raises(ValueError, match=r"Training.schedule is 'linear'; expected one of cosine, step"):
        recipe.__post_init__()


def test_json_holds_every_field_and_old_settings_get_the_present_names():
    settings = json.loads(from_params("quick", seed=5).to_json())
    assert settings["seed"] == 5 and settings["scale"] == "quick"
    assert set(settings) == {field.name for field in dataclasses.fields(PRESETS["quick"])}
    assert settings["feet"] == dataclasses.asdict(PRESETS["quick"].feet)
    before = {"adapted": "pix2vox-a", "seed": 3, "finetuning": {"hold": True, "epoch": 5, "augmentation": "own"}}
    training = {"freeze_after_first_stage": True, "steps_per_epoch": 5, "augmentation": "default"}
    assert read_settings(json.dumps(before)) == {"order_free": "pix2vox-a", "seed": 3, "finetuning": training}
    today = PRESETS["quick"].to_json()
    assert read_settings(today) == json.loads(today)
