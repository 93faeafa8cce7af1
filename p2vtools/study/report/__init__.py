"""Tables and pages from what the runs wrote; computes nothing of its own but means and intervals of kept metrics.

`build` reads the manifests (``parts/NN.json``), tables, figures and metrics of ``reports/<scale>`` and writes pages
there: ``index.html``, one for each notebook, one for each that was executed (``html/NN.html``). A page asks nothing of
the network and holds no address outside its folder. `benchmark_page` does the same for ``reports/evaluate``.
"""

from p2vtools.study.report.numbers import committed_metrics, published_results, with_committed
from p2vtools.study.report.page import build

__all__ = ["with_committed", "build", "committed_metrics", "published_results"]
