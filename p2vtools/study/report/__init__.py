"""The pages of a run, from the files that its notebooks left; computes only means and intervals of saved metrics.

`build` reads the manifests (``parts/NN.json``), tables, figures and metrics of ``reports/<scale>`` and writes
``index.html`` and, of each executed notebook, ``html/NN.html``. `evaluation_page` does the same for
``reports/evaluate``. Pages need no network and contain no address outside their folder.
"""

from p2vtools.study.report.numbers import committed_metrics, published_results, with_committed
from p2vtools.study.report.pages import build
