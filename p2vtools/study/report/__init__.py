"""Tables and pages from what the runs wrote; computes nothing of its own but means and intervals of kept metrics.

`build` reads the manifests (``parts/NN.json``), tables, figures and metrics of ``reports/<scale>`` and writes pages
there: ``index.html``, one for each notebook, one for each that was executed (``html/NN.html``). A page asks nothing of
the network and holds no address outside its folder. `benchmark_page` does the same for ``reports/evaluate``.
"""

from p2vtools.study.report.numbers import beside_committed, committed, published
from p2vtools.study.report.page import build

__all__ = ["beside_committed", "build", "committed", "published"]
