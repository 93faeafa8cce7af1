"""The schematic last, and a foot's room in it."""

from __future__ import annotations

import numpy as np
import pytest
import trimesh

from p2vtools import viewer
from p2vtools.cli import main
from p2vtools.fit import shoe_last
from p2vtools.fit.measure import TOE_ROOM, measure_foot
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.population import sample_population


@pytest.fixture(scope="module")
def foot() -> trimesh.Trimesh:
    return make_feet(sample_population(99, 1)[0])["right"].solid


@pytest.mark.parametrize(("length", "girth"), [(150, 150), (250, 235), (310, 290)])
def test_a_last_is_a_closed_solid_of_the_size_that_it_was_asked_for(length, girth):
    made = shoe_last.make_last(length, girth).mesh
    assert made.is_volume
    assert 1000 * np.ptp(made.vertices[:, 0]) == pytest.approx(length + TOE_ROOM, abs=1e-6)
    ball = made.vertices[np.abs(made.vertices[:, 0] - 0.68e-3 * length) < 3e-3]
    assert 1000 * np.ptp(ball[:, 2]) == pytest.approx(0.40 * girth, abs=2)


@pytest.mark.parametrize("allowance", [0.0, 2.0, 5.0])
def test_what_is_the_last_itself_less_an_allowance_has_that_much_room(allowance):
    made = shoe_last.make_last(250, 235)
    points, at = trimesh.sample.sample_surface(made.mesh, 4000, seed=1)
    points = points - made.mesh.face_normals[at] * allowance / 1000
    round_enough = (points[:, 0] > 0.02) & (points[:, 0] < 0.24) & (points[:, 1] > -0.02)
    room = shoe_last.clearance(made, points[round_enough])
    judged = room[~np.isnan(room)]
    assert len(judged) > 1000 and np.quantile(np.abs(judged - allowance), 0.98) < 0.1


def test_a_smaller_size_has_less_room_and_presses_more(foot):
    fits = shoe_last.fit_shoes(foot, "right")
    assert np.diff([fit.last.length for fit in fits]).tolist() == [5, 5]
    for smaller, larger in zip(fits, fits[1:], strict=False):
        judged = ~np.isnan(smaller.clearance) & ~np.isnan(larger.clearance)
        gained = larger.clearance[judged] - smaller.clearance[judged]
        assert larger.toe_room == pytest.approx(smaller.toe_room + 5)
        assert np.median(gained) > 0.2 and (gained > -0.3).mean() > 0.98
        assert larger.last.girth == pytest.approx(smaller.last.girth + 3.75)
    middle = fits[1]
    assert abs(middle.last.length - measure_foot(foot, "right")[0].length) <= 2.5
    assert abs(middle.toe_room - TOE_ROOM) <= 2.5


def test_left_and_right_fit_alike(foot):
    mirrored = foot.copy()
    mirrored.vertices = foot.vertices * [1, 1, -1]
    mirrored.faces = foot.faces[:, ::-1]
    for one, two in zip(shoe_last.fit_shoes(foot, "right"), shoe_last.fit_shoes(mirrored, "left"), strict=True):
        assert np.nanmax(np.abs(one.clearance - two.clearance)) < 0.05


def test_what_is_above_the_opening_and_the_sole_are_not_judged(foot):
    fit = shoe_last.fit_shoes(foot, "right")[1]
    heights = fit.foot.vertices[:, 1]
    assert np.isnan(fit.clearance[(heights > 0.1) & (fit.foot.vertices[:, 0] < 0.4 * fit.last.length / 1000)]).all()
    assert np.isnan(fit.clearance[fit.foot.vertex_normals[:, 1] < -0.9]).all()
    assert np.isfinite(fit.clearance[fit.foot.vertices[:, 0] > 0.9 * fit.last.length / 1000]).any()


def test_lasts_of_no_foot_are_refused():
    with pytest.raises(ValueError, match="made for a foot of 90 to 350 mm; found 500"):
        shoe_last.make_last(500, 240)
    with pytest.raises(ValueError, match="70 to 130 % of the foot's length; found 80 mm for 250 mm"):
        shoe_last.make_last(250, 80)


def test_the_map_says_what_it_shows(foot, tmp_path, capsys):
    figure = viewer.fit_map(shoe_last.fit_shoes(foot, "right"))
    told = " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))
    for part in ("Mondopoint 2", "toe room 1", "15 mm of toe allowance", "no maker's last", "clearance [mm]"):
        assert part in told, part
    foot.export(tmp_path / "foot.obj")
    assert main(["measure", str(tmp_path / "foot.obj"), "--side", "right", "--fit", str(tmp_path / "fit.png")]) == 0
    assert "Mondopoint" in capsys.readouterr().out and (tmp_path / "fit.png").stat().st_size > 50_000
