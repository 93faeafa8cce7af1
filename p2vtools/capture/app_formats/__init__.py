"""One module for each export format, named as in ``p2v capture --from NAME``.

Each has a function ``read(archive: ExportArchive) -> Export``. To add a format, add a module: nothing else lists them.
"""

from __future__ import annotations

import pkgutil

APPS = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
"""The names of the formats."""
