"""The module's whole way on its own sample data with the real worker, stopping for pictures.

Everything seen on the pictures was computed in the run that took them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from FSEFTSegmentLib.mrml.grid import own_grid
from FSEFTSegmentLib.mrml.segments import set_labels
from FSEFTSegmentLib.sample_data import ORGANS, SAMPLES
from mrml_makers import add_volume

Say = Callable[[str], None]


def add_phantom(scene: Any, seed: int, spacing_mm: float) -> tuple[Any, dict[str, np.ndarray]]:
    """A scan of the sample data in the scene, and where its organs are, (k, j, i)."""
    from fseft.phantom import make_phantom

    made = make_phantom(seed, "abdomen", (spacing_mm,) * 3)
    geometry = made.scan.geometry
    matrix = np.eye(4)
    matrix[:3, :3] = geometry.direction_matrix * geometry.spacing
    matrix[:3, 3] = geometry.origin
    ras = np.diag([-1.0, -1.0, 1.0, 1.0]) @ matrix
    volume = add_volume(scene, made.scan.hounsfield, ras, f"Synthetic CT {seed}")
    values = {structure.name: structure.value for structure in made.structures}
    return volume, {name: made.labels == values[name] for name in ORGANS}


def annotate(session: Any, case: Any, organs: dict[str, np.ndarray], names: tuple[str, ...] = ORGANS) -> None:
    """Put organs into a case's annotation."""
    volume = session.state.scan(case)
    labels = np.zeros(own_grid(volume).array_shape, np.uint8)
    for structure in session.state.structures:
        if structure.name in names:
            labels[organs[structure.name]] = structure.value
    set_labels(session.support.annotation_for(case), labels, own_grid(volume), session.state.structures)
    session.notify("cases")


def load(studio: Any, spacing_mm: float) -> list[tuple[Any, dict[str, np.ndarray]]]:
    """The sample data: annotated scans first, then the new ones."""
    seeds = [seed for sample in SAMPLES for seed in sample.seeds]
    scans = [add_phantom(studio.scene, seed, spacing_mm) for seed in seeds]
    studio.screen.scene_changed()
    return scans
