"""Progress as lines, as a bar in a real pseudo-terminal, and in a kernel."""

from __future__ import annotations

import os
import pty
import subprocess
import sys
import termios

import pytest

from p2vlib import progress

WALK = """
import time
from p2vlib import progress
for number in progress.bar(range(4), "feet", unit="foot"):
    time.sleep(0.15)
    progress.tell(f"foot {number}")
"""


def test_where_nothing_moves_there_is_a_line_now_and_then(monkeypatch, capsys):
    monkeypatch.setattr(progress, "OFTEN", 0.0)
    assert list(progress.bar(range(3), "feet", unit="foot")) == [0, 1, 2]
    told = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in told] == ["feet: 1 of 3", "feet: 2 of 3", "feet: 3 of 3"]
    assert told[2].startswith("feet: 3 of 3, 0:00 left, ") and told[2].endswith(" foot/s")
    assert not any("\r" in line or "\x1b" in line for line in told)


def test_short_work_says_nothing_and_what_began_is_told_to_its_end(monkeypatch, capsys):
    assert list(progress.bar(iter("ab"), "feet", unit="foot")) == ["a", "b"]
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "OFTEN", 0.0)
    with progress.bar(title="archive", total=3000, unit="B", unit_scale=True, initial=1000) as lines:
        lines.update(500)
        lines.due = float("inf")
        lines.update(1500)
    told = capsys.readouterr().err.splitlines()
    assert [line.split(",")[0] for line in told] == ["archive: 1.50k of 3.00k", "archive: 3.00k of 3.00k"]
    assert told[0].endswith("B/s")


def test_work_that_fails_is_no_progress(capsys):
    with pytest.raises(ZeroDivisionError), progress.bar(title="feet", total=2, unit="foot") as lines:
        lines.update(1 // 0)
    assert capsys.readouterr().err == ""


def test_in_a_terminal_it_is_a_bar_that_goes_when_it_is_done():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with subprocess.Popen([sys.executable, "-c", WALK], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while True:
            try:
                shown += os.read(ours, 4096)
            except OSError:  # how a pseudo-terminal says that the other end is closed
                break
    os.close(ours)
    text = shown.decode()
    assert process.returncode == 0 and "feet:   0%|" in text and "foot/s" in text
    assert all(f"foot {number}\r\n" in text for number in range(4)), "lines stand above the bar, whole"
    assert not text.rpartition("\r")[2].strip(), "nothing is left of the bar"


def test_a_batch_notebook_gets_lines_and_a_live_one_a_widget(monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        shell.config.IPKernelApp.connection_file = ""
        import ipykernel  # noqa: F401

        monkeypatch.setenv("P2VLIB_BATCH", "1")
        assert isinstance(progress.bar(range(2), "feet"), progress.Lines)
        monkeypatch.delenv("P2VLIB_BATCH")
        live = progress.bar(range(2), "feet")
        assert type(live).__name__ == "tqdm_notebook" and live.leave is False
        live.close()
    finally:
        InteractiveShell.clear_instance()


@pytest.mark.parametrize(("seconds", "told"), [(3.4, "0:03"), (67, "1:07"), (600, "10:00"), (3700, "1:01:40")])
def test_a_clock(seconds, told):
    assert progress.clock(seconds) == told
