"""The networks: ``build(name, **overrides)`` makes every one of them from a frozen config.

``model(views, cameras) -> Reconstruction`` is the shape of all. Views are float, ``[batch, views, 3, height, width]``,
RGB in [0, 1]; volumes are ``[x, y, z]``.
"""

from __future__ import annotations

from p2vlib.models.layout import fast_bf16, to_fast_layout, to_plain_layout
from p2vlib.models.pix2vox import Pix2Vox, Pix2VoxConfig
from p2vlib.models.published import Published, load_published
from p2vlib.models.reconstruction import Reconstruction
from p2vlib.models.registry import CONFIGS, build, configure, names

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
