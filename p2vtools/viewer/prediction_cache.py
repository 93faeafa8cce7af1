"""What the viewer's controls choose, and what networks then say: kept, so that each is asked once."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from p2vlib.data.capture_folder import evenly_spaced
from p2vlib.evaluation import view_orders
from p2vtools.viewer.sample import Networks, Prediction, Sample, is_finer, predict_sample

SIZES = (32, 64, 128)
"""Voxels a side."""

ORDERS = ("clockwise", "shuffled", "reversed")

KEPT = 64
"""Answers."""


@dataclass(frozen=True)
class Choice:
    """What the controls say."""

    sample: int = 0
    views: int = 1
    order: str = "clockwise"
    size: int = 32


class Answers:
    """What ``networks`` say of ``samples``."""

    def __init__(self, samples: Sequence[Sample], networks: Networks) -> None:
        if not samples or not networks:
            raise ValueError(f"a view needs a sample and a network; found {len(samples)} and {len(networks)}")
        self.samples = list(samples)
        self.networks = dict(networks)
        self._kept: OrderedDict[tuple[str, Choice], Prediction] = OrderedDict()

    def most(self, sample: int) -> int:
        """How many photos a sample has."""
        return len(self.samples[sample].photos)

    def chosen(self, choice: Choice) -> list[int]:
        """The photos that are shown, in their order: evenly spaced, then ordered (shuffled always alike)."""
        some = evenly_spaced(self.most(choice.sample), choice.views)
        return [some[place] for place in view_orders(choice.order, choice.views)[0]]

    def sizes(self, name: str, sample: int) -> list[int]:
        """Voxels a side at which the network called ``name`` can be asked, and its answer be compared."""
        own = self.of(name, Choice(sample)).refined.shape[0]
        if not is_finer(self.networks[name][0]):
            return [own]
        return [size for size in SIZES if self.samples[sample].truth(size) is not None] or list(SIZES)

    def refines(self, name: str, sample: int) -> bool:
        """Whether the network called ``name`` has a refiner."""
        answer = self.of(name, Choice(sample))
        return not np.array_equal(answer.coarse, answer.refined)

    def of(self, name: str, choice: Choice) -> Prediction:
        """What the network called ``name`` says."""
        key = (name, choice)
        if key not in self._kept:
            sample = self.samples[choice.sample]
            self._kept[key] = predict_sample(sample, self.networks[name], self.chosen(choice), choice.size)
            if len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        self._kept.move_to_end(key)
        return self._kept[key]
