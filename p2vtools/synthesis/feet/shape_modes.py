"""Principal modes of variation of synthetic feet, for `p2vtools.capture.shape_model`."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from jaxtyping import Float
from safetensors.numpy import save_file

from p2vtools.synthesis.feet.foot import make_feet
from p2vtools.synthesis.feet.legs import leg_template
from p2vtools.synthesis.feet.population import sample_population

PEOPLE = {"usual": 220, "wide": 110}
"""Number of people of each variety whose left feet are used."""

MODES = 20


def write_shape_modes(seed: int, path: Path) -> None:
    """Writes the modes of the left feet of the population ``seed``: length 1, pternion at x = z = 0, floor at y = 0."""
    people = [person for variety, count in PEOPLE.items() for person in sample_population(seed, count, 0, variety)]
    feet = [make_feet(person)["left"] for person in people]
    shapes = np.stack([(foot.leg_mesh.vertices - foot.pternion * [1, 0, 1]) / foot.length for foot in feet])
    save_file(principal_modes(shapes) | {"faces": leg_template("left").faces.astype(np.int16)}, path)


def principal_modes(shapes: Float[np.ndarray, "feet vertices 3"]) -> dict[str, np.ndarray]:
    """The mean shape, and `MODES` modes of one standard deviation, ``[modes, vertices, 3]``; both float16."""
    mean = shapes.mean(0)
    _, deviations, modes = np.linalg.svd((shapes - mean).reshape(len(shapes), -1), full_matrices=False)
    modes = modes * deviations[:, None] / np.sqrt(len(shapes) - 1)
    tensors = {"mean": mean, "modes": modes[:MODES].reshape(-1, *mean.shape)}
    return {name: values.astype(np.float16) for name, values in tensors.items()}
