"""Download of the photographic textures: MakeHuman's skins and pmndrs' environment maps, both CC0.

Each file is checked by its SHA-256. Only the needed part of an original is kept: the feet of a skin, and the maps at
512 x 256 pixels. Prepared files can be copied from a folder instead.
"""

from __future__ import annotations

import logging
import shutil
import tempfile
from pathlib import Path

import drjit
import numpy as np
import pooch
import requests
from PIL import Image

from p2vlib.files import write_atomically
from p2vtools.synthesis.assets import SKIN_WINDOW, asset_folder
from p2vtools.synthesis.photos.surfaces import mitsuba_scalar

ADDRESSES = {
    "skins": "https://media.githubusercontent.com/media/makehumancommunity/makehuman-assets/"
    "8cf9645b975a98eea056b140df11a1d278da0d10/base/skins/textures/",
    "hdri": "https://raw.githubusercontent.com/pmndrs/assets/d8709a9b11247dc51b72bb32fade56048807d868/src/hdri/",
}
"""Kind -> address of the originals, at a fixed commit."""

LIGHT_SIZE = (512, 256)
"""Width and height of a prepared environment map, pixels."""

TEXTURES = {
    "skins/middleage_darkskinned_male.jpg": (
        "middleage_darkskinned_male_diffuse.png",
        "ced478cfdd2b86391f0f92a4408b287ad70adb0dd0e9271ba606d0b028b47c6b",
        "8f78d326efd3702ef11b4d66188ebdd356b5323514ad0c1af4dfc4a4b99fe5d3",
    ),
    "skins/middleage_lightskinned_female2.jpg": (
        "middleage_lightskinned_female_diffuse2.png",
        "39c505ca224387bef0b20cd2bf513c3997c27c7e7434447228c9991b87cb8d01",
        "b23599b2655a816a3db85538151670d5fe720b36c405b9268e420b5fc7615fac",
    ),
    "skins/middleage_lightskinned_male.jpg": (
        "middleage_lightskinned_male_diffuse.png",
        "3f94f3f6a5cab92dedf5cce392a87332312fc435f1cb44c6e7b897daef9a5fbb",
        "b7f800e46cd307f2278850bfae9c2c11468feedcd277a1d382baefbe317f9294",
    ),
    "skins/middleage_lightskinned_male2.jpg": (
        "middleage_lightskinned_male_diffuse2.png",
        "e897c4cc1b6ad5d10a7d2b2be92402feda4e772e6582dfaf0a1e8fc4621d8097",
        "ce159ff96bd7faf906b432ea478084718b238813c2b7e5c9282543c7e2fce182",
    ),
    "skins/old_darkskinned_male.jpg": (
        "old_darkskinned_male_diffuse.png",
        "4bcc74baf88f28a0ac4887f22d3cf395bbcb60810121697dafbf0bf3293d0e72",
        "e0558f805f96dc9b0f2fc8084b157a73898c8973d67c1f2ce2c2efdc46c6fb58",
    ),
    "skins/young_darkskinned_male.jpg": (
        "young_darkskinned_male_diffuse.png",
        "e3f0dbb634e4c68561338f0087f7a122444e84ec56df102212f1222aa12e4d50",
        "4c10dac89a12306c5cab72425a6f107ddc6c78713289ae21489b778748b09316",
    ),
    "skins/young_lightskinned_female2.jpg": (
        "young_lightskinned_female_diffuse2.png",
        "8d1fb3ceedf142fad32a3504eca1feb4539aecca6de66acde1514b9a61fc7ba0",
        "ec10a8f59b313a474dd99f8e0d75e462f4c612d3d6a92cc7cc34b9656e3625cb",
    ),
    "skins/young_lightskinned_female3.jpg": (
        "young_lightskinned_female_diffuse3.png",
        "1d82f782b7d2da732229633bd2d14754d873fff53cdb1d088977bcf67ae19dde",
        "4e696b2e219dcf43b58eecdbe844e330f5f1da99ea52f9ce540d080dfb8b83a3",
    ),
    "skins/young_lightskinned_male.jpg": (
        "young_lightskinned_male_diffuse.png",
        "862a26e335e958b70534cb5f0d7c47ef30ab148a56c42b3e9da969cf76f12963",
        "8fca3542d73d314a77b617235f9a179ab6be726372bfa9897322e222f8c78cde",
    ),
    "skins/young_lightskinned_male2.jpg": (
        "young_lightskinned_male_diffuse2.png",
        "03efe1f6b0ae52429649dcefc9dcaef6058032f874a251169cc3e2ed473c3874",
        "10d11af6c3c9698132e364ba086eac87a0ae951f4194e470b626c4d31f9d5a7f",
    ),
    "skins/young_lightskinned_male3.jpg": (
        "young_lightskinned_male_diffuse3.png",
        "f50016a5507fc687dc8df06599c8ea48de950cd185de33a71cafc1319ddab4d5",
        "0c107c7012e75cf5b35dc099e8379edbf1b06715a822cb07bf9de67a7a87b31c",
    ),
    "hdri/apartment.exr": (
        "apartment.hdr",
        "a02c9615adeba91a753c3e4737c3ce7a719273df822eeaa85d24982bd43c9ecb",
        "31c62c03b5686b3d899071070ec1bfc760a3ddc1e6a05915ebc28102fef2fb1c",
    ),
    "hdri/bridge.exr": (
        "bridge.hdr",
        "e22680cba60d72572eb6dd4e3506121d25baa0c5d0b341e2d42f7c9e2c76d095",
        "921f8b95cd1ae8bda602d4d395d8ce5574975ae0df626504eb4387cc963212ea",
    ),
    "hdri/city.exr": (
        "city.hdr",
        "7afe4c2f9700ee78c7477c53fa355463d7dda1fdede401432d6b5f9ff0a95696",
        "82847b3f3e2073d16647be2eb5712dc0f7e37ddc9480a1d45f2270fe8cd048f6",
    ),
    "hdri/dawn.exr": (
        "dawn.hdr",
        "ee70fb8c8fb3e34566802191d83b299e179ecc392b97639e6c750f66e161c8e2",
        "02529d0a04dbc6e761adb9b4f6bcb07b0ef3931b218b394ee6be68b1fe39ce79",
    ),
    "hdri/esplanade.exr": (
        "esplanade.hdr",
        "d72031e24581a0f13911fbcdee475db0f8cafcf48bf1771c6b971c3310db6cb2",
        "2a3c5a870167dc1a1ad44115cd0c554cfde97fa6ca859f4f90f39771db90b54c",
    ),
    "hdri/forest.exr": (
        "forest.hdr",
        "926a6bb81897919b2924f42407162b8d54be91eab2da3fe7fe19daf308cfa09a",
        "6fff311b5f3dad0910d8f334a6d9d88218ffd873d72c679ee1b7e4bccfa140e3",
    ),
    "hdri/hall.exr": (
        "hall.hdr",
        "e76e7838ae18cd32628143c6b8f1e92453d247a3e20dff773246c7c119ceb043",
        "205a84e0108d40fb207e077db9bc68a15f329a8af8ee1f82c28524e967963b81",
    ),
    "hdri/lab.exr": (
        "lab.hdr",
        "3dcc010490870b894d8140f72d0c3f7067183597723a00eae8fbc9a00fb8cc14",
        "4f993660d9c53e97cb23f2d901e06aed9bc0323f6cd9079ec0de02e73634796e",
    ),
    "hdri/lobby.exr": (
        "lobby.hdr",
        "8b73849c956e2d97e7a6cfacbe9396d90a84fcbd9b24327a37a6629150055cca",
        "55b54fc7b4efc5e9fef27529208d4abe9614839307f40490b135ce75aa08b72c",
    ),
    "hdri/night.exr": (
        "night.hdr",
        "6861489f983cdc0c22435b781a3487171bd25f25f9cc52c46ac402d48e08249e",
        "9509f1b917dbb4c98d63b92e9fd12fb79e3376d17ec3186e2de39543e32ce5ff",
    ),
    "hdri/park.exr": (
        "park.hdr",
        "af15cb5ca49de469e2ee74fcb6622cb32b36e3f9ee95504fc762d9c3d62c5163",
        "00e78fd8fe0ac81f73eb3682b1a4e2e1b909148f1b06d1e52e771d4fec3d02a1",
    ),
    "hdri/sky.exr": (
        "sky.hdr",
        "fd94c84997b8a3c353b62c2125a9b44e19509956986a126e472684432a02d798",
        "a72412700b91a49080a582420476d2ab9a1e8fd181031f4ae7ec5e2596addc2a",
    ),
    "hdri/studio.exr": (
        "studio.hdr",
        "29267a4aa8c10de26cae758e4e3c4daadde88673798666ad657724bab7224a35",
        "08038ed9159c24bb732d2218dafa09cef2abaa44f9ce11ec511d87c842d88fad",
    ),
    "hdri/sunrise.exr": (
        "sunrise.hdr",
        "38199a31e945906f6778431e989256a92d9d78b0cfc0f902accad9f5244bf50f",
        "d48b92f8fd8d1e8eb111d90284a007f811a4d57abe4fa6faf10165287a3fe9c2",
    ),
    "hdri/sunset.exr": (
        "sunset.hdr",
        "b8a17f327be5b797e4711eb1069150d1c8354602b484c70154eb3f7283ce0cea",
        "d09a4d7581f5454f13c3da3c323a231d00a34e60200de7654a895d2d41a7ceb7",
    ),
    "hdri/venice.exr": (
        "venice.hdr",
        "d41b07ae03ae80b4d78a467bda484b19d86fe3ce9acda9b13c15e3fbfe8bf71f",
        "8200c809a7032efaa7d9fa3a5c64939d7f07d26478bc2418af624150af90dac9",
    ),
    "hdri/warehouse.exr": (
        "warehouse.hdr",
        "9b3d611cadc32c3a0c7e084ce5611c0650293881c4a041e7fa13748fe0dc6451",
        "bb11fe7e9c3037b8db21beab826a7ed7c452a48cb6d361f982ca7311aacba9c1",
    ),
    "hdri/workshop.exr": (
        "workshop.hdr",
        "165602bd879192ed0489743d4bbb7f5cb3c9c5dbc34055f0f3a2885a78ccb6fc",
        "793ca687c647e032c79ea3a67bd016ad3158d17506540cfa8fdd901550cc0a5d",
    ),
}
"""File in `asset_folder` -> name and SHA-256 of the original, and SHA-256 of the prepared file that the pretrained
weights were trained with. A download prepares the file again: the same picture, possibly compressed to other bytes."""


