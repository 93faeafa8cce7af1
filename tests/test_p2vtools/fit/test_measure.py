"""Measures of solids with known dimensions, and shoe sizes; `test_landmarks` compares with anatomical landmarks."""

import numpy as np
import pytest
import trimesh

from p2vtools.cli import main
from p2vtools.fit.measure import INSTEP_POSITION, measure_foot, shoe_sizes
from p2vtools.fit.surface_correction import correct_surface
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.population import sample_population


def ellipsoid(subdivisions: int = 6) -> trimesh.Trimesh:
    """The upper half of an ellipsoid 250 x 50 x 100 mm, centred at the origin, with a flat sole."""
    mesh = trimesh.creation.icosphere(subdivisions=subdivisions)
    mesh.apply_scale([0.125, 0.05, 0.05])
    mesh.vertices[:, 1] = mesh.vertices[:, 1].clip(min=0)
    return mesh


def values(mesh: trimesh.Trimesh, side: str = "left") -> dict[str, float]:
    return dict(measure_foot(mesh, side)[0].items())


@pytest.mark.parametrize(("side", "toe"), [("left", 0.0), ("right", 0.03)])
def test_measures_of_an_ellipsoid(side, toe):
    """Also with a big toe at 88 % of the length that sticks out by 3 cm: it is not the ball."""
    mesh = ellipsoid()
    x, _, z = mesh.vertices.T
    mesh.vertices[:, 2] = z - toe * (z < 0) * np.exp(-(((x - 0.095) / 0.008) ** 2))
    measures, landmarks = measure_foot(mesh, side)
    # The metatarsal ranges start at 62 % and 55 % of the length: there an ellipse is broadest.
    first, fifth = 50 * np.sqrt(1 - 0.24**2), 50 * np.sqrt(1 - 0.1**2)
    angle = np.linspace(0, np.pi, 20001)
    half_ellipse = np.stack([50 * np.cos(angle), 50 * np.sin(angle)], 1)
    girth = np.linalg.norm(np.diff(half_ellipse, axis=0), axis=1).sum() + 100
    assert measures.length == pytest.approx(250, abs=0.1)
    assert measures.ball_breadth == pytest.approx(first + fifth, abs=0.2)
    assert measures.ball_width == pytest.approx(np.hypot(first + fifth, 0.07 * 250), abs=0.2)
    assert measures.heel_breadth == pytest.approx(100 * np.sqrt(1 - 0.68**2), abs=0.2)
    assert measures.instep_height == pytest.approx(50, abs=0.1)
    assert measures.instep_girth == pytest.approx(girth, rel=0.003)
    assert measures.arch_height is None and landmarks.arch is None, "the sole is flat"
    assert "arch height" not in dict(measures.items())
    assert np.sign(landmarks.first_metatarsal[2]) == (1 if side == "left" else -1), "inner side of a left foot: +z"


@pytest.mark.parametrize("side", ["left", "right"])
def test_arch_height(side):
    """The sole of the ellipsoid is raised by 12 mm at half of the length, on the inner side only."""
    mesh, inwards = ellipsoid(), 1 if side == "left" else -1
    x, y, z = mesh.vertices.T
    arch = 0.012 * np.exp(-((x / 0.04) ** 2)) * (inwards * z > 0.01)
    mesh.vertices[:, 1] = np.where(y == 0, arch, y)
    measures, landmarks = measure_foot(mesh, side)
    assert measures.arch_height == pytest.approx(12, abs=0.05)
    assert landmarks.arch == pytest.approx([0, 0.012, inwards * 0.025], abs=5e-4)
    other = "right" if side == "left" else "left"
    assert measure_foot(mesh, other)[0].arch_height is None, "the outer side is flat"


@pytest.mark.parametrize("side", ["left", "right"])
def test_corrected_surface_has_the_targets_and_nothing_moves_behind_the_ball(side):
    mesh, targets = ellipsoid(5), {"length": 256.0, "ball_breadth": 95.0, "heel_breadth": 76.0}
    corrected = correct_surface(mesh, side, targets)
    measures = vars(measure_foot(corrected, side)[0])
    assert {name: measures[name] for name in targets} == pytest.approx(targets, abs=0.05)
    behind = mesh.vertices[:, 0] < -0.125 + 0.6 * 0.25
    assert np.array_equal(corrected.vertices[behind, 0], mesh.vertices[behind, 0])


def test_leg_is_ignored():
    """A lower leg that leans over the ball and behind the heel; the triangulation hardly matters either."""
    leg, expected = trimesh.creation.cylinder(0.03, segment=[[0.09, 0.16, 0], [-0.20, 0.40, 0]]), values(ellipsoid())
    assert expected == pytest.approx(values(trimesh.util.concatenate([ellipsoid(), leg])), abs=1e-6)
    assert expected == pytest.approx(values(ellipsoid(4)), abs=0.6)


def test_sections_above_the_end_of_a_scan_are_not_reached():
    mesh = ellipsoid()
    mesh.vertices[:, 1] = mesh.vertices[:, 1].clip(max=0.04)
    measures, _ = measure_foot(mesh, "left")
    assert measures.not_reached == ["ball girth", "instep height", "instep girth"]
    assert measures.length == pytest.approx(250, abs=0.1)


def test_toes_that_point_up_count_to_the_length():
    mesh = ellipsoid()
    mesh.vertices[:, 1] += 0.06 * ((mesh.vertices[:, 0] - 0.05) / 0.075).clip(min=0) ** 2
    assert values(mesh)["length"] == pytest.approx(250, abs=0.1)


