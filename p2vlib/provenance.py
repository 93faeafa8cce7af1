"""Folders of a checkout, and digests of the code on which a cached result depends.

A cached result is stale when the code that made it has changed its meaning. A digest therefore covers syntax trees
without docstrings and comments, and only of the modules that the result reaches by imports.
"""

from __future__ import annotations

import ast
import contextlib
import functools
import hashlib
import os
import subprocess
from collections.abc import Iterable
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
"""The folder that holds the packages."""

PACKAGES = ("p2vlib", "p2vtools")

if os.environ.get("P2VLIB_HOME"):  # a relative path holds also for the kernels of notebooks, which run elsewhere
    os.environ["P2VLIB_HOME"] = os.path.abspath(os.environ["P2VLIB_HOME"])


def home() -> Path:
    """The checkout with notebooks, data and reports; the environment variable ``P2VLIB_HOME`` overrides it."""
    return Path(os.environ.get("P2VLIB_HOME") or ROOT)


def data_folder(name: str, scale: str) -> Path:
    """The folder of a generated data set of a scale: ``data/<name>/<scale>``."""
    return home() / "data" / name / scale


def text_digest(text: str) -> str:
    """The first 16 hexadecimal digits of the SHA-256 of a text."""
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def commit() -> str:
    """The commit of the checkout, with ``+`` appended if files differ from it; ``unknown`` outside or without git."""
    command = ["git", "describe", "--always", "--dirty=+", "--exclude=*"]
    with contextlib.suppress(OSError):  # git is not installed
        return subprocess.run(command, cwd=home(), capture_output=True, encoding="utf-8").stdout.strip() or "unknown"
    return "unknown"


def code_digest(modules: Iterable[str], ignored: Iterable[str] = ()) -> str:
    """A digest of ``modules`` and of all modules of the project that they import, directly or indirectly.

    Args:
        modules: dotted names, such as ``p2vlib.models.pix2vox``.
        ignored: imported modules that do not count.

    Returns:
        16 hexadecimal digits. They do not change when a docstring, a comment or the layout of a file changes, nor when
        a module is added that none of ``modules`` imports.
    """
    counted = reachable_modules(modules).difference(ignored)
    parts = [f"{name} {syntax_digest(_source(name))}" for name in sorted(counted)]
    return text_digest("\n".join(parts))


def reachable_modules(modules: Iterable[str]) -> set[str]:
    """``modules`` and all modules of the project that they import, directly or indirectly, also inside functions.

    Importing ``a.b.c`` also runs the ``__init__`` files of ``a`` and ``a.b``, but a package is followed only where a
    name is imported from it: a registry that lists all networks does not make one network depend on the others.
    """
    reached: set[str] = set()
    waiting = [name for name in modules if _file(name)]
    while waiting:
        name = waiting.pop()
        if name not in reached:
            reached.add(name)
            waiting += imported_modules(_source(name))
    return reached


@functools.lru_cache(maxsize=1024)
def imported_modules(source: str) -> frozenset[str]:
    """The modules of the project that the absolute imports in ``source``, of a module or a notebook, name."""
    found = set()
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and (base := node.module):
            found |= {inner if _file(inner := f"{base}.{alias.name}") else base for alias in node.names}
    return frozenset(module for module in found if module.split(".")[0] in PACKAGES and _file(module))


def _file(name: str) -> Path | None:
    path = ROOT.joinpath(*name.split("."))
    return next((file for file in (path.with_suffix(".py"), path / "__init__.py") if file.is_file()), None)


def _source(name: str) -> str:
    path = _file(name)
    if path is None:
        raise ValueError(f"{name}: no such module below {ROOT}")
    return path.read_text(encoding="utf-8")


@functools.lru_cache(maxsize=1024)
def syntax_digest(source: str) -> str:
    """The digest of a Python source without its docstrings, comments and layout.

    Every string that is a statement of its own counts as a docstring. Digests of two versions of Python can differ.
    """
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(body := getattr(node, "body", None), list):
            body[:] = [statement for statement in body if not _is_docstring(statement)]
    return text_digest(ast.dump(tree))


def _is_docstring(statement: ast.stmt) -> bool:
    return (
        isinstance(statement, ast.Expr)
        and isinstance(statement.value, ast.Constant)
        and isinstance(statement.value.value, str)
    )
