"""Tables and pages from what the runs wrote; computes nothing of its own.

`build` reads the manifests (``parts/NN.json``), tables and figures of ``reports/<scale>`` and writes ``metrics.csv``
and ``index.html`` there. The page asks nothing of the network and holds no address outside its folder.
"""

from .numbers import beside_committed, committed, published, read_metrics
from .page import build

__all__ = ["beside_committed", "build", "committed", "published", "read_metrics"]
