"""Published checkpoints: written in the published layout, identified, loaded, and refused when hostile."""

from __future__ import annotations

import re
import zipfile

import pytest
import torch

from p2vlib import models
from p2vlib.files import FileError
from p2vlib.training import checkpoints
from p2vtools import limits
from p2vtools.archives import published
from p2vtools.archives.published import load_published
from p2vtools.cli import main


def checkpoint_of(model: models.Pix2Vox, prefix: str) -> dict:
    """What the published code would have saved of ``model``: blue-first trunk, solver states, module. prefixes."""
    checkpoint: dict = {"epoch_idx": 249, "best_iou": 0.66, "encoder_solver_state_dict": {"state": {}}}
    for part in published.PARTS:
        network = getattr(model, part)
        state = dict(network.state_dict()) if network is not None else {"layer1.0.weight": torch.zeros(32, 1, 4, 4, 4)}
        if part == "encoder":
            first = next(iter(state))
            state[first] = state[first].flip(1)
        counted = {name: value for name, value in state.items() if not name.endswith("num_batches_tracked")}
        checkpoint[f"{part}_state_dict"] = {prefix + name: value for name, value in counted.items()}
    return checkpoint


@pytest.mark.parametrize(("name", "prefix", "legacy"), [("pix2vox-f", "", False), ("pix2vox++-f", "module.", True)])
def test_a_published_file_gives_the_network_in_it(tmp_path, name: str, prefix: str, legacy: bool) -> None:
    torch.manual_seed(1)
    source, path = models.build(name), tmp_path / "published.pth"
    torch.save(checkpoint_of(source, prefix), path, _use_new_zipfile_serialization=not legacy)
    found = load_published(path)
    assert found.name == name and not found.model.training
    assert found.unused == ("best_iou", "encoder_solver_state_dict", "epoch_idx", "refiner_state_dict")
    for key, value in source.state_dict().items():
        assert torch.equal(found.model.state_dict()[key], value), key
    views = torch.rand(1, 1, 3, 224, 224)
    with torch.no_grad():
        assert torch.allclose(found.model(views).probability, source.eval()(views).probability, atol=1e-6)


@pytest.mark.parametrize("name", published.PUBLISHED)
def test_all_four_are_identified_by_their_shapes(tmp_path, name: str) -> None:
    with torch.device("meta"):
        model = models.build(name)
    assert published._identify(tmp_path, model.state_dict())[0] == name


def test_it_is_converted_to_safetensors_and_loaded_as_finished_weights(tmp_path, capsys) -> None:
    torch.manual_seed(2)
    source, path, kept = models.build("pix2vox++-f"), tmp_path / "published.pth", tmp_path / "weights.safetensors"
    torch.save(checkpoint_of(source, "module."), path)
    assert main(["convert", str(path), "--out", str(kept)]) == 0
    output = capsys.readouterr().out
    assert "pix2vox++-f" in output and "encoder_solver_state_dict" in output
    other = models.build("pix2vox++-f")
    checkpoints.load_weights(other, kept)
    for key, value in source.state_dict().items():
        assert torch.equal(other.state_dict()[key], value), key
    again = load_published(kept)
    assert again.name == "pix2vox++-f" and again.unused == ()
    assert torch.equal(again.model.state_dict()["decoder.layer5.0.weight"], source.decoder.layer5[0].weight)
    kept.write_bytes(kept.read_bytes()[:-50])
    with pytest.raises(ValueError, match=f"{re.escape(str(kept))}: .*expected a converted checkpoint, a complete safe"):
        load_published(kept)


def test_the_error_for_another_network_names_the_nearest_and_the_difference(tmp_path) -> None:
    path = tmp_path / "other.pth"
    checkpoint = checkpoint_of(models.build("pix2vox++-f"), "")
    checkpoint["decoder_state_dict"]["layer5.0.weight"] = torch.zeros(8, 2, 1, 1, 1)
    torch.save(checkpoint, path)
    sentence = r"nearest is pix2vox\+\+-f: .* size mismatch for decoder.layer5.0.weight: .*\[8, 2, 1, 1, 1\]"
    with pytest.raises(ValueError, match=sentence):
        load_published(path)
    checkpoint["decoder_state_dict"]["layer5.0.weight"] = torch.zeros(8, 1, 1, 1, 1)
    del checkpoint["merger_state_dict"]
    torch.save(checkpoint, path)
    with pytest.raises(ValueError, match=r"nearest is pix2vox\+\+-f: .*Missing key.*merger.layer1.0.weight"):
        load_published(path)


class Hostile:
    """Pickles to a call of a function, as an attacker's file would."""

    def __reduce__(self):
        return print, ("run from a file",)


def test_a_hostile_file_is_refused_and_not_executed(tmp_path, capsys) -> None:
    path = tmp_path / "hostile.pth"
    torch.save({"encoder_state_dict": Hostile()}, path)
    with pytest.raises(ValueError, match=f"{re.escape(str(path))}: not a complete checkpoint of tensors"):
        load_published(path)
    assert "run from a file" not in capsys.readouterr().out


def test_files_that_are_no_checkpoints_are_refused(tmp_path) -> None:
    path = tmp_path / "a.pth"
    with pytest.raises(FileError, match="no such file; expected a published checkpoint"):
        load_published(path)
    for content, message in (
        ([1, 2], "holds a list; expected"),
        ({"encoder_state_dict": {"a": 3}}, "encoder_state_dict is not a dictionary of tensors"),
    ):
        torch.save(content, path)
        with pytest.raises(ValueError, match=message):
            load_published(path)
    for damaged in (b"no pickle at all", path.read_bytes()[:-200]):
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="not a complete checkpoint"):
            load_published(path)


def test_an_archive_above_the_size_limit_is_refused_before_it_is_unpacked(tmp_path, monkeypatch) -> None:
    path = tmp_path / "bomb.pth"
    monkeypatch.setattr(limits, "CHECKPOINT_BYTES", 2**20)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("archive/data.pkl", bytes(2**22))
    assert path.stat().st_size < 2**16
    with pytest.raises(ValueError, match="GiB unpacked; expected at most"):
        load_published(path)
