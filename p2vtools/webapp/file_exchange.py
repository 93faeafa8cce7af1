"""A widget that receives files from the browser, piece by piece and with limits, and sends files to save there."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import anywidget
import traitlets


class FileExchange(anywidget.AnyWidget):
    """Buttons that choose files on the device of the visitor.

    Args:
        folder: where a file is while it arrives.
        max_bytes: largest file.
        receive: called with the original name and the path of each complete file, which is deleted afterwards; raises
            ValueError if the file is not wanted.
        refuse: called with the name and the reason of each file that was not accepted.
        photos: photos, which the browser makes smaller and sends without EXIF; otherwise zips.
    """

    _esm = Path(__file__).with_suffix(".js")
    photos = traitlets.Bool(True).tag(sync=True)
    disabled = traitlets.Bool(False).tag(sync=True)

    def __init__(
        self,
        folder: Path,
        max_bytes: int,
        receive: Callable[[str, Path], object],
        refuse: Callable[[str, str], object],
        **traits: Any,
    ) -> None:
        super().__init__(**traits)
        self._path = folder / f"arriving {'photo' if self.photos else 'export'}"
        self._max_bytes, self._receive, self._refuse = max_bytes, receive, refuse
        self._name, self._missing, self._stream = "", 0, None
        self.on_msg(lambda _, content, buffers: self._answer(content, buffers))

    _stream: BinaryIO | None

    def save(self, name: str, content: bytes) -> None:
        """Makes the browser save ``content`` as the file ``name``."""
        self.send({"kind": "save", "name": name}, [content])

    def _answer(self, content: Mapping[str, Any], buffers: Sequence[memoryview]) -> None:
        try:
            accepted = self._take(content, buffers)
        except (ValueError, OSError) as error:
            self.stop()
            self._refuse(self._name, str(getattr(error, "strerror", None) or error))
            accepted = False
        self.send({"kind": "answer", "accepted": accepted})

    def _take(self, content: Mapping[str, Any], buffers: Sequence[memoryview]) -> bool:
        kind = content.get("kind")
        if kind == "begin":
            self.stop()
            self._name, self._missing = Path(str(content.get("name"))).name[:80], int(content.get("size", -1))
            if not 0 < self._missing <= self._max_bytes:
                limit = f"the limit is {self._max_bytes // 2**20} MB"
                raise ValueError(f"{self._missing // 2**20} MB; {limit}" if self._missing > 0 else "an empty file")
            self._stream = self._path.open("wb")
        elif kind == "piece" and self._stream and len(buffers) == 1:
            self._missing -= buffers[0].nbytes
            if self._missing < 0:
                raise ValueError("longer than announced; choose it again")
            self._stream.write(buffers[0])
        elif kind == "end" and self._stream:
            self._stream.close()
            if self._missing:
                raise ValueError("did not arrive completely; choose it again")
            self._receive(self._name, self._path)
            self.stop()
        else:
            raise ValueError("did not arrive; choose it again")
        return True

    def stop(self) -> None:
        """Deletes a file that has not arrived completely; the rest of it is refused."""
        if self._stream:
            self._stream.close()
        self._stream = None
        self._path.unlink(missing_ok=True)
