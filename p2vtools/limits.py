"""Limits of what is read from files; readers check them before they allocate memory. See also `binvox.GRID_SIZE`."""

from __future__ import annotations

MIB, GIB = 2**20, 2**30

PHOTO_BYTES = 64 * MIB
"""Largest file of a photo."""

PHOTO_PIXELS = 64_000_000
"""Largest photo, pixels. Phones take 12 to 50 million unless they are set to their full 108 or 200 million."""

TRAINING_PIXELS = 4096 * 4096
"""Largest photo of a training capture."""

SCAN_BYTES = 512 * MIB
"""Largest file of a scan."""

SCAN_POINTS = 20_000_000
"""Largest number of vertices, and of face corners, of a scan."""

WEIGHTS_BYTES = 64 * MIB
"""Largest file of pretrained weights."""

ENSEMBLE_MEMBERS = 16
"""Largest number of networks in pretrained weights."""

NETWORK_GRID, NETWORK_PIXELS = 64, 512
"""Largest volume and photo of pretrained weights, voxels and pixels a side."""

CHECKPOINT_BYTES = 4 * GIB
"""Largest published checkpoint, unpacked; Pix2Vox-A with its optimisers has a third of it."""

READER_SECONDS, READER_BYTES = 10.0, 2 * GIB
"""Time and address space of a reader in its own process. Both grow with the file: a second per MiB, and as much memory
as 16 copies of it."""
