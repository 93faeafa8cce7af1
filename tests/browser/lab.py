"""A JupyterLab server on a copy of the notebooks, with default settings."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import nbformat
import requests

import p2vlib
from tests.browser.tabs import Tab

CHECKOUT = Path(p2vlib.__file__).parents[1]

SETTINGS = {
    # No request for news.
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # Cells outside the window exist as well, so that their outputs can be searched.
    "notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
}

STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const cells = [...panel.content.model.cells].filter(cell => cell.type === 'code' && cell.sharedModel.source.trim());
  const done = cells.filter(cell => cell.executionState === 'idle' && cell.executionCount);
  const errors = cells.flatMap(cell => cell.outputs.toJSON().filter(output => output.output_type === 'error'));
  return {total: cells.length, done: done.length, errors: errors.map(e => `${e.ename}: ${e.evalue}`)};
}"""
"""Number of code cells of the open notebook, how many have run, and their errors."""


@dataclass(frozen=True)
class Lab:
    """A running server: ``url`` with its ``token``, and the ``folder`` of its notebooks."""

    url: str
    token: str
    folder: Path

    def open(self, tab: Tab, name: str) -> None:
        """Opens a notebook and waits for its kernel."""
        tab.page.goto(f"{self.url}lab/tree/{name}?token={self.token}&reset")
        tab.page.get_by_role("tab", name=name).wait_for()
        is_idle = "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        tab.page.wait_for_function(is_idle, timeout=90_000)

    def run_all(self, tab: Tab, seconds: float) -> None:
        """Runs all cells from the menu.

        Raises:
            AssertionError: a cell failed, or the notebook did not finish in time.
        """
        from playwright.sync_api import TimeoutError as PlaywrightTimeoutError

        tab.page.get_by_role("menuitem", name="Run", exact=True).click()
        tab.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        has_ended = f"() => {{ const now = ({STATE})(); return now.errors.length || now.done === now.total; }}"
        with contextlib.suppress(PlaywrightTimeoutError):
            tab.page.wait_for_function(has_ended, timeout=1000 * seconds, polling=250)
        state = tab.page.evaluate(STATE)
        assert not state["errors"], f"{state['errors'][0]}, in cell {state['done']} of {state['total']}"
        assert state["done"] == state["total"], f"{state['done']} of {state['total']} cells ran in {seconds} s"

    def close(self) -> None:
        """Ends all kernels, to free their memory."""
        address, token = f"{self.url}api/sessions", {"token": self.token}
        for session in requests.get(address, token, timeout=30).json():
            requests.delete(f"{address}/{session['id']}", params=token, timeout=30).raise_for_status()

    def write(self, name: str, source: str) -> None:
        """Writes a notebook of one code cell."""
        cell = nbformat.v4.new_code_cell(source)
        nbformat.write(nbformat.v4.new_notebook(cells=[cell]), self.folder / name)


@contextlib.contextmanager
def start_lab(folder: Path, notebooks: Path) -> Iterator[Lab]:
    """A server on a copy of the ``notebooks`` in an empty ``folder``.

    Raises:
        RuntimeError: it did not start; with the end of its log.
    """
    root = folder / "notebooks"
    root.mkdir()
    for path in notebooks.glob("*.ipynb"):
        shutil.copy(path, root)
    for name, values in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    variables = {f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    variables |= {f"JUPYTERLAB_{kind}_DIR": str(folder / kind.lower()) for kind in ("SETTINGS", "WORKSPACES")}
    # Kernels start in another folder and import the packages of this checkout.
    paths = os.pathsep.join(filter(None, [str(CHECKOUT), os.environ.get("PYTHONPATH")]))
    variables |= {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_PLATFORM_DIRS": "1", "PYTHONPATH": paths}
    options = "--no-browser --allow-root --expose-app-in-browser --ip=127.0.0.1 --port=0".split()
    command = [sys.executable, "-m", "jupyterlab", *options, f"--ServerApp.root_dir={root}"]
    log = folder / "server.log"
    with log.open("w") as stream:
        server = subprocess.Popen(command, env=os.environ | variables, stdout=stream, stderr=subprocess.STDOUT)
    try:
        yield Lab(*_wait_for_address(server, folder / "runtime", log), root)
    finally:
        server.terminate()
        server.wait(timeout=30)


def _wait_for_address(server: subprocess.Popen, runtime: Path, log: Path, seconds: float = 60) -> tuple[str, str]:
    """URL and token of the server."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(json.JSONDecodeError):  # not written completely
                info = json.loads(file.read_text())
                return info["url"], info["token"]
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text(encoding='utf-8')[-2000:]}")
