"""Labelmaps as evaluation sees them: masks by structure, from plain labelmaps and from segmentation files."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import find_objects

from fseft.errors import AnnotationError
from fseft.reporting import SILENT, Reporter
from fseft.scan.geometry import Geometry
from fseft.scan.reading import read_volume
from fseft.scan.segments import Segment, segments_in
from fseft.structures import Structure, canonical_name

Box = tuple[slice, slice, slice]
_EMPTY: Box = (slice(0, 0), slice(0, 0), slice(0, 0))


@dataclass(frozen=True, eq=False)
class Labelmap:
    """A labelmap and what it says of itself.

    Attributes:
        name: the file's name, for messages.
        layers: (z, y, x, layers) whole numbers.
        geometry: the grid.
        segments: named segments; empty for a plain labelmap.
        boxes: for each layer the bounding box of value 1, 2, ... (None where absent).
    """

    name: str
    layers: np.ndarray
    geometry: Geometry
    segments: tuple[Segment, ...]
    boxes: tuple[list[Box | None], ...]

    @property
    def values(self) -> list[int]:
        """Label values that occur in a plain labelmap."""
        return [value for value, box in enumerate(self.boxes[0], start=1) if box is not None]

    def place_of(self, structure: Structure) -> tuple[int, int] | None:
        """The (layer, value) of a structure: by name where the file has names, else by value. None if not there."""
        if not self.segments:
            return 0, structure.value
        named = [s for s in self.segments if s.name == structure.name]
        named = named or [s for s in self.segments if canonical_name(s.name) == structure.canonical]
        return (min(named[0].layer, self.layers.shape[3] - 1), named[0].value) if named else None

    def box_of(self, structure: Structure) -> Box:
        """The structure's bounding box, empty when it has no voxel."""
        place = self.place_of(structure)
        if place is None:
            return _EMPTY
        boxes = self.boxes[place[0]]
        return (boxes[place[1] - 1] or _EMPTY) if 1 <= place[1] <= len(boxes) else _EMPTY

    def mask(self, structure: Structure, box: Box) -> np.ndarray:
        """(z, y, x) bool of the structure within a box."""
        place = self.place_of(structure)
        part = self.layers[box]
        if place is None:
            return np.zeros(part.shape[:3], dtype=bool)
        mask: np.ndarray = part[..., place[0]] == place[1]
        return mask


def read_labelmap(path: Path, reporter: Reporter = SILENT) -> Labelmap:
    """Read a labelmap or segmentation file without bringing it to any other grid.

    Raises:
        ScanError: when the file cannot be read.
        AnnotationError: "annotation-not-labels" when its values are no labels.
    """
    array, geometry, header = read_volume(path, reporter=reporter, labelmap=True)
    layers = array.reshape((*array.shape[:3], -1))
    low, high = float(layers.min()), float(layers.max())
    whole = layers.dtype.kind in "iub" or all(bool((np.rint(plane) == plane).all()) for plane in layers)
    if not whole or low < 0 or high > 65535:
        raise AnnotationError(
            "annotation-not-labels",
            f"The values of {path.name} are no labels: they run from {low:g} to {high:g}.",
            "Choose a labelmap (0 = background, a whole number for each structure) or a segmentation.",
        )
    layers = layers.astype(np.uint16 if high > 255 else np.uint8, copy=False)
    boxes = tuple(find_objects(layers[..., layer].astype(np.int32)) for layer in range(layers.shape[3]))
    return Labelmap(path.name, layers, geometry, segments_in(header.metadata, path.name), boxes)


def common_structures(prediction: Labelmap, reference: Labelmap) -> tuple[Structure, ...]:
    """What two labelmaps can be compared on when nobody said which structures they hold.

    The reference's names where it has some, else the prediction's, else every value that occurs in either.
    """
    for labelmap in (reference, prediction):
        if labelmap.segments:
            return tuple(Structure(s.name, s.value, s.color, s.terminology) for s in labelmap.segments)
    values = sorted({*reference.values, *prediction.values})
    return tuple(Structure(f"structure {value}", value) for value in values)


def union_box(boxes: Sequence[Box]) -> Box:
    """The smallest box around boxes; empty ones count for nothing."""
    full = [box for box in boxes if all(s.stop > s.start for s in box)]
    if not full:
        return _EMPTY
    spans = [(min(b[axis].start for b in full), max(b[axis].stop for b in full)) for axis in range(3)]
    return (slice(*spans[0]), slice(*spans[1]), slice(*spans[2]))
