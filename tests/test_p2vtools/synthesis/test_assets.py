import functools
import hashlib
import http.server
import re
import threading
from concurrent.futures import ThreadPoolExecutor

import drjit
import numpy as np
import pytest
from PIL import Image

from p2vtools.cli import main
from p2vtools.synthesis import assets
from p2vtools.synthesis.photos.surfaces import mitsuba_scalar
from p2vtools.synthesis.photos.wild_light import read_environment


@pytest.fixture
def cache(tmp_path, monkeypatch):
    monkeypatch.setenv("P2VLIB_CACHE", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.fixture
def list_textures(tmp_path, monkeypatch):
    """Replaces the list of textures."""

    def replace(*lines: str) -> None:
        (tmp_path / "textures.txt").write_text("\n".join(lines))
        monkeypatch.setattr(assets, "TEXTURES", tmp_path / "textures.txt")

    return replace


def sha256(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_the_files_of_a_folder_are_copied_when_they_are_the_right_ones(tmp_path, cache, list_textures, capsys):
    source = tmp_path / "source" / "skins" / "young.jpg"
    source.parent.mkdir(parents=True)
    source.write_bytes(b"a skin")
    list_textures(f"skins/young.jpg young.png - {sha256(source)}")
    assert assets.describe() == "procedural"
    assert main(["fetch", "textures", "--from", str(tmp_path / "source")]) == 0
    assert (cache / "textures" / "skins" / "young.jpg").read_bytes() == b"a skin"
    assert assets.describe() == "photographic skins (1) and lights (0)"
    source.write_bytes(b"another skin")
    assert main(["fetch", "textures", "--from", str(tmp_path / "source")]) == 1
    assert f"{source}: its sha256 is {sha256(source)}; expected" in capsys.readouterr().err
    assert (cache / "textures" / "skins" / "young.jpg").read_bytes() == b"a skin"


def test_a_download_keeps_the_feet_of_a_skin_and_a_smaller_light(tmp_path, cache, list_textures, monkeypatch):
    mi = mitsuba_scalar()
    pixels = np.zeros((2048, 2048, 3), dtype=np.uint8)
    pixels[1695:2034, 399:1307] = (200, 100, 50)
    Image.fromarray(pixels).save(tmp_path / "skin.png")
    light = np.zeros((512, 1024, 3), dtype=np.float32)
    light[0, 0] = 8.0  # a quarter of the first pixel at half the size: 2
    mi.Bitmap(light).write(str(tmp_path / "light.hdr"))
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=tmp_path)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}/"
        monkeypatch.setattr(assets, "ADDRESSES", {"skins": address, "hdri": address})
        files = {"skins/a.jpg": "skin.png", "hdri/b.exr": "light.hdr"}
        list_textures(*(f"{name} {original} {sha256(tmp_path / original)} -" for name, original in files.items()))
        with ThreadPoolExecutor(2) as pool:  # of two at once, one waits
            list(pool.map(lambda _: assets.fetch_textures(), range(2)))
        list_textures(f"skins/c.jpg skin.png {'0' * 64} -")
        with pytest.raises(ValueError, match="hash"):
            assets.fetch_textures()
        server.shutdown()
    assert sorted(path.name for path in (cache / "textures").glob("*/*")) == ["a.jpg", "b.exr"], "originals are deleted"
    skin = assets.read_skin(cache / "textures" / "skins" / "a.jpg")
    assert skin.shape == (339, 908, 3)
    assert skin[5, 5] == pytest.approx(((np.array([200, 100, 50]) / 255 + 0.055) / 1.055) ** 2.4, abs=0.02)
    prepared = read_environment(cache / "textures" / "hdri" / "b.exr")
    assert prepared.shape == (128, 256, 3)  # half the size again
    assert prepared[0, 0] == pytest.approx([0.5, 0.5, 0.5], rel=0.01)
    assert np.count_nonzero(prepared) == 3


def test_hidden_textures_are_ignored_and_damaged_ones_are_named_with_what_to_do(cache):
    for name in ("skins/a.jpg", "skins/._a.jpg", "hdri/b.exr", "hdri/.7-0.partial.b.exr"):
        (cache / "textures" / name).parent.mkdir(parents=True, exist_ok=True)
        (cache / "textures" / name).write_bytes(b"none")
    assert assets.describe() == "photographic skins (1) and lights (1)"
    for read, kind in ((assets.read_skin, "skins"), (read_environment, "hdri")):
        (path,) = assets.asset_files(kind)
        with pytest.raises(
            ValueError, match=f"^{re.escape(str(path))}: cannot be read .*; delete it and run `p2v fetch"
        ):
            read(path)
    assert drjit.thread_count() == 1, "rendering goes on with one"
    Image.new("RGB", (8, 8)).save(path := cache / "textures" / "skins" / "c.jpg")
    with pytest.raises(ValueError, match="8 x 8 pixels; expected 908 x 339; delete it"):
        assets.read_skin(path)
