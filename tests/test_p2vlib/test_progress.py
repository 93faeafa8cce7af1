import os
import pty
import subprocess
import sys
import termios

import pytest
from tqdm.std import tqdm

from p2vlib import progress

LOOP = """
import time
from p2vlib import progress
for number in progress.bar(range(4), "feet", unit="foot"):
    time.sleep(0.15)
    progress.log(f"foot {number}")
"""


def test_a_pipe_gets_lines_but_short_work_none(monkeypatch, capsys):
    assert list(progress.bar(iter("ab"), "feet", unit="foot")) == ["a", "b"]
    with pytest.raises(ZeroDivisionError), progress.bar(title="feet", total=2, unit="foot") as bar:
        bar.update(1 // 0)
    assert capsys.readouterr().err == ""
    monkeypatch.setattr(progress, "DELAY", 1e-9)
    monkeypatch.setattr(progress, "INTERVAL", 0.0)
    assert list(progress.bar(range(3), "feet", unit="foot")) == [0, 1, 2]
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition("|")[0] for line in lines[:3]] == ["feet:  33%", "feet:  67%", "feet: 100%"]
    assert lines[-1].endswith("foot/s]") and "\r" not in "".join(lines)
    texts = {3.4: "0:03", 67: "1:07", 600: "10:00", 3700: "1:01:40"}
    assert {seconds: progress.clock(seconds) for seconds in texts} == texts


def test_a_terminal_gets_a_bar_that_disappears_at_the_end():
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 100))
    with subprocess.Popen([sys.executable, "-c", LOOP], stdout=theirs, stderr=theirs) as process:
        os.close(theirs)
        output = b""
        while True:
            try:
                output += os.read(ours, 4096)
            except OSError:  # the other end of the pseudo-terminal is closed
                break
    os.close(ours)
    text = output.decode()
    assert process.returncode == 0 and "feet:   0%|" in text and "foot/s" in text
    assert all(f"foot {number}\r\n" in text for number in range(4)), "log lines are above the bar"
    assert not text.rpartition("\r")[2].strip(), "nothing is left of the bar"


def test_a_batch_notebook_gets_lines_and_a_live_one_a_widget(monkeypatch):
    from IPython.core.interactiveshell import InteractiveShell

    shell = InteractiveShell.instance()
    try:
        shell.config.IPKernelApp.connection_file = ""
        import ipykernel  # noqa: F401

        monkeypatch.setenv("P2VLIB_BATCH", "1")
        assert type(progress.bar(range(2), "feet")) is tqdm
        monkeypatch.delenv("P2VLIB_BATCH")
        live = progress.bar(range(2), "feet")
        assert type(live).__name__ == "tqdm_notebook" and live.leave is False
        live.close()
    finally:
        InteractiveShell.clear_instance()