def fetch_textures(folder: Path | None = None, source: Path | None = None) -> Path:
    """Downloads the textures into ``folder`` (default `asset_folder`), or copies prepared ones from ``source``.

    A download keeps files that exist, so an interrupted one continues where it stopped.

    Raises:
        ValueError: a file of ``source`` is missing or is not the expected one, or a download has a wrong sha256.
        OSError: a download failed.
    """
    folder = folder or asset_folder()
    pooch.get_logger().setLevel(logging.WARNING)
    for name, (original, original_sha256, sha256) in TEXTURES.items():
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        if source is not None:
            _copy(source / name, target, sha256)
        elif not target.is_file():
            _download(ADDRESSES[target.parent.name] + original, original_sha256, target)
        print(f"{target}: done", flush=True)
    return folder


def _copy(source: Path, target: Path, sha256: str) -> None:
    if not source.is_file():
        raise ValueError(f"{source}: not found; --from expects a folder with skins/*.jpg and hdri/*.exr")
    if (found := pooch.file_hash(str(source), "sha256")) != sha256:
        raise ValueError(f"{source}: its sha256 is {found}; expected {sha256}; use the original prepared file")
    # Without the permissions of the source: a read-only file could not be replaced later.
    write_atomically(target, lambda path: shutil.copyfile(source, path))