def test_anatomical_feet_and_their_mirror_images():
    for person in sample_population(99, 2):
        for side, foot in make_feet(person).items():
            measures, landmarks = measure_foot(foot.solid, side)
            assert measures.length == pytest.approx(1000 * foot.length, abs=0.5)
            assert np.linalg.norm(landmarks.heel - foot.pternion) < 0.001
            assert 2.0 < measures.ball_girth / measures.ball_width < 2.8
            assert measures.ball_width >= measures.ball_breadth
            share = (landmarks.instep_tape[:, 0] - landmarks.heel[0]) / measures.length * 1000
            assert share == pytest.approx(INSTEP_POSITION, abs=1e-3)
            mirrored, other = foot.solid.copy().apply_scale([1, 1, -1]), "right" if side == "left" else "left"
            assert values(mirrored, other) == pytest.approx(dict(measures.items()), abs=0.05)


def test_invalid_meshes_are_rejected():
    mesh = ellipsoid()
    with pytest.raises(ValueError, match="side is 'both'; expected left or right"):
        measure_foot(mesh, "both")
    with pytest.raises(ValueError, match="80 to 400 mm long, in metres.*found 250000 mm"):
        measure_foot(mesh.copy().apply_scale(1000).apply_translation([0, -20, 0]), "left")
    with pytest.raises(ValueError, match="found 0 vertices near the floor"):
        measure_foot(mesh.copy().apply_translation([0, 1, 0]), "left")
    with pytest.raises(ValueError, match="found 4 vertices near the floor"):
        measure_foot(trimesh.creation.box((0.25, 0.08, 0.1)).apply_translation([0, 0.04, 0]), "left")
    with pytest.raises(ValueError, match="flat at the ball or instep; expected a closed foot"):
        measure_foot(trimesh.Trimesh(mesh.vertices * [1, 0, 1], mesh.faces), "left")
    middle = (abs(mesh.triangles_center[:, 0]) < 0.02) & (mesh.triangles_center[:, 1] < 0.048)
    with pytest.raises(ValueError, match="gaps at the ball, heel or instep"):
        measure_foot(trimesh.Trimesh(mesh.vertices, mesh.faces[~middle]), "left")


def test_measure_command(tmp_path, capsys, command_error):
    foot = make_feet(sample_population(99, 1)[0])["right"].solid
    foot.copy().apply_scale(1000).export(tmp_path / "foot.stl")
    foot.export(tmp_path / "foot.obj")
    outputs = []
    for name in ("foot.stl", "foot.obj"):
        assert main(["measure", str(tmp_path / name), "--side", "right", "--out", str(tmp_path / "foot.png")]) == 0
        outputs.append(capsys.readouterr().out.split("\n", 1)[1])
    assert outputs[0] == outputs[1] and "length" in outputs[0] and "Mondopoint" in outputs[0], "millimetres and metres"
    assert "looks like" not in outputs[0]
    assert main(["measure", str(tmp_path / "foot.obj"), "--side", "left"]) == 0
    assert "looks like a right foot" in capsys.readouterr().out
    assert (tmp_path / "foot.png").stat().st_size > 20_000
    (tmp_path / "text.obj").write_text("nothing")
    assert "no such file" in command_error("measure", tmp_path / "none.obj", "--side", "left")
    assert "text.obj: no triangles" in command_error("measure", tmp_path / "text.obj", "--side", "left")
    trimesh.Trimesh(foot.vertices, foot.faces[:, ::-1], process=False).export(tmp_path / "reversed.obj")
    error = command_error("measure", tmp_path / "reversed.obj", "--side", "right")
    assert "reversed.obj: the mesh is inside out" in error and "clean it first" in error


@pytest.mark.parametrize(
    ("length", "margin", "expected"),
    [
        (250, 0, {"Mondopoint": "250", "EU": "40", "UK": "6.5", "US men": "7.5", "US women": "9"}),
        (266.7, 0, {"Mondopoint": "265", "EU": "42", "UK": "8.5", "US men": "9.5", "US women": "11"}),
        (252.5, 0, {"Mondopoint": "255 (250 to 255 possible)"}),
        (149, 0, {"Mondopoint": "150", "UK children": "7.5"}),
        (202, 0, {"UK": "1", "US men": "2"}),
        (200, 6, {"UK children": "13.5 (13 to adult 1.5 possible)"}),
        (203, 10, {"UK": "1 (children's 13 to 2 possible)", "US men": "2 (1 to 3 possible)"}),
        (203, 36, {"US men": "2 (children's 10.5 to 6 possible)", "US women": "3.5 (children's 10.5 to 7.5 possible)"}),
        (260, 1, {"Mondopoint": "260", "EU": "41"}),
        (261, 2, {"Mondopoint": "260 (260 to 265 possible)", "EU": "41 (41 to 42 possible)"}),
        (262, 4, {"EU": "42 (41 to 42 possible)", "UK": "8 (7.5 to 8.5 possible)"}),
        (262, 8, {"Mondopoint": "260 (255 to 270 possible)"}),
    ],
)
def test_shoe_sizes(length, margin, expected):
    assert expected.items() <= shoe_sizes(length, margin=margin).items()


def test_shoe_sizes_with_breadth_and_out_of_range():
    assert shoe_sizes(250, 97.6)["Mondopoint"] == "250/98"
    assert shoe_sizes(261, 97.6, 2)["Mondopoint"] == "260/98 (260 to 265 possible)"
    assert "US men" not in shoe_sizes(150)
    with pytest.raises(ValueError, match="90 to 350 mm long; found 25"):
        shoe_sizes(25)
