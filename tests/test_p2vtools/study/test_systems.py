from dataclasses import replace
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
import torch

from p2vlib import evaluation, models
from p2vlib.data.dataset import Captures
from p2vlib.geometry.frames import FOOT_SHARE
from p2vlib.geometry.projection import voxel_centres
from p2vtools.capture import sfm
from p2vtools.study import baselines, experiments, systems
from tests.test_p2vtools.study.test_experiments import trained


@pytest.fixture(scope="module")
def phone(smoke) -> Captures:
    """Test feet in the phone domain."""
    return smoke.captures.select(dataset="feet", look="phone", light="drift", cube="metric", split="test")


def network(name: str) -> experiments.TrainedNetwork:
    torch.manual_seed(0)
    return trained(model=models.build(name))


def test_foot_lengths_are_interpolated_between_voxels(smoke, phone):
    radius = (voxel_centres(32) - 0.5).norm(dim=1).reshape(32, 32, 32)
    ball = torch.sigmoid((0.3 - radius) * 60)
    length, empty = systems.foot_lengths(torch.stack([ball, torch.zeros_like(ball)]), 0.5)
    assert length == pytest.approx(0.6 * 320, abs=1.0) and np.isnan(empty)
    voxels = [10 * np.ptp(np.flatnonzero(solid.any(2).any(1).numpy())) + 10 for solid in phone.truth]
    assert np.abs(systems.true_lengths(smoke.config, phone) - voxels).max() < 20


def test_chamfer_distances_of_equal_different_and_empty_volumes(phone):
    box = torch.zeros_like(phone.truth)
    box[:, 4:28, :12, 4:28] = True
    assert systems.chamfer_distances(phone.truth.float(), 0.5, phone).max() < 2.5, "two samples of one surface"
    assert systems.chamfer_distances(box.float(), 0.5, phone).min() > 20
    # Plates of one voxel, 1 cm, have faces 1 cm before and behind its centre. Four voxels apart these are at 9.5, 11.5
    # and at 13.5, 15.5: 2 or 4 cm from the nearest one.
    plates = torch.zeros(3, 32, 32, 32, dtype=torch.bool)
    plates[0, 10], plates[1, 14], plates[2, 10], plates[2, 20] = True, True, True, True
    one = phone.select(sample=phone.table["sample"][0])
    apart, twice = (systems.chamfer_distances(plates[:1].float(), 0.5, replace(one, truth=plates[[n]])) for n in (1, 2))
    assert apart == pytest.approx([30], abs=0.4), "and not 32/33 of it"
    assert twice > 20, "half of the truth is 8 or 10 cm away"
    assert np.isnan(systems.chamfer_distances(torch.zeros(len(phone), 32, 32, 32), 0.5, phone)).all()


def test_order_spread_and_point_chamfer_distances_of_untrained_networks(phone):
    attsets, psgn = network("attsets-narrow"), network("psgn-narrow")
    assert systems.order_spread(attsets, phone, 0.5, 3) == 0.0 == systems.order_spread(psgn, phone, 0.5, 1)
    assert systems.order_spread(psgn, phone, 0.5, 3) > 0, "PSGN uses the first photo only"
    distances = systems.point_chamfer_distances(psgn, phone, 1)
    assert distances.shape == (len(phone),) and (distances > 10).all() and (distances < 200).all()


def test_the_clouds_of_the_input_zero_are_those_of_the_tests(phone):
    psgn, one = network("psgn-narrow"), phone.select(sample=phone.table["sample"][0])
    psgn.model.sampler.weight.data *= 100
    clouds = systems.plausible_clouds(psgn, one, 3)
    assert clouds.shape == (1, 4, 1024, 3) and not torch.equal(clouds[:, 1], clouds[:, 2])
    (tested, _), *_ = evaluation.iter_predictions(psgn.model, one, [0])
    assert torch.allclose(clouds[:, 0], tested.points, atol=0.02), "apart from bfloat16"
    table = systems.cloud_table(psgn, one, 3).set_index("cloud").mm
    assert table["the best of 3"] < table["a random input"] and table["two random inputs, to each other"] > 1


def test_sfm_on_captures_mirrors_right_feet_and_counts_the_photos(smoke, phone, monkeypatch):
    solid = np.zeros((32, 32, 32), bool)
    solid[:, :, :8] = True
    model = SimpleNamespace(points=np.zeros((5, 3)), registered=[0], seconds=1.0)
    monkeypatch.setattr(sfm, "run_sfm", lambda photos, cameras: model)
    monkeypatch.setattr(sfm, "alpha_shape", lambda *_: solid)
    some, solids, table = systems.run_sfm_on_captures(smoke.config, phone, 2, limit=2)
    assert some.table.side.tolist() == ["left", "right"] and table.photos.tolist() == [2, 2]
    assert solids[0].numpy().nonzero()[2].max() == 7 and solids[1].numpy().nonzero()[2].min() == 24
    assert table.registered.tolist() == [1, 1] and table.points.tolist() == [5, 5]


def test_visual_hull_of_predicted_masks_equals_that_of_exact_masks(smoke):
    feet = smoke.captures.select(dataset="feet", look="studio", cube="metric", split="test")
    masks = feet.photos[:, :, 3].float() / 255
    predicted = baselines.visual_hull(masks, feet.cameras, 32, FOOT_SHARE)
    assert torch.equal(predicted, baselines.dataset_visual_hulls(feet, masks.shape[1], FOOT_SHARE))


def test_minutes_are_those_of_the_trainings_that_the_result_on_feet_comes_from():
    def stages(name: str) -> dict[str, experiments.TrainedNetwork]:
        seconds = {"objects": 120.0, "feet-phone": 60.0}
        return {key: replace(network(name), history=pd.DataFrame({"seconds": [s]})) for key, s in seconds.items()}

    found = systems.describe_systems({name: stages(name) for name in ("attsets-narrow", "unprojection")})
    assert found["attsets-narrow"].minutes == 3
    assert found["unprojection"].minutes == 1 == found["rendering"].minutes, "it learns feet from scratch"


def test_systems_table_marks_missing_cells(smoke):
    feet = smoke.captures.select(dataset="feet", look="phone", light="drift", cube="metric")
    splits = [feet.select(split=split) for split in ("train", "test", "validation")]
    labels = dict(by="side", training="feet-phone", dataset="feet", views=[1, 2])
    metrics = experiments.evaluate_mean_shape(*splits, **labels)
    rows = {"mean-shape": systems.System(), "rays": systems.System(True, False, True, 1234, 2.5)}
    rows["stereo"] = systems.UNTRAINED["multi-view stereo"]
    table = systems.systems_table(metrics, rows, [1, 2], {"rays": 12.3}, {"spread": {"rays": 0.5}}).set_index("system")
    cells = {"parameters": "1,234", "needs": "poses", "training min": "2.5", "ms/object": "12", "spread": "0.5"}
    assert table.loc["rays", list(cells)].to_dict() == cells
    assert table.loc["stereo", "needs"].startswith("not run")
    assert table.loc["mean-shape", "needs"] == "–" and table.loc["mean-shape", "objects, 1"] == "–"
    assert table.loc["mean-shape", "feet phone, 2"].startswith(f"{metrics[metrics.selected].iou.mean():.3f} [")
