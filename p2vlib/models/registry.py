"""The registry: the project's networks by name, and networks from elsewhere as ``package.module:ClassName``."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import fields, replace
from typing import Any

from torch import nn

from p2vlib.config import check_choices
from p2vlib.models.attsets import AttSets, AttSetsConfig
from p2vlib.models.network import OLD_NAMES, Network, to_fast_layout
from p2vlib.models.pix2vox import Pix2Vox, Pix2VoxConfig
from p2vlib.models.pix2vox_pp import Pix2VoxPP, Pix2VoxPPConfig
from p2vlib.models.psgn import PSGN, PSGNConfig
from p2vlib.models.r2n2 import R2N2, R2N2Config
from p2vlib.models.unprojection import Unprojection, UnprojectionConfig

NetworkConfig = Pix2VoxConfig | R2N2Config | PSGNConfig | UnprojectionConfig

F_PARTS: dict[str, Any] = dict(decoder=(128, 64, 32, 8), refiner=None)
"""How F differs from A, in Pix2Vox and in Pix2Vox++: a narrower decoder and no refiner."""

# Narrow networks learn in minutes on two processor cores. Nothing is frozen, since a randomly initialised trunk has
# nothing worth keeping. The 12x12 map of a 96-pixel photo stays 4x4 to the end, since the positions of a foot's tip and
# heel in the photo determine its length and pose. With the third and fourth blocks 1.5 times as wide, a step
# costs a quarter more, and after the same number of steps validation objects are reconstructed less well.
NARROW: dict[str, Any] = dict(
    image_size=96,
    freeze_trunk=False,
    mixing=True,
    recurrent_width=64,
    decoder=(96, 64, 16, 8),
    merger=(8, 1),
    merger_stride=2,
    refiner=(8, 16, 32, 256),
    refiner_strided=True,
)
A_NARROW = Pix2VoxConfig(trunk=(16, 32, 64, 128), head=((128, 3, 1), (128, 3, 2), (96, 1, 1)), **NARROW)
PP_A_NARROW = Pix2VoxPPConfig(trunk="resnet18", head=((128, 3, 1), (128, 3, 3), (96, 1, 1)), **NARROW)
R2N2_NARROW: dict[str, Any] = dict(
    image_size=96, encoder=(16, 32, 48, 64, 64, 64), features=256, decoder=(32, 32, 16, 8), norm=True
)

CONFIGS: dict[str, NetworkConfig] = {
    "pix2vox-f": Pix2VoxConfig(head=((512, 1, 1), (256, 3, 4), (128, 3, 1)), **F_PARTS),
    "pix2vox-a": Pix2VoxConfig(),
    "pix2vox++-f": Pix2VoxPPConfig(trunk="resnet18", head=((128, 3, 1), (64, 3, 2), (64, 3, 2)), **F_PARTS),
    "pix2vox++-a": Pix2VoxPPConfig(),
    "pix2vox-lstm": Pix2VoxConfig(recurrent="convlstm3d"),
    "pix2vox-f-narrow": replace(A_NARROW, head=((128, 1, 1), (128, 3, 2), (96, 2, 1)), refiner=None),
    "pix2vox-a-narrow": A_NARROW,
    "pix2vox++-f-narrow": replace(PP_A_NARROW, head=((128, 1, 1), (128, 3, 3), (96, 1, 1)), refiner=None),
    "pix2vox++-a-narrow": PP_A_NARROW,
    "pix2vox-lstm-narrow": replace(A_NARROW, recurrent="convlstm3d"),
    "3d-r2n2": R2N2Config(),
    "3d-r2n2-narrow": R2N2Config(**R2N2_NARROW),
    "attsets": AttSetsConfig(),
    "attsets-narrow": AttSetsConfig(**R2N2_NARROW),
    "psgn": PSGNConfig(),
    "psgn-narrow": PSGNConfig(image_size=96, encoder=(16, 32, 64, 128, 128, 128), hidden=512, decoder=(64, 32)),
    "unprojection": UnprojectionConfig(),
}

NETWORKS: dict[type, Callable[[Any], nn.Module]] = {
    Pix2VoxConfig: Pix2Vox,
    Pix2VoxPPConfig: Pix2VoxPP,
    R2N2Config: R2N2,
    AttSetsConfig: AttSets,
    PSGNConfig: PSGN,
    UnprojectionConfig: Unprojection,
}


def names() -> tuple[str, ...]:
    """The names of the project's own networks, as `build` takes them."""
    return tuple(CONFIGS)


def check_names(*given: str) -> None:
    """Checks that `build` knows each of the ``given`` names.

    Raises:
        ValueError: neither a name in `CONFIGS` nor ``package.module:ClassName`` of an importable ``nn.Module``.
    """
    for name in given:
        if ":" in name:
            network = _import_class(name)
            if not (isinstance(network, type) and issubclass(network, nn.Module)):
                raise ValueError(f"{name} is no network: expected a subclass of torch.nn.Module")
        else:
            configure(name)


def configure(name: str, **overrides: Any) -> NetworkConfig:
    """The config of ``name`` with ``overrides``; lists, as JSON gives them, become tuples.

    Raises:
        ValueError: an unknown name or field, or a value that is not one of a few.
    """
    name = OLD_NAMES.get(name, name)
    if name not in CONFIGS:
        raise ValueError(
            f"no network is called {name!r}; expected one of {', '.join(CONFIGS)}, or package.module:ClassName"
        )
    known = [field.name for field in fields(CONFIGS[name])]
    unknown = sorted(set(overrides) - set(known))
    if unknown:
        raise ValueError(f"{name} has no setting {', '.join(unknown)}; it has {', '.join(known)}")
    check_choices(type(CONFIGS[name]), overrides)
    return replace(CONFIGS[name], **{key: _tuples(value) for key, value in overrides.items()})


def build(name: str, **overrides: object) -> Any:
    """A new network on the CPU in the fast layout, initialised from torch's random state.

    Args:
        name: one of `names`, or ``package.module:ClassName`` of an ``nn.Module`` that meets `Network`.
        overrides: settings of the config that differ from the registry's; for a class, its keyword arguments.

    Raises:
        ValueError: an unknown name or setting, sizes that do not fit each other, or a class that is not a `Network`.
    """
    if ":" not in name:
        config = configure(name, **overrides)
        return to_fast_layout(NETWORKS[type(config)](config))
    network = _import_class(name)
    try:
        model = network(**overrides)
    except TypeError as error:
        raise ValueError(f"{name} does not take the settings {', '.join(overrides)} ({error})") from error
    if not isinstance(model, nn.Module) or not isinstance(model, Network):
        raise ValueError(f"{name} is no network: expected an nn.Module with needs_cameras, order_free and forward")
    return to_fast_layout(model)


def _import_class(name: str) -> Callable[..., object]:
    """The class ``package.module:ClassName``."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(
            f"no network {name!r} ({error}); expected package.module:ClassName, or {', '.join(CONFIGS)}"
        ) from None


def _tuples(value: Any) -> Any:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
