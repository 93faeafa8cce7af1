"""The networks: ``build(name, **overrides)`` makes every one of them from a frozen config.

``model(views, cameras) -> Reconstruction`` is the shape of all. Views are float, ``[batch, views, 3, height, width]``,
RGB in [0, 1]; volumes are ``[x, y, z]``.
"""

from __future__ import annotations

from .layout import fast_bf16, to_fast_layout, to_plain_layout
from .pix2vox import Pix2Vox, Pix2VoxConfig
from .published import Published, load_published
from .reconstruction import Reconstruction
from .registry import CONFIGS, build, configure, names

__all__ = [
    "CONFIGS",
    "Pix2Vox",
    "Pix2VoxConfig",
    "Published",
    "Reconstruction",
    "build",
    "configure",
    "fast_bf16",
    "load_published",
    "names",
    "to_fast_layout",
    "to_plain_layout",
]
