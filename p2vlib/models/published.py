"""Published checkpoints of Pix2Vox and Pix2Vox++ (``.pth``): identifies the network in a file and loads it.

A published file is a dictionary: ``encoder_state_dict``, ``decoder_state_dict``, ``merger_state_dict`` and
``refiner_state_dict``, the states of their optimisers, and the progress of the training. Names start with ``module.``
where it was saved from several GPUs. The networks were trained on images as OpenCV reads them, BGR; ours are RGB, so
the channels of the first convolution are reversed. Nothing in a file is executed: torch reads tensors and plain
containers, and rejects the rest.
"""

from __future__ import annotations

import zipfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from p2vlib.files import write_atomically
from p2vlib.models.network import to_fast_layout
from p2vlib.models.pix2vox import Pix2Vox
from p2vlib.models.registry import build

PUBLISHED = ("pix2vox-f", "pix2vox-a", "pix2vox++-f", "pix2vox++-a")

PARTS = ("encoder", "decoder", "merger", "refiner")

SIZE_LIMIT = 4 * 2**30
"""Bytes; the largest published file, Pix2Vox-A with its optimisers, is a third of it."""


@dataclass(frozen=True, eq=False)
class Published:
    """A network with published weights, in evaluation mode, on the CPU."""

    name: str
    """The name that `build` takes."""
    model: Pix2Vox
    unused: tuple[str, ...]
    """Entries of the file that are not used: optimiser states, training progress, the refiner that F does not use."""

    def save(self, path: str | Path) -> None:
        """Writes the weights as safetensors, as a finished training does: `checkpoints.load_weights` reads them."""
        tensors = {f"model.{name}": value.contiguous() for name, value in self.model.state_dict().items()}
        metadata = {"name": self.name, "recipe": "{}", "history": "{}"}
        write_atomically(Path(path), lambda partial: save_file(tensors, partial, metadata))


def load_published(path: str | Path) -> Published:
    """The network in a published checkpoint, or in what `Published.save` wrote.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: not a checkpoint that torch reads without executing anything; none of the four networks.
    """
    path = Path(path)
    if path.suffix == ".safetensors":
        return _load_converted(path)
    checkpoint = _read(path)
    states = {part: _part_of(path, checkpoint, part) for part in PARTS if f"{part}_state_dict" in checkpoint}
    name, model = _identify(path, states)
    used = [part for part in PARTS if _state_of(model, part)]
    first = f"{next(model.encoder.named_children())[0]}.0.weight"
    states["encoder"][first] = states["encoder"][first].flip(1)
    for part in used:
        # Old versions of torch did not count batches; the count only matters to a norm without momentum.
        counts = {key: torch.zeros((), dtype=torch.long) for key in _state_of(model, part) if _is_count(key)}
        values = {key: value.float() if value.is_floating_point() else value for key, value in states[part].items()}
        getattr(model, part).load_state_dict({**counts, **values}, assign=True)
    unused = sorted(set(checkpoint) - {f"{part}_state_dict" for part in used})
    return Published(name, to_fast_layout(model).eval(), tuple(unused))


def _load_converted(path: Path) -> Published:
    try:
        with safe_open(path, "pt") as stored:
            name = (stored.metadata() or {}).get("name", "")
            state = {key.removeprefix("model."): stored.get_tensor(key) for key in stored.keys()}  # noqa: SIM118
    except FileNotFoundError:
        raise FileNotFoundError(f"{path}: no such file; expected a converted checkpoint (.safetensors)") from None
    except (SafetensorError, OSError) as error:
        raise ValueError(f"{path}: not a complete safetensors file ({error})") from None
    if name not in PUBLISHED:
        raise ValueError(f"{path}: its metadata name the network {name!r}; expected a file written by `p2v convert`")
    model = _without_values(name)
    try:
        model.load_state_dict(state, assign=True)
    except RuntimeError as error:
        raise ValueError(f"{path}: not the weights of {name} ({str(error).splitlines()[1].strip()})") from None
    return Published(name, to_fast_layout(model).eval(), ())


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise FileNotFoundError(f"{path}: no such file; expected a published checkpoint (.pth)")
    size = path.stat().st_size
    if zipfile.is_zipfile(path):
        try:
            with zipfile.ZipFile(path) as archive:
                size = sum(entry.file_size for entry in archive.infolist())
        except zipfile.BadZipFile as error:
            raise ValueError(f"{path}: a broken zip ({error}); expected a published checkpoint (.pth)") from None
    if size > SIZE_LIMIT:
        raise ValueError(f"{path}: {size / 2**30:.1f} GiB unpacked; a published checkpoint has at most 4")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's readers raise many types of errors, and advise to trust the file
        raise ValueError(f"{path}: not a complete checkpoint of tensors and plain numbers alone; not loaded") from error
    if not isinstance(checkpoint, dict) or not all(isinstance(key, str) for key in checkpoint):
        raise ValueError(f"{path}: holds a {type(checkpoint).__name__}; expected a dict with encoder_state_dict …")
    return checkpoint


def _part_of(path: Path, checkpoint: Mapping[str, Any], part: str) -> dict[str, Tensor]:
    state = checkpoint[f"{part}_state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise ValueError(f"{path}: its {part}_state_dict is not a dictionary of tensors")
    return {str(name).removeprefix("module."): value for name, value in state.items()}


def _state_of(model: Pix2Vox, part: str) -> dict[str, Tensor]:
    network: nn.Module | None = getattr(model, part)
    return dict(network.state_dict()) if network is not None else {}


def _is_count(name: str) -> bool:
    return name.endswith("num_batches_tracked")


def _without_values(name: str) -> Pix2Vox:
    """The network ``name`` on the meta device: shapes without values."""
    with torch.device("meta"):
        return build(name)


def _identify(path: Path, states: Mapping[str, Mapping[str, Tensor]]) -> tuple[str, Pix2Vox]:
    """The network, without values, that has the names and shapes of the file; the error names the nearest one."""
    differences = {}
    for name in PUBLISHED:
        model = _without_values(name)
        differences[name] = [
            difference
            for part in PARTS
            if (expected := _state_of(model, part))
            for difference in _differences(part, expected, states.get(part, {}))
        ]
        if not differences[name]:
            return name, model
    nearest = min(differences, key=lambda name: len(differences[name]))
    raise ValueError(f"{path}: none of {', '.join(PUBLISHED)}; the nearest is {nearest}, but {differences[nearest][0]}")


def _differences(part: str, expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> list[str]:
    wanted = {name: tuple(value.shape) for name, value in expected.items() if not _is_count(name)}
    shapes = {name: tuple(value.shape) for name, value in found.items() if not _is_count(name)}
    return [
        f"{part}.{name} is {shapes.get(name, 'missing')} where {wanted.get(name, 'nothing')} is expected"
        for name in [*wanted, *(shapes.keys() - wanted.keys())]
        if shapes.get(name) != wanted.get(name)
    ]
