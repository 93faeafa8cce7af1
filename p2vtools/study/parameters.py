"""What the notebooks are told: ``views=8`` all that have it, ``05.views=8`` that one; ``05.views=4,8`` is two runs.

Papermill only warns where a notebook has no such parameter; here it is refused, and so is a value of another type.
"""

from __future__ import annotations

import ast
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import nbformat
import papermill

PATHS = ("root", "checkpoint")
"""Parameters of notebooks that name a file or folder. Notebooks run in a folder of their own; who types a path means it
from where they stand."""


def parse_parameter(text: str) -> tuple[str, list[Any]]:
    """The name and the values in ``name=value,value`` or ``05.name=value,value``.

    A value is a Python literal or, failing that, text. What is in brackets or in quotes is one value, commas and all.

    Raises:
        ValueError: it is not that.
    """
    key, equals, values = text.partition("=")
    number, _, name = key.rpartition(".")
    aimed_well = key == name or (len(number) == 2 and number.isdecimal())
    if not (name.isidentifier() and equals and aimed_well):
        raise ValueError(f"{text!r} is not name=value, nor a notebook's 05.name=value")
    if name == "scale":
        raise ValueError("the scale is chosen by --scale")
    found = _literal(f"[{values}]")
    if not (isinstance(found, list) and found):
        found = [value if (literal := _literal(value)) is None else literal for value in values.split(",")]
    if twice := [value for number, value in enumerate(found) if value in found[:number]]:
        raise ValueError(f"{text!r} has the value {twice[0]!r} twice")
    return key, found


def parameters_by_notebook(paths: Iterable[Path], scale: str, parameters: dict[str, Any]) -> dict[Path, dict[str, Any]]:
    """What each notebook is told: ``name`` goes to all that have it, ``05.name`` to that one, whatever all are told.

    Names of files and folders are made absolute.

    Raises:
        ValueError: a parameter that none of them has, or a value of another type than its default.
    """
    declared = {path: _declared(path) for path in paths}
    given: dict[Path, dict[str, Any]] = {path: {"scale": scale} for path in declared}
    for key in sorted(parameters, key=lambda key: "." in key):
        number, _, name = key.rpartition(".")
        asked = [path for path in declared if number in ("", path.name[:2])]
        if not asked:
            there = ", ".join(path.name[:2] for path in declared)
            raise ValueError(f"{key} is for notebook {number}, and those to run are {there}; name it in --only")
        takers = [path for path in asked if name in declared[path]]
        if not takers:
            names = ", ".join(dict.fromkeys(known for path in asked for known in declared[path])) or "none"
            files = " or ".join(path.name for path in asked)
            raise ValueError(f"no parameter {name!r} in {files}; what a cell tagged `parameters` declares: {names}")
        for path in takers:
            given[path][name] = _checked(path, name, parameters[key], _literal(declared[path][name]["default"]))
    return given


def defaults(path: Path) -> dict[str, Any]:
    """The values that a notebook's parameters have where nothing is told; None where one is no plain literal.

    Raises:
        ValueError: it cannot be read.
    """
    return {name: _literal(told["default"]) for name, told in _declared(path).items()}


def _declared(path: Path) -> dict[str, Any]:
    try:
        return papermill.inspect_notebook(str(path))
    except (ValueError, nbformat.reader.NotJSONError) as error:
        raise ValueError(f"{path}: not a readable Python notebook ({error})") from None


def _checked(path: Path, name: str, value: Any, default: Any) -> Any:
    if default is not None and type(value) is not type(default) and (type(default), type(value)) != (float, int):
        wanted = f"{type(default).__name__}, as its default {default!r}"
        raise ValueError(f"{path.name}: parameter {name!r} is {value!r}; expected {wanted}")
    return str(Path(value).absolute()) if name in PATHS and value else value


def _literal(source: str) -> Any:
    """The value that ``source`` writes down, or None where it is no plain literal."""
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return None
