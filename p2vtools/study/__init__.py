"""The study: notebook runs, the papermill runner, sweeps, comparisons, report pages and the benchmark."""