def _download(address: str, sha256: str, target: Path) -> None:
    with tempfile.TemporaryDirectory() as scratch:
        try:
            original = Path(pooch.retrieve(address, f"sha256:{sha256}", address.rpartition("/")[2], scratch))
        except requests.RequestException as error:
            raise OSError(f"{address}: download failed ({error}); run the same command again") from None
        write = _write_skin if target.suffix == ".jpg" else _write_light
        write_atomically(target, lambda path: write(original, path))


def _write_skin(original: Path, target: Path) -> None:
    with Image.open(original) as image:
        image.convert("RGB").crop(SKIN_WINDOW).save(target, format="JPEG", quality=92)


def _write_light(original: Path, target: Path) -> None:
    """A smaller copy, each pixel the mean of those it covers."""
    mi = mitsuba_scalar()
    pixels = np.array(mi.Bitmap(str(original)).convert(mi.Bitmap.PixelFormat.RGB, mi.Struct.Type.Float32, False))
    width, height = LIGHT_SIZE
    blocks = pixels.reshape(height, pixels.shape[0] // height, width, pixels.shape[1] // width, 3)
    smaller = mi.Bitmap(np.maximum(blocks.mean(axis=(1, 3)), 0)).convert(component_format=mi.Struct.Type.Float16)
    drjit.set_thread_count(2)  # Mitsuba never finishes an EXR file with one thread
    try:
        smaller.write(str(target))
    finally:
        drjit.set_thread_count(1)
