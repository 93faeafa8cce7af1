"""What only the comparison of systems asks for: fewer people, noisy cameras, lengths, spreads, the table."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

from p2vlib import evaluation, models
from p2vlib.data import dataset
from p2vlib.geometry.frames import FOOT_SHARE
from p2vlib.geometry.projection import voxel_centres
from p2vtools.study import experiments, systems


def test_fewer_people_leave_the_others(smoke):
    few = systems.limit_people(smoke.captures, 1)
    known = smoke.captures.table[smoke.captures.table.dataset == "feet"]
    assert few.table[few.table.split == "train"].subject.nunique() == 1
    for split in ("validation", "test"):
        assert (few.table.split == split).sum() == (known.split == split).sum()


def test_lengths_are_between_the_voxels():
    away = (voxel_centres(32) - 0.5).norm(dim=1).reshape(32, 32, 32)
    soft = torch.sigmoid((0.3 - away) * 60)
    found = systems.foot_lengths(torch.stack([soft, torch.zeros_like(soft)]), 0.5)
    assert found[0] == pytest.approx(0.6 * 320, abs=1.0) and np.isnan(found[1])


def test_true_lengths_are_those_of_the_meshes(smoke):
    feet = smoke.captures.select(dataset="feet", look="phone", light="drift", cube="metric", split="test")
    lengths = systems.true_lengths(smoke.config, feet)
    voxels = [10 * np.ptp(np.flatnonzero(solid.any(2).any(1).numpy())) + 10 for solid in feet.truth]
    assert np.abs(lengths - voxels).max() < 20, "a voxel at either end"


def test_surfaces_are_as_far_apart_as_they_were_moved(smoke):
    feet = smoke.captures.select(dataset="feet", look="phone", light="drift", cube="metric", split="test")
    same, wide = systems.chamfer_distances(feet.truth.float(), 0.5, feet), torch.zeros_like(feet.truth)
    assert same.max() < 2.5, "points of one surface, drawn twice, lie a millimetre or two apart"
    wide[:, 4:28, :12, 4:28] = True
    assert systems.chamfer_distances(wide.float(), 0.5, feet).min() > 20
    assert np.isnan(systems.chamfer_distances(torch.zeros(len(feet), 32, 32, 32), 0.5, feet)).all()


def test_points_of_a_network_of_points_are_measured_themselves(smoke):
    feet = smoke.captures.select(dataset="feet", look="phone", light="drift", cube="metric", split="test")
    torch.manual_seed(0)
    network = experiments.TrainedNetwork("psgn-narrow", "", "main", models.build("psgn-narrow"), pd.DataFrame(), Path())
    off = systems.point_chamfer_distances(network, feet, 1)
    assert off.shape == (len(feet),) and (off > 10).all() and (off < 200).all(), "untrained: anywhere in the cube"


def test_without_the_floor_cubes_stand_too_high_or_too_low(smoke):
    whole = dataset.load_feet(smoke.config, "phone").select(split=["validation", "test"])
    lifted = systems.with_floor_noise(whole)
    assert torch.equal(lifted.photos, whole.photos) and lifted.fine_truth is None and lifted.table.equals(whole.table)
    high = [solid.any(2).any(0).nonzero().max().item() for solid in lifted.truth]
    assert len(set(high)) > 1 and max(high) < systems.FLOOR_NOISE_HEIGHT * 32
    assert torch.equal(systems.with_floor_noise(whole).truth, lifted.truth), "the same for every network"


def test_a_wooden_floor_registers_the_photos(smoke):
    (row,) = systems.run_sfm_on_floors(smoke.config, ("wood",), 1, 8, 160).itertuples(index=False)
    assert row[:3] == ("wood", 1, 8) and row.registered > 0.3 and row.seconds > 0


def test_the_spread_over_orders_is_none_where_there_is_no_order(smoke):
    feet = smoke.captures.select(dataset="feet", look="phone", light="drift", cube="metric", split="test")
    spreads = {}
    for name in ("psgn-narrow", "attsets-narrow"):
        torch.manual_seed(0)
        network = experiments.TrainedNetwork(name, "feet-phone", "main", models.build(name), pd.DataFrame(), Path())
        spreads[name] = systems.order_spread(network, feet, 0.5, 3)
        assert systems.order_spread(network, feet, 0.5, 1) == 0.0
    assert spreads["attsets-narrow"] == 0.0 < spreads["psgn-narrow"], "the first photo is another one"


def test_a_hull_of_seen_silhouettes_is_one_of_exact_ones_when_they_are_exact(smoke):
    feet = smoke.captures.select(dataset="feet", look="studio", cube="metric", split="test")
    masks = feet.photos[:, :, 3].float() / 255
    same = evaluation.visual_hull(masks, feet.cameras, 32, FOOT_SHARE)
    assert torch.equal(same, evaluation.dataset_visual_hulls(feet, masks.shape[1], FOOT_SHARE))


def test_the_table_says_what_is_known_and_leaves_out_what_is_not(smoke):
    feet = smoke.captures.select(dataset="feet", look="phone", light="drift", cube="metric")
    train, validation, test = (feet.select(split=split) for split in ("train", "validation", "test"))
    facts = dict(by="side", training="feet-phone", dataset="feet", views=[1, 2])
    metrics = experiments.evaluate_mean_shape(train, test, validation, **facts)
    known = {"mean-shape": systems.System(), "rays": systems.System(True, False, True, 1234, 2.5)}
    table = systems.systems_table(metrics, known, [1, 2], {"rays": 12.3}, {"spread": {"rays": 0.5}}).set_index("system")
    assert table.loc["rays", ["parameters", "needs", "training min", "ms/object"]].tolist() == [
        "1,234",
        "poses",
        "2.5",
        "12",
    ]
    assert table.loc["mean-shape", "needs"] == "–" and table.loc["mean-shape", "objects, 1"] == "–"
    assert table.loc["mean-shape", "feet phone, 2"].startswith(f"{metrics[metrics.selected].iou.mean():.3f} [")


def test_without_poses_every_photo_is_told_the_same_camera(smoke):
    blind = systems.without_poses(smoke.captures)
    feet = experiments.training_captures(blind, "feet-phone", "test")
    assert feet.cameras.flatten(0, 1).unique(dim=0).shape[0] == 1
    assert blind.digest() != smoke.captures.digest(), "so that weights can tell that they learnt without"
    assert torch.equal(blind.photos, smoke.captures.photos)
