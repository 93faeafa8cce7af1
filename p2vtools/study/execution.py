"""One notebook through papermill, in a kernel of this very interpreter that nothing else on the machine can change."""

from __future__ import annotations

import contextlib
import json
import os
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import papermill
from nbclient.exceptions import DeadKernelError
from papermill.engines import NBClientEngine, papermill_engines
from papermill.exceptions import PapermillExecutionError

from p2vlib.files import write_text
from p2vlib.provenance import ROOT

Watch = Callable[[str, int, int], None]
"""Told of each cell that begins: the notebook's name, the cell's number from 1, and how many there are."""


class StudyError(RuntimeError):
    """A study that cannot go on; the message is the one sentence to show."""


def execute(path: Path, partial: Path, values: dict[str, Any], run: str, watch: Watch | None) -> None:
    """Lets papermill fill ``partial`` cell by cell; what the notebook prints goes on to the terminal."""
    look = f"what ran so far is in {partial}"
    try:
        with private_kernel(run) as kernel:
            papermill.execute_notebook(
                str(path),
                str(partial),
                parameters=values,
                kernel_name=kernel,
                language="python",
                cwd=str(path.parent),
                progress_bar=False,
                engine_name="watched",
                watch=watch and (lambda cell, cells: watch(path.stem, cell, cells)),
                stdout_file=sys.stdout,
                stderr_file=sys.stderr,
            )
    except PapermillExecutionError as error:
        place = f"cell [{error.exec_count}], `{_failing_line(error)}`"
        raise StudyError(f"{path.name} failed in {place}: {error.ename}: {error.evalue}; {look}") from error
    except DeadKernelError as error:
        raise StudyError(f"{path.name} failed: its kernel died, most often for want of memory; {look}") from error


def _failing_line(error: PapermillExecutionError) -> str:
    """The line of the cell that failed, to which its traceback points; the cell's first where that says nothing."""
    plain = re.sub(r"\x1b\[[\d;]*m", "", "\n".join(error.traceback))
    pointed = re.search(r"^-+> *\d+ (.+)$", plain, re.MULTILINE)
    return (pointed[1] if pointed else error.source.strip().split("\n")[0]).strip()


class _Watched(NBClientEngine):
    """Papermill's own way to run a notebook, which also says of every cell that it begins."""

    @classmethod
    def execute_managed_notebook(cls, nb_man: Any, kernel_name: str, watch: Any = None, **facts: Any) -> Any:
        begin = nb_man.cell_start

        def cell_start(cell: Any, cell_index: int, **more: Any) -> None:
            watch(cell_index + 1, len(nb_man.nb.cells))
            begin(cell=cell, cell_index=cell_index, **more)

        if watch:
            nb_man.cell_start = cell_start
        return super().execute_managed_notebook(nb_man, kernel_name, **facts)


papermill_engines.register("watched", _Watched)


def cores() -> int:
    """How many cores may be used: ``OMP_NUM_THREADS`` where it is set, else all that there are."""
    told = os.environ.get("OMP_NUM_THREADS", "")
    there = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return int(told) if told.isdecimal() else there


def before(variable: str, folder: Path | str) -> str:
    """``folder``, and behind it what a variable of the environment has: a path on which it is looked for first."""
    return os.pathsep.join(filter(None, [str(folder), os.environ.get(variable)]))


@contextlib.contextmanager
def private_kernel(run: str) -> Iterator[str]:
    """Offers Jupyter a private kernel of this very interpreter, whatever is installed, and yields its name.

    It imports this copy of the library, uses `cores`, draws for the page, and reads nobody's IPython start-up files.
    """
    with tempfile.TemporaryDirectory(prefix="p2vlib-kernel-") as folder:
        spec = {
            "argv": [sys.executable, "-m", "ipykernel_launcher", "--log-level=ERROR", "-f", "{connection_file}"],
            "display_name": "Python 3",
            "language": "python",
            "env": {
                "OMP_NUM_THREADS": str(cores()),
                "PYTHONPATH": before("PYTHONPATH", ROOT),
                "IPYTHONDIR": folder,
                "MPLBACKEND": "module://matplotlib_inline.backend_inline",
                "PLOTLY_RENDERER": "plotly_mimetype",
                "P2VLIB_BATCH": "1",
                "P2VLIB_RUN": run,
            },
        }
        write_text(Path(folder) / "kernels" / "p2vlib-study" / "kernel.json", json.dumps(spec))
        kept = os.environ.get("JUPYTER_PATH")
        os.environ["JUPYTER_PATH"] = before("JUPYTER_PATH", folder)
        try:
            yield "p2vlib-study"
        finally:
            if kept is None:
                del os.environ["JUPYTER_PATH"]
            else:
                os.environ["JUPYTER_PATH"] = kept
