"""The schematic last, and the clearance of a foot in it."""

import numpy as np
import pytest
import trimesh

from p2vtools import viewer
from p2vtools.cli import main
from p2vtools.fit.measure import TOE_ROOM, measure_foot
from p2vtools.fit.shoe_last import ShoeFit, clearance, fit_shoes, make_last
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.population import sample_population


@pytest.fixture(scope="module")
def foot() -> trimesh.Trimesh:
    return make_feet(sample_population(99, 1)[0])["right"].solid


@pytest.fixture(scope="module")
def fits(foot) -> list[ShoeFit]:
    return fit_shoes(foot, "right")


@pytest.mark.parametrize(("length", "girth"), [(150, 150), (250, 235), (310, 290)])
def test_last_is_closed_and_has_its_dimensions(length, girth):
    mesh = make_last(length, girth).mesh
    assert mesh.is_volume
    assert 1000 * np.ptp(mesh.vertices[:, 0]) == pytest.approx(length + TOE_ROOM, abs=1e-6)
    ball = mesh.vertices[np.abs(mesh.vertices[:, 0] - 0.68e-3 * length) < 3e-3]
    assert 1000 * np.ptp(ball[:, 2]) == pytest.approx(0.40 * girth, abs=2)


@pytest.mark.parametrize("offset", [0.0, 2.0, 5.0])
def test_clearance_of_an_offset_surface(offset):
    last = make_last(250, 235)
    points, faces = trimesh.sample.sample_surface(last.mesh, 4000, seed=1)
    points = points - last.mesh.face_normals[faces] * offset / 1000
    is_smooth = (points[:, 0] > 0.02) & (points[:, 0] < 0.24) & (points[:, 1] > -0.02)
    room = clearance(last, points[is_smooth])
    room = room[~np.isnan(room)]
    assert len(room) > 1000 and np.quantile(np.abs(room - offset), 0.98) < 0.1


def test_larger_sizes_have_more_room(foot, fits):
    assert np.diff([fit.last.length for fit in fits]).tolist() == [5, 5]
    for smaller, larger in zip(fits, fits[1:], strict=False):
        is_finite = ~np.isnan(smaller.clearance) & ~np.isnan(larger.clearance)
        gain = larger.clearance[is_finite] - smaller.clearance[is_finite]
        assert larger.toe_room == pytest.approx(smaller.toe_room + 5)
        assert np.median(gain) > 0.2 and (gain > -0.3).mean() > 0.98
        assert larger.last.girth == pytest.approx(smaller.last.girth + 3.75)
    assert abs(fits[1].last.length - measure_foot(foot, "right")[0].length) <= 2.5
    assert abs(fits[1].toe_room - TOE_ROOM) <= 2.5


def test_left_and_right_feet_fit_alike(foot, fits):
    mirrored = trimesh.Trimesh(foot.vertices * [1, 1, -1], foot.faces[:, ::-1], process=False)
    for right, left in zip(fits, fit_shoes(mirrored, "left"), strict=True):
        assert np.nanmax(np.abs(right.clearance - left.clearance)) < 0.05


def test_clearance_excludes_the_sole_and_what_is_above_the_opening(fits):
    fit = fits[1]
    x, y, _ = fit.foot.vertices.T
    length = fit.last.length / 1000
    assert np.isnan(fit.clearance[(y > 0.1) & (x < 0.4 * length)]).all()
    assert np.isnan(fit.clearance[fit.foot.vertex_normals[:, 1] < -0.9]).all()
    assert np.isfinite(fit.clearance[x > 0.9 * length]).any()


def test_invalid_dimensions_are_rejected():
    with pytest.raises(ValueError, match="foot length of 90 to 350 mm; found 500"):
        make_last(500, 240)
    with pytest.raises(ValueError, match="70 to 130 % of the length 250 mm; found 80 mm"):
        make_last(250, 80)


def test_fit_map_is_labelled_and_written_by_the_command(foot, fits, tmp_path, capsys):
    figure = viewer.fit_map(fits)
    texts = " ".join(text.get_text() for text in figure.findobj(lambda artist: hasattr(artist, "get_text")))
    labels = "Mondopoint 2|toe room 1|pressed on |15 mm of toe allowance|manufacturer's last|clearance [mm]"
    assert [label for label in labels.split("|") if label not in texts] == []
    assert texts.count("nearest to this foot") == 1 and "possible" not in texts
    foot.export(tmp_path / "foot.obj")
    assert main(["measure", str(tmp_path / "foot.obj"), "--side", "right", "--fit", str(tmp_path / "fit.png")]) == 0
    assert "Mondopoint" in capsys.readouterr().out and (tmp_path / "fit.png").stat().st_size > 50_000
