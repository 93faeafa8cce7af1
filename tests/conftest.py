"""Shapes are checked throughout the tests: the hook has to stand before the first import of p2vlib."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from jaxtyping import install_import_hook

collect_ignore = ["browser"]  # `make test-browser`, which needs Chromium

# As in every type checker, an int is good where a float is asked for.
install_import_hook(["p2vlib", "p2vtools"], "beartype.beartype(conf=beartype.BeartypeConf(is_pep484_tower=True))")


if TYPE_CHECKING:
    from p2vlib.config import Config
    from p2vlib.data.dataset import Captures
    from p2vtools.fit.pretrained import PretrainedModel
    from p2vtools.synthesis.photos.trajectories import PhoneTrajectory


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty checkout: data, reports and work of the test go there."""
    monkeypatch.setenv("P2VLIB_HOME", str(tmp_path))
    return tmp_path


@dataclass(frozen=True)
class Smoke:
    """The smallest whole data set: really rendered, made once, then found."""

    config: Config
    captures: Captures
    objects: Path


@pytest.fixture(scope="session")
def smoke() -> Smoke:
    """The smoke data of the checkout itself, which the notebooks then find as well."""
    from p2vlib.config import from_params
    from p2vlib.data.dataset import load
    from p2vlib.provenance import data_folder
    from p2vtools.synthesis.collection import build_collection

    config = from_params("smoke")
    build_collection(config)
    return Smoke(config, load(config), data_folder("objects", "smoke"))


@pytest.fixture(scope="session")
def weights() -> PretrainedModel:
    """Those that come with the project."""
    from p2vtools.fit import pretrained

    return pretrained.load_pretrained()


@pytest.fixture(scope="session")
def right_foot(smoke: Smoke) -> Path:
    """The capture folder of a right foot of a person whom the weights were not learnt from."""
    from p2vlib.provenance import data_folder

    return data_folder("feet", "smoke") / "phone" / "person-test-0000-right"


@pytest.fixture
def capture_copy(right_foot: Path, tmp_path: Path) -> Path:
    """A copy of it, of four photos, to be changed."""
    return Path(shutil.copytree(right_foot, tmp_path / "capture"))


@pytest.fixture
def command_error(capsys: pytest.CaptureFixture[str]) -> Callable[..., str]:
    """Runs ``p2v`` with arguments that it has to refuse; returns the error, which is one line."""
    from p2vtools.cli import main

    def run(*arguments: object) -> str:
        capsys.readouterr()
        assert main([str(argument) for argument in arguments]) == 1
        error = capsys.readouterr().err
        assert error.startswith("p2v: ") and error.count("\n") == 1, error
        return error

    return run


@pytest.fixture(scope="session")
def furniture(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small archive in Pix3D's layout: one chair."""
    from tests.furniture import write_archive

    root = tmp_path_factory.mktemp("pix3d")
    write_archive(root)
    return root


@pytest.fixture
def own_furniture(furniture: Path, tmp_path: Path) -> Path:
    """A copy of it, to be spoilt."""
    return Path(shutil.copytree(furniture, tmp_path / "pix3d"))


def photographed(floor: str, views: int, pixels: int) -> tuple[list[bytes], PhoneTrajectory]:
    """Phone photos of an unseen person's left foot on that floor, in steady light."""
    import numpy as np

    from p2vtools.synthesis.feet.foot import make_feet
    from p2vtools.synthesis.feet.population import sample_population
    from p2vtools.synthesis.photos import trajectories
    from p2vtools.synthesis.photos.floors import Floor
    from p2vtools.synthesis.photos.rendering import render_phone_photos

    (person,) = sample_population(5, 1)
    rng = np.random.default_rng(3)
    walk = trajectories.sample_phone_trajectory(rng, views, np.array([0, 0.05, 0]), drift=False, pixels=pixels)
    walk = replace(walk, floor=Floor(floor, walk.floor.seed, walk.floor.rotation))
    return render_phone_photos(make_feet(person)["left"].leg_mesh, walk, 4), walk


@pytest.fixture(scope="session")
def on_wood() -> tuple[list[bytes], PhoneTrajectory]:
    """Enough to match photos with each other."""
    return photographed("wood", 14, 224)


@pytest.fixture(scope="session")
def on_plain() -> tuple[list[bytes], PhoneTrajectory]:
    """Nothing to match."""
    return photographed("plain", 6, 128)
