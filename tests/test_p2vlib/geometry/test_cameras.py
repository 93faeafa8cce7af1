import numpy as np
import pytest

from p2vlib.geometry.cameras import Camera, look_at, r2n2_camera
from p2vlib.geometry.frames import Cube, foot_cube, object_cube

ORIGIN = np.zeros(3)


def test_azimuth_0_is_in_front_and_90_at_the_right_side_and_elevation_is_above():
    rows = [(0, 0, 0, 2.0, 40), (90, 0, 0, 2.0, 40), (0, 30, 0, 2.0, 40)]
    front, right, above = (look_at(row, ORIGIN, 100, 100).position for row in rows)
    assert front == pytest.approx([2, 0, 0]) and right == pytest.approx([0, 0, 2])
    assert above == pytest.approx([2 * np.cos(np.pi / 6), 1, 0])
    target = np.array([0.1, 0.05, -0.2])
    camera = look_at((33, 41, 12, 0.6, 50), target, 160, 120)
    assert camera.project(target[None])[0] == pytest.approx([80, 60, 0.6]), "the centre, at its distance"


def test_in_a_front_view_the_right_side_is_on_the_left_and_the_camera_turns_clockwise():
    camera = look_at((0, 0, 0, 1.0, 90), ORIGIN, 100, 100)
    (z, y) = camera.project(np.array([[0, 0, 0.1], [0, 0.1, 0]]))
    # Face to face with the object, its right side (+z) is on the viewer's left; a metre away 90 degrees span 2 m.
    assert z == pytest.approx([45, 50, 1]) and y == pytest.approx([50, 45, 1])
    # The camera turned clockwise, so the picture turns the other way: what was above is now on the left.
    turned = look_at((0, 0, 90, 1.0, 90), ORIGIN, 100, 100)
    assert turned.project(np.array([[0, 0.1, 0]]))[0] == pytest.approx([45, 50, 1])


def test_focal_lengths_of_shapenet_and_of_a_resized_image():
    camera = r2n2_camera((0, 0, 0, 0.8, 25), 1.0, ORIGIN, 137, 137)
    assert camera.intrinsics[0, 0] == pytest.approx(149.84, abs=0.05), "as fitted, whatever column 5 says"
    assert np.linalg.norm(camera.position) == pytest.approx(1.75 * 0.8)
    camera = look_at((0, 0, 0, 2.0, 90), ORIGIN, 100, 80).resized(50, 20)
    assert camera.intrinsics == pytest.approx(np.array([[25, 0, 25], [0, 12.5, 10], [0, 0, 1]]))
    assert (camera.width, camera.height) == (50, 20)


@pytest.mark.parametrize("row", [(0, 0, 0, 0.0, 40), (0, 0, 0, 1.0, 180), (0, 90, 0, 1.0, 40)])
def test_impossible_rows_crop_boxes_and_cubes_are_refused(row):
    with pytest.raises(ValueError, match="a camera needs distance"):
        look_at(row, ORIGIN, 100, 100)
    camera = look_at((20, 40, 0, 0.6, 60), ORIGIN, 100, 100)
    for matrices in ((camera.intrinsics.T, camera.extrinsics), (camera.intrinsics, camera.extrinsics.T)):
        with pytest.raises(ValueError, match="are they transposed"):
            Camera(*matrices, 100, 100)
    with pytest.raises(ValueError, match="inside the cube"):
        look_at((0, 0, 0, 0.5, 60), ORIGIN, 100, 100).crop_box(Cube((-1, -1, -1), 2.0))
    with pytest.raises(ValueError, match="does not fit into its cube"):
        foot_cube(np.array([[-0.2, 0, -0.05], [0.14, 0.12, 0.05]]))


def test_cubes_and_crop_boxes_by_hand():
    foot = foot_cube(np.array([[-0.12, 0, -0.05], [0.14, 0.12, 0.05]]))
    assert foot.centre == pytest.approx([0.01, 0.16, 0]) and foot.lower[1] == 0
    table = object_cube(np.array([[-0.4, -0.1, -0.2], [0.4, 0.1, 0.2]]))
    assert table.edge == pytest.approx(0.8) and table.centre == pytest.approx([0, 0, 0])
    # Centres, not corners: the first voxel of two lies a quarter of the edge from the lower corner.
    assert foot.voxel_centres(2)[0, 1, 0] == pytest.approx([foot.lower[0] + 0.08, 0.24, foot.lower[2] + 0.08])
    camera = look_at((0, 0, 0, 2.0, 90), ORIGIN, 100, 100)
    # The near face of the cube is 1 m away, where 90 degrees span 2 m: it fills the picture.
    cube = Cube((-1, -1, -1), 2.0)
    assert camera.crop_box(cube) == pytest.approx((0, 0, 100, 100))
    # Its lower quarter, up to y = -0.5, ends at row 100 on the near face and at 50 + 50 * 0.5 / 3 on the far one.
    middle = (100 + 50 + 25 / 3) / 2
    assert camera.crop_box(cube, 0.5) == pytest.approx((0, middle - 50, 100, middle + 50))
