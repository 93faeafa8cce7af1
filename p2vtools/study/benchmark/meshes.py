"""What measuring itself is off on true shapes: measures of clean meshes against landmarks of the same feet."""

from __future__ import annotations

import pandas as pd

from p2vtools.fit.measure import measure_foot
from p2vtools.study.benchmark.walks import SEED
from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.landmarks import true_measures
from p2vtools.synthesis.feet.population import sample_population

FIRST = 1000
"""Number of the first person who is measured; those before it are photographed (`walks`)."""


def evaluate_meshes(case: int) -> dict[str, pd.DataFrame]:
    """Both feet of person number ``case``: side, measure, truth and found, mm."""
    (person,) = sample_population(SEED, 1, first=FIRST + case)
    rows = []
    for side, foot in make_feet(person).items():
        found = dict(measure_foot(foot.solid, side)[0].items())
        for key, truth in true_measures(foot).items():
            if (name := key.replace("_", " ")) in found:
                rows.append({"side": side, "measure": name, "truth": truth, "found": found[name]})
    return {"meshes": pd.DataFrame(rows).assign(case=case, person=person.id)}
