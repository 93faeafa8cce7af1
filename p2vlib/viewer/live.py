"""The one switch: whether there is somebody who turns what is shown."""

from __future__ import annotations

import os

from IPython import get_ipython


def is_live() -> bool:
    """False in a batch run, which has ``P2VLIB_BATCH=1`` in its environment, and outside a notebook."""
    return get_ipython() is not None and os.environ.get("P2VLIB_BATCH") != "1"
