"""The command line: ``python -m p2vtools study --scale quick``, ``python -m p2vtools measure foot.obj --side left``."""

from __future__ import annotations

import argparse
import sys

from p2vtools.commands import feet, study


def parser() -> argparse.ArgumentParser:
    """The commands and their options."""
    commands = argparse.ArgumentParser(
        prog="python -m p2vtools", description="The study of feet from photos, and its tools."
    )
    commands.add_argument("--debug", action="store_true", help="show the whole traceback of an error")
    choice = commands.add_subparsers(dest="command", required=True)
    study.add(choice)
    feet.add(choice)
    return commands


def main(arguments: list[str] | None = None) -> int:
    """Runs one command; returns the exit status."""
    options = parser().parse_args(arguments)
    try:
        return options.act(options) or 0
    except KeyboardInterrupt:
        print("p2vlib: stopped; the same command goes on from here", file=sys.stderr)
        return 130
    except Exception as error:
        if options.debug:
            raise
        told = str(error) if isinstance(error, ValueError | OSError | RuntimeError) else repr(error)
        print(f"p2vlib: {told}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
