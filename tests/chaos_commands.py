"""The commands that `tests.chaos` disturbs."""

import re
import shutil
from collections.abc import Callable
from pathlib import Path

from p2vlib import config, models, provenance, training
from p2vlib.data import dataset
from p2vtools import cli, executor
from p2vtools.fit import pretrained
from p2vtools.study import report, runner, sweep  # noqa: F401 (imported once, before all commands are forked)
from p2vtools.synthesis import collection, objects
from p2vtools.synthesis.mat import MATS
from p2vtools.viewer import app, sample
from tests.mats import mat_image, write_photos
from tests.notebooks import ANSWER, EVALUATION, write_notebook

FIGURE = """
import matplotlib.pyplot as plt
run.save_table(pd.DataFrame(people), "people", "People.")
figure, axes = plt.subplots()
axes.plot([1, views])
run.save_figure(figure, "line", "A line.")
plt.close()
"""


def call(command: str) -> int:
    return cli.main(command.split())


def smallest_data() -> None:
    """Makes the scale smoke of this process smaller: one category of objects, one person in each split."""
    for synset in [*objects.FAMILIES][1:]:
        del objects.FAMILIES[synset]
    feet = config.FeetData(1, 1, 1, views=2, studio_samples=1, phone_samples=1)
    config.PRESETS["smoke"] = config.Config(feet=feet, objects=config.ObjectData(1, 1, 1, views=2, samples=1))


def make_data() -> None:
    smallest_data()
    executor.available_workers = lambda: 1  # workers of dask would import everything again
    runner.build_data("smoke")


def prepare_photos() -> None:
    """Photos of an empty mat."""
    write_photos(Path("photos"), [mat_image(MATS["a3"], azimuth) for azimuth in range(0, 300, 60)])
    shutil.copytree(provenance.ROOT / "data" / "weights", "data/weights")


def prepare_capture() -> None:
    """A capture folder, and a scan."""
    job = collection.CaptureJob("foot", "test", 3, 1, views=4, studio_samples=1, phone_samples=3)
    collection._capture_foot(job, collection._make_feet(job)["left"], "phone", Path("capture"))
    shutil.copy("capture/model.obj", "scan.obj")
    shutil.copytree(provenance.ROOT / "data" / "weights", "data/weights")


def train() -> None:
    smallest_data()
    feet = dataset.load(config.from_params("smoke")).select(dataset="feet", look="phone", cube="metric")
    recipe = config.Training(steps=30, steps_per_epoch=5, batch=4, views=2)
    network = models.build(
        "pix2vox-f-narrow", trunk=(4, 4, 8, 8), head=((8, 1, 1),), decoder=(16, 8, 8, 4), mixing=False
    )
    training.train(network, feet.select(split="train"), feet.select(split="validation"), recipe, Path("trained"))


def save_from_viewer() -> None:
    weights = pretrained.load_pretrained()
    networks = {pretrained.NAME: (weights.model, weights.threshold)}
    viewer = app.App(sample.Predictions(sample.load_samples(Path("capture")), networks), views=2)
    for suffix in (".glb", ".stl", ".binvox"):
        path = Path(f"saved/foot{suffix}")
        path.unlink(missing_ok=True)  # the viewer overwrites nothing
        viewer.controls.file.value, viewer.controls.format.value = "saved/foot", suffix
        viewer.controls.save.click()
        if not path.exists():
            raise ValueError(re.sub(r"<[^>]+>", "", viewer.saved.value))


def prepare_notebook() -> None:
    cells = (EVALUATION.format(name="01_small"), FIGURE, ANSWER)
    write_notebook(Path("notebooks/01_small.ipynb"), 'scale = "smoke"\nseed = 0\nviews = 4\n', *cells)


def prepare_report() -> None:
    prepare_notebook()
    runner.run_notebooks("smoke")


COMMANDS: dict[str, tuple[Callable[[], object], Callable[[], object]]] = {
    "data": (make_data, lambda: None),
    "training": (train, make_data),
    "capture": (lambda: call("capture photos --mat a3 --side left --out made"), prepare_photos),
    "clean": (lambda: call("clean scan.obj --out cleaned"), prepare_capture),
    "file": (lambda: call("capture capture --into tree --subject p1 --side left --consent yes"), prepare_capture),
    "reconstruct": (lambda: call("reconstruct capture --size 32 --force --out foot.obj"), prepare_capture),
    "app": (save_from_viewer, prepare_capture),
    "study": (lambda: call("study"), prepare_notebook),
    "report": (lambda: call("report smoke"), prepare_report),
    "sweep": (lambda: call("study -p 01.views=1,2 --jobs 2"), prepare_notebook),
}
"""Name -> what is disturbed, which returns an exit status or nothing, and what fills the place before it. The place is
the current directory and ``P2VLIB_HOME``."""
