"""The command line ``p2v``; ``python -m p2vtools`` does the same.

Heavy packages are imported by the command that needs them, so that ``p2v --help`` answers at once.
"""

from __future__ import annotations

import atexit
import gc
import re
import sys
from typing import Annotated

import typer
from typer import Option

from p2vtools.cli import foot, study

COMMANDS = (
    *(foot.app, foot.mat, foot.capture, foot.reconstruct, foot.measure, foot.clean, foot.validate),
    *(study.study, study.data, study.seeds, study.report, study.compare, study.convert, study.fetch, study.weights),
    study.evaluate,
)

app = typer.Typer(
    name="p2v",
    help="Reconstruct and measure a foot from photos, find its shoe size, and run the study of the networks.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for command in COMMANDS:
    app.command()(command)


# At its exit Python searches all that was imported for cycles, for .4 s after a reconstruction; nothing is to be freed.
atexit.register(gc.freeze)


@app.callback()
def _common(debug: Annotated[bool, Option("--debug", help="show the traceback of an error")] = False) -> None:
    pass


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns its exit status: 0, 1 after an error, 2 for wrong usage, 130 after Ctrl-C."""
    try:
        status = typer.main.get_command(app).main(arguments, prog_name="p2v", standalone_mode=False)
    except typer.exceptions.TyperException as error:  # wrong usage
        error.show()
        return error.exit_code
    except Exception as error:
        if "--debug" in (sys.argv if arguments is None else arguments):
            raise
        message = str(error) if isinstance(error, ValueError | OSError | RuntimeError) else repr(error)
        message = re.sub(r"^\[(Errno|WinError) \d+\] ", "", message)
        line = re.sub(r"\s*\n\s*", " ", message)
        print("p2v: " + "".join(char if char.isprintable() else "?" for char in line), file=sys.stderr)
        return 1
    if status == 130:
        print("p2v: interrupted; run the same command again to continue", file=sys.stderr)
    return status or 0
