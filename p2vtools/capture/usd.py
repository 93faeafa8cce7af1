"""The meshes of a `.usdz` whose stage is text (`.usda`), read without USD's own library.

A `.usdz` is a zip whose first file is the stage (USD's specification of the package). Read are prims of type Mesh with
points, faces and the transforms above them; materials, variants, references and animation are not.
"""

from __future__ import annotations

import re
import zipfile
import zlib
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import trimesh
from jaxtyping import Float, Integer

MEMBERS = 4096
"""No package of a scan has more files."""

RATIO = 200
"""Nothing in it unpacks to more than so many times its packed size; packages are meant not to be packed at all."""

DEPTH = 64
"""Prims inside prims, at most."""

BINARY, TEXT = b"PXR-USDC", b"#usda"

INSTEAD = "export the scan as .glb, .obj or .ply instead"

WORD = re.compile(
    r"""(?P<skipped>\#[^\n]*|\"\"\".*?\"\"\"|"(?:[^"\\\n]|\\.)*")
    |\b(?:def|over|class)\b[ \t]*(?P<kind>\w*)[ \t]*"(?P<prim>[^"\n]*)"
    |(?P<name>[\w:]+)[ \t]*=[ \t]*
    |(?P<brace>[{}])""",
    re.VERBOSE | re.DOTALL,
)
"""What a stage is made of, as far as it is read here."""

SCALAR = re.compile(r'"[^"\n]*"|[^\s()"]*')

PLACED = "xformOp:"
WANTED = ("points", "faceVertexCounts", "faceVertexIndices", "orientation", "xformOpOrder", "metersPerUnit", "upAxis")

AXES = {"rotateX": (1, 0, 0), "rotateY": (0, 1, 0), "rotateZ": (0, 0, 1)}


@dataclass
class _Prim:
    """A node of the stage: its attributes as text."""

    kind: str
    values: dict[str, str] = field(default_factory=dict)
    inside: list[_Prim] = field(default_factory=list)


def read_usdz(path: Path, largest: int) -> trimesh.Trimesh:
    """All meshes of the package in one, metres (as its ``metersPerUnit`` says), y up.

    Args:
        largest: bytes to which its files may unpack together.

    Raises:
        ValueError: no zip, one that unpacks to too much, a binary stage, or one without a mesh that can be read.
    """
    content = _stage(path, largest)
    if content.startswith(BINARY):
        raise ValueError(f"{path}: its stage is binary (.usdc), which is not read here; {INSTEAD}")
    if not content.startswith(TEXT):
        raise ValueError(f"{path}: its first file is no USD stage (it starts with {content[:8]!r}); {INSTEAD}")
    stage = _parsed(path, content.decode("utf-8", "replace"))
    try:
        unit = float(stage.values.get("metersPerUnit", 0.01))  # USD's own default is centimetres
        meshes = list(_meshes(stage, np.diag([unit, unit, unit, 1.0])))
    except (ValueError, KeyError, IndexError) as error:
        raise ValueError(f"{path}: a mesh or a transform in it cannot be read ({error}); {INSTEAD}") from None
    if not meshes:
        raise ValueError(f"{path}: its stage holds no mesh of its own; {INSTEAD}")
    mesh = trimesh.util.concatenate(meshes)
    if "Z" in stage.values.get("upAxis", "Y"):
        mesh.apply_transform(trimesh.transformations.rotation_matrix(-np.pi / 2, [1, 0, 0]))
    return mesh


def _stage(path: Path, largest: int) -> bytes:
    """The first file of the package, once its directory has been found harmless."""
    try:
        with zipfile.ZipFile(path) as package:
            members = package.infolist()
            if not 0 < len(members) <= MEMBERS:
                raise ValueError(f"{path}: holds {len(members)} files; expected 1 to {MEMBERS}: it is no scan")
            total = sum(member.file_size for member in members)
            if total > largest or any(member.file_size > RATIO * max(member.compress_size, 64) for member in members):
                raise ValueError(
                    f"{path}: unpacks to {total / 2**20:,.0f} MiB from {path.stat().st_size / 2**20:,.2f}; at most"
                    f" {largest / 2**20:.0f} and {RATIO} times are believed: it is no scan"
                )
            with package.open(members[0]) as stage:
                return stage.read(members[0].file_size)
    except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError) as error:
        raise ValueError(f"{path}: not a whole .usdz package ({error}); export it again") from None


