"""The benchmarks: the scoring of a known silhouette, the list of mutants, and the tables of speed."""

import ast
import importlib
from pathlib import Path

import numpy as np
import pytest
import torch
import trimesh

from p2vlib import models


@pytest.fixture
def benchmark(monkeypatch):
    """Imports a script."""
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "benchmarks")
    return importlib.import_module


def test_silhouette_and_scored_region_of_boxes(benchmark):
    """A camera 1 m above the floor, 100 pixels a metre at that depth, looks down; image x is +x, image y is +z."""
    real = benchmark("real")
    down = np.array([[1.0, 0, 0, 0], [0, 0, 1, 0], [0, -1, 0, 1], [0, 0, 0, 1]])
    camera = real.Camera(np.array([[100.0, 0, 50], [0, 100, 40], [0, 0, 1]]), down, 100, 80)
    # Its top is 0.5 m below the camera: 0.2 m by 0.1 m are 40 by 20 pixels about the pixel (50, 40).
    box = trimesh.creation.box((0.2, 0.5, 0.1)).apply_translation([0, 0.25, 0])
    seen = real.silhouette(box.vertices, box.faces, camera)
    rows, columns = np.nonzero(seen)
    assert abs(columns.min() - 30) <= 1 and abs(columns.max() - 69) <= 1
    assert abs(rows.min() - 30) <= 1 and abs(rows.max() - 49) <= 1
    # A foot 0.4 m long with an ankle 0.1 m wide at its end: the leg hides what is below it, but not the low foot.
    sole = trimesh.creation.box((0.4, 0.06, 0.1)).apply_translation([0, 0.03, 0])
    ankle = trimesh.creation.box((0.1, 0.12, 0.1)).apply_translation([-0.15, 0.06, 0])
    scored = real.scored_region(trimesh.util.concatenate([sole, ankle]), np.array([-0.5, 0.0]), camera)
    assert scored[40, 50] and scored[40, 75]  # the forefoot
    assert not scored[40, 10]  # the leg, which leans back out of the foot
    assert scored[5, 50] and scored[75, 90]  # the floor
    half = np.zeros_like(seen)
    half[:, :50] = True
    assert real.masked_iou(seen, seen & half, np.ones_like(seen)) == pytest.approx(0.5, abs=0.03)
    assert real.masked_iou(seen, seen & half, half) == 1


def test_every_mutant_applies_to_the_code(benchmark):
    """The old text of each is in its file exactly once, its tests exist, and results are those of listed mutants."""
    listed = benchmark("mutants")
    mutants = listed.read_mutants()
    for name, mutant in mutants.items():
        text = listed.mutate((listed.ROOT / mutant["file"]).read_text("utf-8"), mutant)
        ast.parse(text, name)
        for file, _, test in (path.partition("::") for path in mutant["tests"]):
            assert f"def {test}" in (listed.ROOT / file).read_text("utf-8"), name
    assert len(mutants) >= 60 and listed.read_results().keys() <= mutants.keys()
    with pytest.raises(ValueError, match=r"the old text occurs 2 times.*adapt the mutant"):
        listed.mutate("aa", {"file": "a.py", "old": "a", "new": "b"})


def test_augmentations_agree_and_a_recording_uses_the_data_of_its_own_checkout(
    benchmark, monkeypatch, capsys, tmp_path
):
    monkeypatch.setattr("sys.argv", ["", *"--batch 1 --repeats 1 --threads 1".split()])
    threads = torch.get_num_threads()
    benchmark("bench_input").main()  # ends with an error where the two differ
    torch.set_num_threads(threads)
    assert "ratio=" in capsys.readouterr().out
    recording, given = benchmark("compare_checkouts"), {}
    (tmp_path / "checkout").mkdir()
    monkeypatch.setenv("P2VLIB_HOME", "/elsewhere")
    monkeypatch.setattr(recording.subprocess, "run", lambda line, **options: given.update(options))
    recording.record(tmp_path, tmp_path, None, ["batches"])
    assert given["env"]["P2VLIB_HOME"] == str(given["cwd"]) == str(tmp_path.resolve() / "checkout")


def test_speed_tables_have_one_row_for_each_network_and_size(benchmark, monkeypatch, capsys):
    """At tiny sizes: the view-by-view network is ours, and every ratio is a positive number."""
    published, gpu, scaling = map(benchmark, ("bench_published", "bench_gpu", "bench_scaling"))
    model = models.build("pix2vox-f-narrow").eval()
    views = torch.rand(1, 3, 3, 96, 96)
    with torch.no_grad():
        assert torch.allclose(published.forward_by_view(model, views).probability, model(views).probability, atol=1e-5)
    monkeypatch.setattr("sys.argv", ["", *"--networks pix2vox-f-narrow --samples 1 --views 2 --repeats 1".split()])
    gpu.main()
    (row,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| pix2vox-f-narrow")]
    assert float(row.split(" | ")[3]) > 0
    assert gpu.example_cameras(1, 2).shape == (1, 2, 3, 7)
    table = scaling.measure("voxelise, edge", [8, 16], 1)
    assert table["size"].tolist() == [8, 16] and (table.seconds > 0).all()
    assert len(scaling.draw(table).axes[0].lines) == 2
