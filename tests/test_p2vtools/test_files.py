import errno
import os
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest

from p2vlib.files import partial_path
from p2vtools.files import atomic_directory, file_digests, file_lock, is_whole


def test_one_process_holds_the_lock_and_another_waits_as_long_as_it_likes(tmp_path):
    lock, asked = tmp_path / "deep" / "lock", []
    inside, other = file_lock(lock), ThreadPoolExecutor(1)
    other.submit(inside.__enter__).result()

    def waiting() -> None:
        asked.append(True)
        if len(asked) == 1:
            raise ValueError("busy")
        other.submit(inside.__exit__, None, None, None).result()

    with pytest.raises(ValueError, match="busy"), file_lock(lock, waiting):
        raise AssertionError("two are inside")
    with file_lock(lock, waiting):
        assert len(asked) == 2


def test_a_full_disk_and_a_file_in_place_of_a_folder_name_the_folder(tmp_path):
    message = "capture: could not be written .No space left on device.; nothing was kept"
    with pytest.raises(OSError, match=message), atomic_directory(tmp_path / "capture") as folder:
        (folder / "photo").touch()
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))  # as from a write, which names no file
    assert [*tmp_path.iterdir()] == []
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/folder: could not be written"), atomic_directory(tmp_path / "file/folder"):
        pass


def test_a_partial_of_an_earlier_process_with_the_same_id_is_abandoned(tmp_path, monkeypatch):
    (leftover := partial_path(tmp_path / "folder")).mkdir()
    made = leftover.stat().st_ctime
    monkeypatch.setattr(psutil.Process, "create_time", lambda process: made + 60)
    with atomic_directory(tmp_path / "folder") as folder:
        (folder / "a.txt").write_text("a")
    assert os.listdir(tmp_path) == ["folder"]


def test_a_folder_is_whole_if_every_listed_file_is_there_unchanged(tmp_path):
    (tmp_path / "sub").mkdir()
    (tmp_path / "sub" / "a").write_bytes(b"abc")
    (tmp_path / "b").write_bytes(b"")
    digests = file_digests(tmp_path)
    assert digests == {"b": "e3b0c44298fc1c14", "sub/a": "ba7816bf8f01cfea"}, "SHA-256 of nothing and of abc"
    (tmp_path / "new").touch()
    assert is_whole(tmp_path, digests)
    (tmp_path / "sub" / "a").write_bytes(b"abd")
    assert not is_whole(tmp_path, digests)
    (tmp_path / "sub" / "a").unlink()
    assert not is_whole(tmp_path, digests)