def _parsed(path: Path, text: str) -> _Prim:
    """The stage as a tree; its own metadata are the values of its root."""
    root = _Prim("")
    stack, coming, at = [root], None, 0
    while found := WORD.search(text, at):
        at = found.end()
        if found["prim"] is not None:
            coming, at = _Prim(found["kind"]), _behind_metadata(text, at)
        elif found["name"]:
            value, at = _value(text, at)
            if found["name"] in WANTED or found["name"].startswith(PLACED):
                stack[-1].values[found["name"]] = value
        elif found["brace"] == "{":
            # Braces that follow no prim hold variants or dictionaries: what is in them is not the stage's.
            prim, coming = coming or _Prim("none"), None
            stack[-1].inside.append(prim)
            stack.append(prim)
        elif found["brace"] == "}":
            stack.pop()
        if not 0 < len(stack) <= DEPTH:
            break
    if len(stack) != 1:
        raise ValueError(f"{path}: the braces of its stage do not close; the file is cut off: export it again")
    return root


def _behind_metadata(text: str, at: int) -> int:
    """Where the round brackets end that may follow a prim's name."""
    begins = re.compile(r"\s*\(").match(text, at)
    return _closed(text, begins.end() - 1) if begins else at


def _value(text: str, at: int) -> tuple[str, int]:
    """The value that starts at a place, and where it ends."""
    opened = text[at : at + 1]
    if opened == "[":
        end = text.find("]", at) + 1 or len(text)
    elif opened == "(":
        end = _closed(text, at)
    elif opened == "{":
        return "", at
    else:
        end = SCALAR.match(text, at).end()
    return text[at:end], end


def _closed(text: str, at: int) -> int:
    """Behind the bracket that closes the round one at a place."""
    depth = 0
    for found in re.compile(r'"(?:[^"\\\n]|\\.)*"|[()]').finditer(text, at):
        depth += {"(": 1, ")": -1}.get(found[0], 0)
        if not depth:
            return found.end()
    return len(text)


def _meshes(prim: _Prim, above: Float[np.ndarray, "4 4"]) -> list[trimesh.Trimesh]:
    """What a prim and those inside it hold, where they stand."""
    here = above @ _transform(prim.values)
    found = [mesh for part in prim.inside if part.kind != "none" for mesh in _meshes(part, here)]
    if prim.kind == "Mesh" and "points" in prim.values:
        points = _numbers(prim.values["points"]).reshape(-1, 3)
        counts, corners = (
            _numbers(prim.values[name]).astype(np.int64) for name in ("faceVertexCounts", "faceVertexIndices")
        )
        faces = _triangles(counts, corners, len(points))
        if "leftHanded" in prim.values.get("orientation", ""):
            faces = faces[:, ::-1]
        found.append(trimesh.Trimesh(points, faces, process=False).apply_transform(here))
    return found


def _triangles(
    counts: Integer[np.ndarray, " polygons"], corners: Integer[np.ndarray, " corners"], points: int
) -> Integer[np.ndarray, "triangles 3"]:
    """Polygons as fans of triangles."""
    if (counts < 3).any() or counts.sum() != len(corners):
        raise ValueError(f"its faces have {counts.sum()} corners, and {len(corners)} are listed")
    if len(corners) and not 0 <= corners.min() <= corners.max() < points:
        raise ValueError(f"its faces name points up to {corners.max()} of {points}")
    first = np.repeat(np.cumsum(counts) - counts, counts - 2)
    fans = np.cumsum(counts - 2)
    second = first + np.arange(len(first)) - np.repeat(fans - (counts - 2), counts - 2) + 1
    return corners[np.stack([first, second, second + 1], axis=1)]


def _transform(values: dict[str, str]) -> Float[np.ndarray, "4 4"]:
    """A prim's own transform: the operations that its order names, the last one first on a point."""
    whole = np.eye(4)
    for name in re.findall(r'"([^"]+)"', values.get("xformOpOrder", "")):
        inverted = name.removeprefix("!invert!")
        if not inverted.startswith(PLACED):
            raise ValueError(f"the transform {name} is not known")
        operation = _operation(inverted.split(":")[1], _numbers(values[inverted]))
        whole = whole @ (operation if inverted == name else np.linalg.inv(operation))
    return whole


def _operation(kind: str, numbers: np.ndarray) -> Float[np.ndarray, "4 4"]:
    """One operation for points as columns; USD writes its matrices for points as rows."""
    if kind == "transform":
        return numbers.reshape(4, 4).T
    if kind == "orient":
        return trimesh.transformations.quaternion_matrix(numbers)
    if kind in AXES:
        return trimesh.transformations.rotation_matrix(np.deg2rad(numbers[0]), AXES[kind])
    if kind == "rotateXYZ":
        return trimesh.transformations.euler_matrix(*np.deg2rad(numbers), "sxyz")
    if kind == "translate":
        return trimesh.transformations.translation_matrix(numbers)
    if kind == "scale":
        return np.diag([*numbers, 1.0])
    raise ValueError(f"the transform {kind} is not known")


def _numbers(text: str) -> Float[np.ndarray, " numbers"]:
    """The numbers of a value, whatever brackets group them."""
    return np.fromstring(text.translate(str.maketrans("()[],", "     ")), sep=" ")
