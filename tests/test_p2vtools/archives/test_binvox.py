"""Files of voxel grids against the binvox specification; invalid files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from p2vlib.geometry.frames import Cube
from p2vlib.geometry.grids import VoxelGrid
from p2vtools.archives.binvox import read_binvox, write_binvox

UNIT = Cube((0.0, 0.0, 0.0), 1.0)
HEADER = b"#binvox 1\ndim 2 2 2\ntranslate 0 0 0\nscale 1\ndata\n"


def test_the_bytes_of_a_small_file(tmp_path: Path) -> None:
    """y runs fastest, then z, then x: [0,1,0] is voxel 1, [0,0,1] voxel 2, [1,0,0] voxel 4."""
    volume = np.zeros((2, 2, 2), dtype=bool)
    volume[0, 1, 0] = volume[0, 0, 1] = volume[1, 0, 0] = True
    path = tmp_path / "tiny.binvox"
    write_binvox(path, VoxelGrid(volume, Cube((-0.5, 0.0, 0.25), 0.32)))
    header = b"#binvox 1\ndim 2 2 2\ntranslate -0.5 0 0.25\nscale 0.32\ndata\n"
    assert path.read_bytes() == header + bytes([0, 1, 1, 2, 0, 1, 1, 1, 0, 3])
    back = read_binvox(path)
    assert np.array_equal(back.volume, volume)
    assert back.cube == Cube((-0.5, 0.0, 0.25), 0.32)


@pytest.mark.parametrize(("side", "value", "counts"), [(8, 0, [255, 255, 2]), (8, 1, [255, 255, 2]), (1, 1, [1])])
def test_long_runs_are_split_at_255(tmp_path: Path, side: int, value: int, counts: list[int]) -> None:
    path = tmp_path / "long.binvox"
    write_binvox(path, VoxelGrid(np.full((side,) * 3, bool(value)), UNIT))
    runs = path.read_bytes().partition(b"data\n")[2]
    assert list(runs[::2]) == [value] * len(counts)
    assert list(runs[1::2]) == counts


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(0, 2**32 - 1), st.integers(1, 17), st.tuples(*[st.floats(-1e6, 1e6)] * 3), st.floats(1e-6, 1e6))
def test_round_trips_are_exact(tmp_path: Path, seed: int, size: int, lower: tuple, edge: float) -> None:
    rng = np.random.default_rng(seed)
    grid = VoxelGrid(rng.random((size,) * 3) < rng.random(), Cube(lower, edge))
    write_binvox(tmp_path / "grid.binvox", grid)
    back = read_binvox(tmp_path / "grid.binvox")
    assert np.array_equal(back.volume, grid.volume) and back.cube == grid.cube


def test_in_version_2_every_value_above_zero_is_occupied(tmp_path: Path) -> None:
    path = tmp_path / "two.binvox"
    path.write_bytes(HEADER.replace(b"#binvox 1", b"#binvox 2") + bytes([0, 3, 17, 1, 255, 2, 0, 2]))
    assert read_binvox(path).volume.transpose(0, 2, 1).ravel().tolist() == [False] * 3 + [True] * 3 + [False] * 2


@pytest.mark.parametrize("cut", ["count", "pair", "layers"])
def test_missing_empty_voxels_at_the_end_give_a_warning(tmp_path: Path, cut: str) -> None:
    volume = np.zeros((20, 20, 20), dtype=bool)
    volume[4:9, :5, 3:17] = True
    path = tmp_path / "phone.binvox"
    write_binvox(path, VoxelGrid(volume, UNIT))
    content = path.read_bytes()
    short = {"count": content[:-1] + bytes([content[-1] - 1]), "pair": content[:-2], "layers": content[:-16]}[cut]
    path.write_bytes(short)
    with pytest.warns(UserWarning, match=r"phone\.binvox: \d+ voxels are missing at the end; assumed empty"):
        assert np.array_equal(read_binvox(path).volume, volume)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "expected '#binvox 1'"),
        (b"solid cube\nfacet", "starts with b'solid cube"),
        (HEADER.replace(b"binvox 1", b"binvox 3") + bytes([0, 8]), "expected '#binvox 1' or '#binvox 2'"),
        (b"#binvox 1\ndim 2 2 2\ntranslate 0 0 0\nscale 1\n", "no line 'data'"),
        (HEADER.replace(b"dim 2 2 2\n", b"") + bytes([0, 8]), "expected dim d d d"),
        (HEADER.replace(b"scale 1", b"scale one") + bytes([0, 8]), "expected dim d d d"),
        (HEADER.replace(b"2 2 2", b"2 2 3") + bytes([0, 12]), r"dim \[2, 2, 3\]"),
        (HEADER.replace(b"2 2 2", b"-2 -2 -2") + bytes([0, 8]), r"dim \[-2, -2, -2\]"),
        (HEADER.replace(b"2 2 2", b"513 513 513") + bytes([0, 8]), "d from 1 to 512"),
        (HEADER.replace(b"scale 1", b"scale 0") + bytes([0, 8]), "a positive edge"),
        (HEADER.replace(b"translate 0", b"translate nan") + bytes([0, 8]), "finite corner"),
        (HEADER + bytes([0, 4, 1, 5]), "add up to 9 voxels; dim 2 expects 8"),
        (HEADER + bytes([0, 4, 1, 3]), "add up to 7 voxels; dim 2 expects 8"),
        (HEADER + bytes([0, 4, 1]), "middle of a"),
        (HEADER + bytes([0, 4, 1, 0, 0, 4]), "runs of no voxels"),
        (HEADER + bytes([0, 4, 2, 4]), "values above 1"),
    ],
)
def test_invalid_files_are_refused_with_their_path(tmp_path: Path, content: bytes, message: str) -> None:
    path = tmp_path / "bad.binvox"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message) as error:
        read_binvox(path)
    assert str(error.value).startswith(str(path))


def test_a_file_cut_off_inside_the_solid_is_refused(tmp_path: Path) -> None:
    ball = np.linalg.norm(UNIT.voxel_centres(16) - 0.5, axis=-1) < 0.4
    path = tmp_path / "cut.binvox"
    write_binvox(path, VoxelGrid(ball, UNIT))
    content = path.read_bytes()
    half = content.index(b"data\n") + (len(content) - content.index(b"data\n")) // 2
    for length in range(half - 12, half + 12):
        path.write_bytes(content[:length])
        with pytest.raises(ValueError, match="cut off"):
            read_binvox(path)
