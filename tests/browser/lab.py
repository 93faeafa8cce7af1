"""A JupyterLab of its own: a copy of the notebooks, no settings of anybody, one server for all tests."""

from __future__ import annotations

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

LIBRARY = Path(p2vlib.__file__).parents[1]

SETTINGS = {
    # It would ask a server for news.
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    # Cells out of sight are there as well, so that their outputs can be looked for.
    "notebook-extension/tracker": {"windowingMode": "none", "autoStartDefaultKernel": True},
}

STATE = """() => {
  const panel = window.jupyterapp.shell.currentWidget;
  const cells = [...panel.content.model.cells].filter(cell => cell.type === 'code' && cell.sharedModel.source.trim());
  const failed = cells.filter(cell => cell.outputs.toJSON().some(output => output.output_type === 'error'));
  const done = cells.filter(cell => cell.executionState === 'idle' && cell.executionCount);
  const said = failed.map(cell => cell.outputs.toJSON().find(output => output.output_type === 'error'));
  return {total: cells.length, done: done.length, errors: said.map(e => `${e.ename}: ${e.evalue}`)};
}"""
"""How far the notebook in front is: code cells, those that have run, and their errors."""


@dataclass(frozen=True)
class Lab:
    """A running server: ``url`` with its ``token``, and the ``folder`` whose notebooks it opens."""

    url: str
    token: str
    folder: Path

    def open(self, tab: Tab, name: str) -> None:
        """Opens a notebook and waits for its kernel."""
        tab.page.goto(f"{self.url}lab/tree/{name}?token={self.token}&reset")
        tab.page.get_by_role("tab", name=name).wait_for()
        idle = "() => window.jupyterapp.shell.currentWidget?.sessionContext?.session?.kernel?.status === 'idle'"
        tab.page.wait_for_function(idle, timeout=90_000)

    def run_all(self, tab: Tab, seconds: float) -> None:
        """Run All Cells, from the menu, to the end.

        Raises:
            AssertionError: a cell ended in an error, or the last one did not end in time.
        """
        tab.page.get_by_role("menuitem", name="Run", exact=True).click()
        tab.page.get_by_role("menuitem", name="Run All Cells", exact=True).click()
        ended = f"() => {{ const now = ({STATE})(); return now.errors.length || now.done === now.total; }}"
        from playwright.sync_api import TimeoutError as Late

        with contextlib.suppress(Late):
            tab.page.wait_for_function(ended, timeout=1000 * seconds, polling=250)
        state = tab.page.evaluate(STATE)
        assert not state["errors"], f"{state['errors'][0]}, in cell {state['done']} of {state['total']}"
        assert state["done"] == state["total"], f"{state['done']} of {state['total']} cells ran in {seconds} s"

    def leaf_to_the_end(self, tab: Tab) -> None:
        """The notebook as one reads it: its code folded, the file browser shut, scrolled to the last output."""
        show = """async () => {
          await window.jupyterapp.commands.execute('notebook:hide-all-cell-code');
          window.jupyterapp.shell.collapseLeft();
          const notebook = window.jupyterapp.shell.currentWidget.content;
          await notebook.scrollToItem(notebook.widgets.length - 1, 'end');
        }"""
        tab.page.evaluate(show)

    def close(self) -> None:
        """Ends all kernels, which would keep their memory."""
        for session in self._ask("get", "sessions").json():
            self._ask("delete", f"sessions/{session['id']}")

    def write(self, name: str, *sources: str) -> None:
        """A notebook of these code cells."""
        cells = [nbformat.v4.new_code_cell(source) for source in sources]
        nbformat.write(nbformat.v4.new_notebook(cells=cells), self.folder / name)

    def _ask(self, method: str, what: str) -> requests.Response:
        answer = requests.request(method, f"{self.url}api/{what}", params={"token": self.token}, timeout=30)
        answer.raise_for_status()
        return answer


@contextlib.contextmanager
def lab_in(folder: Path, notebooks: Path) -> Iterator[Lab]:
    """A server on a copy of the ``notebooks`` in an empty ``folder``.

    Raises:
        RuntimeError: it did not start; says what it wrote.
    """
    root = folder / "notebooks"
    root.mkdir()
    for path in notebooks.glob("*.ipynb"):
        shutil.copy(path, root)
    for name, values in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(values))
    own = {f"JUPYTER_{kind}_DIR": str(folder / kind.lower()) for kind in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{kind}_DIR": str(folder / kind.lower()) for kind in ("SETTINGS", "WORKSPACES")}
    # Kernels start in another folder; they import the copy of the library that is tested.
    paths = os.pathsep.join(filter(None, [str(LIBRARY), os.environ.get("PYTHONPATH")]))
    own |= {"IPYTHONDIR": str(folder / "ipython"), "JUPYTER_PLATFORM_DIRS": "1", "PYTHONPATH": paths}
    command = "-m jupyterlab --no-browser --allow-root --expose-app-in-browser --ip=127.0.0.1 --port=0".split()
    log = folder / "server.log"
    with log.open("w") as stream:
        server = subprocess.Popen(
            [sys.executable, *command, f"--ServerApp.root_dir={root}"],
            env=os.environ | own,
            stdout=stream,
            stderr=subprocess.STDOUT,
        )
    try:
        yield Lab(*_started(server, folder / "runtime", log), root)
    finally:
        server.terminate()
        server.wait(timeout=30)


def _started(server: subprocess.Popen, runtime: Path, log: Path, seconds: float = 60) -> tuple[str, str]:
    """Where the server listens, and its token, once it has said so."""
    end = time.monotonic() + seconds
    while time.monotonic() < end and server.poll() is None:
        for file in runtime.glob("jpserver-*.json"):
            with contextlib.suppress(json.JSONDecodeError):  # half written
                told = json.loads(file.read_text())
                return told["url"], told["token"]
        time.sleep(0.1)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text()[-2000:]}")
