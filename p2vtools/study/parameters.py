"""Parameters of the notebooks: ``views=8`` for all that declare it, ``05.views=8`` for one, ``05.views=4,8`` to sweep.

Papermill only warns about a parameter that a notebook does not declare; here it is rejected, and so is a value of
another type than its default.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import nbformat
import papermill

from p2vlib.provenance import imported_modules

PATHS = ("root", "checkpoint", "real_results")
"""Parameters that name a file or folder. The command line resolves them against the current directory, because a
notebook runs in its own."""

NETWORKS = ("networks",)
"""Parameters that list names of networks, as `p2vlib.models.build` takes them; a single name needs no brackets."""


def notebook_code(path: Path) -> tuple[list[list[Any]], frozenset[str]]:
    """Kind, source and tags of each cell of a notebook, and the modules of the project that its code imports."""
    cells = [[c.cell_type, c.source, c.metadata.get("tags", [])] for c in nbformat.read(path, as_version=4).cells]
    code = "\n".join(source for kind, source, _ in cells if kind == "code")
    return cells, imported_modules(re.sub(r"^[%!].*$", "", code, flags=re.MULTILINE))  # without IPython's own lines


def parse_parameter(text: str) -> tuple[str, list[Any]]:
    """Parses ``name=value,value`` or ``05.name=value,value``.

    A value is a Python literal or, failing that, a string. Brackets or quotes make one value of a list with commas.

    Returns:
        The name, with the number of its notebook where given, and the values.

    Raises:
        ValueError: the text has another form, sets the scale, or has a value twice.
    """
    key, equals, values = text.partition("=")
    number, _, name = key.rpartition(".")
    valid_number = key == name or re.fullmatch(r"\d\d[a-z]?", number)
    if not (name.isidentifier() and equals and valid_number):
        raise ValueError(f"{text!r} is not name=value or, for one notebook, 05.name=value")
    if name == "scale":
        raise ValueError("the scale is set by --scale")
    found = _literal(f"[{values}]")
    if not (isinstance(found, list) and found):
        found = [value if (literal := _literal(value)) is None else literal for value in values.split(",")]
    if duplicates := [value for index, value in enumerate(found) if value in found[:index]]:
        raise ValueError(f"{text!r} has the value {duplicates[0]!r} twice")
    return key, found


def parameters_by_notebook(
    paths: Iterable[Path], scale: str, parameters: Mapping[str, Any]
) -> dict[Path, dict[str, Any]]:
    """The parameters to pass to each notebook: ``05.name`` overrides ``name``; file names become absolute.

    Raises:
        ValueError: a parameter that no notebook declares, a value of another type than its default, or an unknown
            network.
    """
    defaults = {path: default_parameters(path) for path in paths}
    passed: dict[Path, dict[str, Any]] = {path: {"scale": scale} for path in defaults}
    for key in sorted(parameters, key=lambda key: "." in key):
        number, _, name = key.rpartition(".")
        candidates = [path for path in defaults if number in ("", notebook_number(path.stem))]
        if not candidates:
            selected = ", ".join(notebook_number(path.stem) for path in defaults)
            raise ValueError(
                f"{key} is for notebook {number}, but the selected notebooks are {selected}; add to --only"
            )
        receivers = [path for path in candidates if name in defaults[path]]
        if not receivers:
            names = ", ".join(dict.fromkeys(known for path in candidates for known in defaults[path])) or "none"
            files = " or ".join(path.name for path in candidates)
            raise ValueError(f"no parameter {name!r} in {files}; the cells tagged `parameters` declare: {names}")
        for path in receivers:
            passed[path][name] = _validated(path, name, parameters[key], defaults[path][name])
    return passed


def notebook_number(name: str) -> str:
    """``05`` for ``05_lstm_ablation``, ``03a`` for ``03a_pix2vox``."""
    return name.partition("_")[0]


def default_parameters(path: Path) -> dict[str, Any]:
    """The parameters that a notebook declares in its cell tagged ``parameters``; None for a default that is no literal.

    Raises:
        ValueError: the file is not a readable notebook.
    """
    try:
        declared = papermill.inspect_notebook(str(path))
    except (ValueError, nbformat.reader.NotJSONError) as error:
        raise ValueError(f"{path}: not a readable Python notebook ({error})") from None
    return {name: _literal(parameter["default"]) for name, parameter in declared.items()}


def _validated(path: Path, name: str, value: Any, default: Any) -> Any:
    if name in NETWORKS and isinstance(value, str):
        value = [value]
    if default is not None and type(value) is not type(default) and (type(default), type(value)) != (float, int):
        expected = f"{type(default).__name__}, like its default {default!r}"
        raise ValueError(f"{path.name}: parameter {name!r} is {value!r}; expected {expected}")
    if name in NETWORKS and value:
        from p2vlib.models import check_names  # loads torch

        check_names(*map(str, value))
    return str(Path(value).absolute()) if name in PATHS and value else value


def _literal(source: str) -> Any:
    """The value of a Python literal; None for anything else."""
    try:
        return ast.literal_eval(source)
    except (ValueError, SyntaxError):
        return None
