import os
import re
import subprocess
import sys
import textwrap

import pytest

from p2vlib.files import write_atomically, write_bytes, write_text


def test_text_is_utf8_in_new_folders_and_places_that_are_taken_are_errors(tmp_path):
    write_text(tmp_path / "a" / "b" / "answer.txt", "Ferse → Zehe")
    assert (tmp_path / "a" / "b" / "answer.txt").read_bytes().decode() == "Ferse → Zehe"
    assert os.listdir(tmp_path / "a" / "b") == ["answer.txt"]
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "file").touch()
    with pytest.raises(OSError, match="taken: could not be written"):
        write_text(tmp_path / "taken", "x")
    with pytest.raises(OSError, match=r"file/a.txt: could not be written"):
        write_text(tmp_path / "taken/file/a.txt", "text")
    assert sorted(os.listdir(tmp_path)) == ["a", "taken"]


def test_a_writer_that_fails_leaves_the_old_file_and_nothing_else(tmp_path):
    target, partials = tmp_path / "weights.bin", []
    write_bytes(target, b"old")

    def fail(partial):
        partials.append(partial)
        partial.write_bytes(b"half of the n")
        raise RuntimeError("the writer broke")

    with pytest.raises(RuntimeError, match="the writer broke"):
        write_atomically(target, fail)
    assert target.read_bytes() == b"old"
    assert os.listdir(tmp_path) == ["weights.bin"]
    assert partials[0].suffix == ".bin" and partials[0].parent == tmp_path and partials[0].name.startswith(".")


@pytest.mark.parametrize("old", [None, b"old"])
def test_a_full_disk_leaves_nothing_half_written(tmp_path, old):
    """A limit of 4096 bytes a file stands for the full disk: the kernel stops the write in its middle."""
    target = tmp_path / "volume.binvox"
    if old is not None:
        target.write_bytes(old)
    program = """
        import pathlib, resource, signal, sys
        from p2vlib.files import write_bytes
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
        write_bytes(pathlib.Path(sys.argv[1]), b"v" * 100_000)
    """
    command = [sys.executable, "-c", textwrap.dedent(program), str(target)]
    outcome = subprocess.run(command, capture_output=True, text=True)
    assert outcome.returncode == 1
    assert f"OSError: [Errno 27] {target}: could not be written" in outcome.stderr
    assert os.listdir(tmp_path) == (["volume.binvox"] if old else [])
    assert old is None or target.read_bytes() == old


@pytest.mark.parametrize("machine", ["this", "another"])
def test_a_kill_while_writing_leaves_the_old_file(machine, tmp_path):
    """Another machine may share the folder: whether its processes still write is not known here."""
    target = tmp_path / "checkpoint.bin"
    target.write_bytes(b"old")
    program = """
        import os, pathlib, platform, signal, sys
        from p2vlib.files import write_atomically
        if sys.argv[2] == "another":
            platform.node = lambda: "node-2"
        def write(partial):
            partial.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)
        write_atomically(pathlib.Path(sys.argv[1]), write)
    """
    outcome = subprocess.run([sys.executable, "-c", textwrap.dedent(program), str(target), machine])
    assert outcome.returncode == -9
    assert target.read_bytes() == b"old"
    (leftover,) = tmp_path.glob(".*.partial.checkpoint.bin")
    kept = {re.sub(r"\d+", "1", leftover.name, count=1), ".p2v.partial.not-ours"}  # process 1 always runs
    for name in kept:
        (tmp_path / name).touch()
    write_text(tmp_path / "other.txt", "the next write removes what the killed process left")
    kept |= {leftover.name} if machine == "another" else set()
    assert set(os.listdir(tmp_path)) == {"checkpoint.bin", "other.txt", *kept}
