"""The registry: every network of the project by its name."""

from __future__ import annotations

from dataclasses import fields, replace

from p2vlib.models.layout import to_fast_layout
from p2vlib.models.pix2vox import Pix2Vox, Pix2VoxConfig
from p2vlib.models.psgn import PSGN, PSGNConfig
from p2vlib.models.r2n2 import R2N2, R2N2Config
from p2vlib.models.unprojection import Unprojection, UnprojectionConfig

PIX2VOX_A = Pix2VoxConfig()
PIX2VOX_F = replace(PIX2VOX_A, head=((512, 1, 1), (256, 3, 4), (128, 3, 1)), decoder=(128, 64, 32, 8), refiner=None)
PIX2VOX_PLUS_A = replace(
    PIX2VOX_A,
    trunk="resnet50",
    freeze_trunk=False,
    head=((512, 3, 1), (256, 3, 2), (256, 3, 2)),
    padded_head=True,
    fusion="multi-scale",
)
PIX2VOX_PLUS_F = replace(
    PIX2VOX_PLUS_A,
    trunk="resnet18",
    head=((128, 3, 1), (64, 3, 2), (64, 3, 2)),
    decoder=(128, 64, 32, 8),
    refiner=None,
)

# Narrow networks learn in minutes on two processor cores. Nothing is frozen, for there is nothing worth freezing in a
# trunk that starts from noise; the 12x12 map of a 96-pixel photo keeps 4x4 places to the end, since the place of a
# foot's tip and heel in the photo is what tells its length and pose. Half as wide again from
# the third block on, a step costs a quarter more, and after as many of them validation objects are rebuilt less well.
PIX2VOX_A_NARROW = Pix2VoxConfig(
    image_size=96,
    trunk=(16, 32, 64, 128),
    freeze_trunk=False,
    head=((128, 3, 1), (128, 3, 2), (96, 1, 1)),
    mixing=True,
    decoder=(96, 64, 16, 8),
    merger=(8, 1),
    merger_stride=2,
    refiner=(8, 16, 32, 256),
    refiner_strided=True,
)
PIX2VOX_F_NARROW = replace(PIX2VOX_A_NARROW, head=((128, 1, 1), (128, 3, 2), (96, 2, 1)), refiner=None)

PIX2VOX_PLUS_A_NARROW = replace(
    PIX2VOX_A_NARROW,
    trunk="resnet18",
    head=((128, 3, 1), (128, 3, 3), (96, 1, 1)),
    padded_head=True,
    fusion="multi-scale",
)
PIX2VOX_PLUS_F_NARROW = replace(PIX2VOX_PLUS_A_NARROW, head=((128, 1, 1), (128, 3, 3), (96, 1, 1)), refiner=None)

R2N2_PUBLISHED = R2N2Config()
R2N2_NARROW = R2N2Config(image_size=96, encoder=(16, 32, 48, 64, 64, 64), features=256, decoder=(32, 32, 16, 8))

CONFIGS = {
    "pix2vox-f": PIX2VOX_F,
    "pix2vox-a": PIX2VOX_A,
    "pix2vox++-f": PIX2VOX_PLUS_F,
    "pix2vox++-a": PIX2VOX_PLUS_A,
    "pix2vox-lstm": replace(PIX2VOX_A, recurrent="convlstm3d"),
    "pix2vox-f-narrow": PIX2VOX_F_NARROW,
    "pix2vox-a-narrow": PIX2VOX_A_NARROW,
    "pix2vox++-f-narrow": PIX2VOX_PLUS_F_NARROW,
    "pix2vox++-a-narrow": PIX2VOX_PLUS_A_NARROW,
    "pix2vox-lstm-narrow": replace(PIX2VOX_A_NARROW, recurrent="convlstm3d"),
    "3d-r2n2": R2N2_PUBLISHED,
    "3d-r2n2-narrow": R2N2_NARROW,
    "attsets": replace(R2N2_PUBLISHED, aggregation="attsets"),
    "attsets-narrow": replace(R2N2_NARROW, aggregation="attsets"),
    "psgn": PSGNConfig(),
    "psgn-narrow": PSGNConfig(image_size=96, encoder=(16, 32, 64, 128, 128, 128), hidden=512, decoder=(64, 32)),
    "rays": UnprojectionConfig(),
}

KINDS = {Pix2VoxConfig: Pix2Vox, R2N2Config: R2N2, PSGNConfig: PSGN, UnprojectionConfig: Unprojection}


def names() -> tuple[str, ...]:
    """The names that `build` takes."""
    return tuple(CONFIGS)


def configure(name: str, **overrides: object) -> Pix2VoxConfig | R2N2Config | PSGNConfig | UnprojectionConfig:
    """The config of ``name`` with ``overrides``; lists, as JSON gives them, become tuples.

    Raises:
        ValueError: an unknown name or field.
    """
    if name not in CONFIGS:
        raise ValueError(f"no network is called {name!r}; there are {', '.join(CONFIGS)}")
    known = [field.name for field in fields(CONFIGS[name])]
    unknown = sorted(set(overrides) - set(known))
    if unknown:
        raise ValueError(f"{name} has no setting {', '.join(unknown)}; it has {', '.join(known)}")
    return replace(CONFIGS[name], **{key: _tuples(value) for key, value in overrides.items()})


def build(name: str, **overrides: object) -> Pix2Vox | R2N2 | PSGN | Unprojection:
    """A new network on the CPU in the fast layout, initialised from torch's random state.

    Raises:
        ValueError: an unknown name or field, or sizes that do not fit each other.
    """
    config = configure(name, **overrides)
    return to_fast_layout(KINDS[type(config)](config))


def _tuples(value: object) -> object:
    return tuple(_tuples(item) for item in value) if isinstance(value, (list, tuple)) else value
