"""Annotations for the worker: a labelmap on the scan's grid with the structures' own values and names."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from fseft.errors import AnnotationError
from fseft.structures import Structure

from FSEFTSegmentLib.mrml.grid import Grid, own_grid, world_transform
from FSEFTSegmentLib.mrml.images import image_matrix, on_grid
from FSEFTSegmentLib.mrml.nrrd import write_nrrd_steps
from FSEFTSegmentLib.mrml.segments import layer_images, match_segments
from FSEFTSegmentLib.mrml.volumes import slabs_of
from FSEFTSegmentLib.steps import Steps


@dataclass(frozen=True)
class Annotation:
    """A segmentation brought to a volume's grid.

    Attributes:
        labels: (k, j, i) on the volume's grid; the structures' values, 0 elsewhere.
        grid: the volume's own grid, parent transform left aside.
        structures: those that have at least one voxel here.
        empty: names of structures that have a segment without voxels.
        missing: names of structures without a segment.
        ignored: names of segments that belong to no structure.
        overlaps: (kept, lost, voxels) where two segments claim the same voxels.
    """

    labels: np.ndarray
    grid: Grid
    structures: tuple[Structure, ...]
    empty: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    ignored: tuple[str, ...] = ()
    overlaps: tuple[tuple[str, str, int], ...] = ()

    def warnings(self) -> list[str]:
        """What the user should know, as sentences."""
        said = [
            f"“{kept}” and “{lost}” overlap in {voxels} voxels; they count as “{kept}”."
            for kept, lost, voxels in self.overlaps
        ]
        if self.ignored:
            said.append(f"No structure takes these segments, so they are left out: {', '.join(self.ignored)}.")
        return said


#: Voxels painted in one step.
_STEP_VOXELS = 4 << 20


@dataclass
class _Painting:
    labels: np.ndarray
    seen: np.ndarray
    is_blank: bool = True
    overlaps: dict[tuple[int, int], int] = field(default_factory=dict)


def annotation_steps(node: Any, volume: Any, structures: tuple[Structure, ...]) -> Steps[Annotation]:
    """Bring a segmentation to a volume's grid, whatever grid, extent, layers or linear transforms it has.

    Hidden segments count. Where segments overlap the later one in the list wins, as it does on the screen, and
    the overlap is told.

    Raises:
        AnnotationError: "annotation-elsewhere" when nothing of it lies on the volume, "structures-missing".
        ScanError: for warping transforms.
    """
    if not structures:
        raise AnnotationError("structures-missing", "There is no structure to learn.", "Add a structure first.")
    grid = own_grid(volume)
    to_volume = np.linalg.solve(world_transform(volume), world_transform(node))
    if np.abs(to_volume - np.eye(4)).max() < 1e-9:
        to_volume = np.eye(4)
    matched, ignored = match_segments(node, structures)
    value_of = {info.id: structure for structure in structures if (info := matched.get(structure.name))}
    largest = max(structure.value for structure in structures)
    labels = np.zeros(grid.array_shape, np.uint8 if largest < 256 else np.uint16)
    painting = _Painting(labels, np.zeros(65536, dtype=bool))
    in_node = grid.moved(np.linalg.inv(to_volume))
    wanted = [matched[structure.name] for structure in structures if structure.name in matched]
    order = {info.id: position for position, info in enumerate(wanted)}
    layers = layer_images(node, wanted, in_node)
    anything = False
    for image, infos in sorted(layers, key=lambda layer: min(order[info.id] for info in layer[1])):
        yield 0.5
        placed = on_grid(image, to_volume @ image_matrix(image), grid)
        if placed is None:
            continue
        anything = True
        yield from _paint_steps(painting, *placed, {info.value: value_of[info.id].value for info in infos})
    if painting.overlaps:
        # What was painted over may be gone altogether.
        painting.seen[:] = False
        for slab in slabs_of(painting.labels):
            painting.seen[slab] = True
            yield 0.9
    if layers and not anything:
        raise AnnotationError(
            "annotation-elsewhere",
            f"Nothing of “{node.GetName()}” lies on “{volume.GetName()}”.",
            "Choose the annotation that was drawn on this scan.",
        )
    names = {structure.value: structure.name for structure in structures}
    return Annotation(
        painting.labels,
        grid,
        tuple(structure for structure in structures if painting.seen[structure.value]),
        tuple(s.name for s in structures if s.name in matched and not painting.seen[s.value]),
        tuple(s.name for s in structures if s.name not in matched),
        tuple(ignored),
        tuple((names[kept], names[lost], count) for (kept, lost), count in sorted(painting.overlaps.items())),
    )


def _paint_steps(
    painting: _Painting, source: np.ndarray, where: tuple[slice, slice, slice], values: dict[int, int]
) -> Steps[None]:
    """Add a layer; ``values`` maps the layer's own label values to the structures'."""
    table = np.zeros(max(int(source.max()), *values) + 1, painting.labels.dtype)
    for own, value in values.items():
        table[own] = value
    first, painting.is_blank = painting.is_blank, False
    target = painting.labels[where]
    thickness = max(1, _STEP_VOXELS // max(1, source[0].size))
    for start in range(0, len(source), thickness):
        new = np.take(table, source[start : start + thickness])
        part = target[start : start + thickness]
        painting.seen[new] = True
        if first:
            part[...] = new
        else:
            drawn = new > 0
            _count_overlaps(painting, new, part, drawn)
            np.copyto(part, new, where=drawn)
        yield 0.5


def _count_overlaps(painting: _Painting, new: np.ndarray, old: np.ndarray, drawn: np.ndarray) -> None:
    both = drawn & (old > 0)
    if not both.any():
        return
    pairs, counts = np.unique(new[both].astype(np.int64) << 16 | old[both].astype(np.int64), return_counts=True)
    for pair, count in zip(pairs.tolist(), counts.tolist(), strict=True):
        key = (pair >> 16, pair & 0xFFFF)
        painting.overlaps[key] = painting.overlaps.get(key, 0) + count


def write_annotation_steps(annotation: Annotation, grid: Grid, path: Path) -> Steps[None]:
    """Write an annotation as ``.seg.nrrd`` with names, colours and values.

    Args:
        annotation: on the volume's grid.
        grid: the grid the volume was written with (transforms applied), so that both files match voxel by voxel.
        path: ends in ``.seg.nrrd``.

    Raises:
        ResourceError: "disk-full", "cannot-write".
    """
    fields = segment_fields(annotation.structures, grid)
    labels = annotation.labels
    yield from write_nrrd_steps(path, slabs_of(labels), labels.dtype, grid, fields, compress=True)


def segment_fields(structures: tuple[Structure, ...], grid: Grid) -> dict[str, str]:
    """Header fields by which ``.seg.nrrd`` readers know names, values, colours and terminology."""
    extent = " ".join(f"0 {size - 1}" for size in grid.size)
    fields = {
        "Segmentation_SourceRepresentation": "Binary labelmap",
        "Segmentation_MasterRepresentation": "Binary labelmap",
        "Segmentation_ContainedRepresentationNames": "Binary labelmap|",
        "Segmentation_ReferenceImageExtentOffset": "0 0 0",
    }
    for position, structure in enumerate(structures):
        prefix = f"Segment{position}_"
        fields[prefix + "ID"] = f"Segment_{structure.value}"
        fields[prefix + "Name"] = structure.name
        fields[prefix + "NameAutoGenerated"] = "0"
        fields[prefix + "Color"] = " ".join(f"{channel:.6g}" for channel in structure.color)
        fields[prefix + "ColorAutoGenerated"] = "0"
        fields[prefix + "LabelValue"] = str(structure.value)
        fields[prefix + "Layer"] = "0"
        fields[prefix + "Extent"] = extent
        if structure.terminology:
            fields[prefix + "Tags"] = f"TerminologyEntry:{structure.terminology}|"
    return fields
