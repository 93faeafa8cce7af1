"""The networks: ``build(name, **overrides)`` makes each of them from a frozen config.

``model(views, cameras) -> Reconstruction`` is the signature of all; see `Network`.
"""

from __future__ import annotations

from p2vlib.models.network import Batch, Network, Reconstruction, fast_bf16, to_fast_layout
from p2vlib.models.pix2vox import Pix2Vox, Pix2VoxConfig
from p2vlib.models.registry import CONFIGS, build, check_names, configure, names
