from __future__ import annotations

import pytest

from p2vtools.files import atomic_directory, file_lock


def test_one_process_holds_the_lock_and_others_wait_or_fail(tmp_path):
    lock, asked = tmp_path / "deep" / "lock", []
    inside = file_lock(lock)
    inside.__enter__()
    with pytest.raises(BlockingIOError), file_lock(lock):
        raise AssertionError("two are inside")

    def waiting() -> None:
        asked.append(True)
        if len(asked) == 2:
            inside.__exit__(None, None, None)

    with file_lock(lock, waiting):
        assert len(asked) == 2


def test_a_file_in_place_of_a_folder_is_named(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(OSError, match="file/folder: could not be created"), atomic_directory(tmp_path / "file/folder"):
        pass
