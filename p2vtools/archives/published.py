"""Published checkpoints of Pix2Vox and Pix2Vox++ (``.pth``): identifies the network in a file and loads it.

A published file is a dictionary: ``encoder_state_dict``, ``decoder_state_dict``, ``merger_state_dict`` and
``refiner_state_dict``, the states of their optimisers, and the progress of the training. Names start with ``module.``
where it was saved from several GPUs. The networks were trained on images as OpenCV reads them, BGR; ours are RGB, so
the channels of the first convolution are reversed. Nothing in a file is executed: torch reads tensors and plain
containers, and rejects the rest.
"""

from __future__ import annotations

import zipfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from p2vlib.files import FileError, check_size, reading, write_atomically
from p2vlib.models.network import to_fast_layout
from p2vlib.models.pix2vox import Pix2Vox
from p2vlib.models.registry import build
from p2vtools import limits

PUBLISHED = ("pix2vox-f", "pix2vox-a", "pix2vox++-f", "pix2vox++-a")

PARTS = ("encoder", "decoder", "merger", "refiner")


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
        FileError: no such file, not a checkpoint that torch reads without executing anything, or none of the networks.
    """
    path, unused = Path(path), set[str]()
    check_size(path, limits.CHECKPOINT_BYTES, "expected a published checkpoint (.pth), or a converted one")
    if path.suffix == ".safetensors":
        with reading(path, "expected a converted checkpoint, a complete safetensors file"):
            state = {key.removeprefix("model."): value for key, value in load_file(path).items()}
        name, model = _identify(path, state)
    else:
        checkpoint = _read(path)
        name, model = _identify(path, {key: value for part in PARTS for key, value in _part_of(path, checkpoint, part)})
        first = next(model.encoder.trunk.parameters())
        first.data = first.data.flip(1)
        unused = set(checkpoint) - {f"{key.partition('.')[0]}_state_dict" for key in model.state_dict()}
    return Published(name, to_fast_layout(model.float()).eval(), tuple(sorted(unused)))


def _read(path: Path) -> dict[str, Any]:
    if zipfile.is_zipfile(path):
        with reading(path, "expected a published checkpoint (.pth)"), zipfile.ZipFile(path) as archive:
            size, limit = sum(entry.file_size for entry in archive.infolist()), limits.CHECKPOINT_BYTES
        if size > limit:
            raise FileError(path, f"{size / 2**30:.1f} GiB unpacked", f"expected at most {limit / 2**30:.0f} GiB")
    try:
        checkpoint = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch's readers raise many types of errors, and advise to trust the file
        raise FileError(
            path, "not a complete checkpoint of tensors and plain numbers alone", "expected the published .pth"
        ) from error
    if not isinstance(checkpoint, dict) or not all(isinstance(key, str) for key in checkpoint):
        raise FileError(path, f"holds a {type(checkpoint).__name__}", "expected a dict with encoder_state_dict …")
    return checkpoint


def _part_of(path: Path, checkpoint: Mapping[str, Any], part: str) -> Iterator[tuple[str, Tensor]]:
    state = checkpoint.get(f"{part}_state_dict", {})
    if not isinstance(state, Mapping) or not all(isinstance(value, Tensor) for value in state.values()):
        raise FileError(path, f"its {part}_state_dict is not a dictionary of tensors", "expected one")
    for name, value in state.items():
        yield f"{part}.{str(name).removeprefix('module.')}", value


def _identify(path: Path, state: Mapping[str, Tensor]) -> tuple[str, Pix2Vox]:
    """The network that takes the names and shapes of ``state``, with its values; the error names the nearest one."""
    failures = {}
    for name in PUBLISHED:
        with torch.device("meta"):  # shapes without values
            model = build(name)
        # Old versions of torch did not count batches; the count only matters to a norm without momentum.
        counts = {key: torch.tensor(0) for key in model.state_dict() if key.endswith("num_batches_tracked")}
        parts = {key.partition(".")[0] for key in model.state_dict()}
        values = {key: value for key, value in state.items() if key.partition(".")[0] in parts}
        try:
            model.load_state_dict({**counts, **values}, assign=True)
            return name, model
        except Exception as error:  # also for sparse and quantised tensors
            failures[name] = " ".join(str(error).split())
    nearest = min(failures, key=lambda name: len(failures[name]))
    raise FileError(path, f"none of {', '.join(PUBLISHED)}", f"the nearest is {nearest}: {failures[nearest][:300]}")
