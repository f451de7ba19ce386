"""Annotations: labels on a scan's grid, the structures they stand for, and the voxels that count."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import SimpleITK as sitk

from fseft.errors import AnnotationError, ScanError
from fseft.reporting import SILENT, Reporter
from fseft.scan.geometry import Geometry
from fseft.scan.reading import read_volume
from fseft.scan.scan import Scan
from fseft.scan.segments import Segment, number_segments, segments_in, structures_from_json
from fseft.scan.sparse import SparseSlices, annotated_mask, looks_sparse
from fseft.structures import PALETTE, Structure, canonical_name

__all__ = [
    "Annotation",
    "SparseSlices",
    "check_scans_differ",
    "looks_sparse",
    "read_annotation",
    "same_scan",
    "structures_from_json",
]

#: More different values than any anatomical atlas has: an image, not a labelmap.
MOST_LABELS = 1000
_SHOWN = 8  # names in a message


@dataclass(frozen=True)
class Annotation:
    """An annotation of one scan.

    Attributes:
        labels: (z, y, x) uint16 on the scan's grid, 0 = background.
        structures: those this annotation covers, also when absent from this scan. Structures of a support set that
            are not among them are not annotated here, and their voxels say nothing.
        annotated: bool mask that broadcasts to (z, y, x): where the labels count. None = everywhere.
    """

    labels: np.ndarray
    structures: tuple[Structure, ...]
    annotated: np.ndarray | None = None


def read_annotation(
    path: Path,
    scan: Scan,
    structures: Sequence[Structure] | None = None,
    sparse: SparseSlices | None = None,
    reporter: Reporter = SILENT,
    others: Literal["refuse", "background"] = "refuse",
) -> Annotation:
    """Read an annotation onto a scan's grid.

    A labelmap's values are looked up in ``structures``; without a list they are named "structure 1" and so on.
    The segments of a ``.seg.nrrd`` are looked up by name, first as written, then in the common spelling, and get the
    values of ``structures``; without a list they are structures of their own. On another grid the labels are
    taken from the nearest voxel. Where an ordinary labelmap does not reach, nothing is annotated; a segmentation
    file is cropped to its segments when it is saved, so around it is background.

    Args:
        path: NIfTI, NRRD, MetaImage or ``.seg.nrrd``.
        scan: what was annotated.
        structures: what to look for.
        sparse: given when only some slices were annotated.
        reporter: hears warnings.
        others: what becomes of labels and segments that no structure of the list has.

    Raises:
        AnnotationError: "annotation-empty", "annotation-not-labels", "annotation-is-scan",
            "annotation-unknown-label", "annotation-unknown-structure", "annotation-segments",
            "annotation-no-overlap", "annotation-not-sparse", "annotation-sparse-axis", "annotation-slices".
        ScanError: when the file itself cannot be read, see :func:`fseft.scan.reading.read_scan`.
    """
    path = Path(path)
    array, geometry, header = read_volume(path, reporter=reporter, labelmap=True)
    segments = segments_in(header.metadata, path.name)
    if array.ndim == 4 and not segments:
        raise ScanError(
            "scan-vector",
            f"{path.name} holds {array.shape[3]} values in each voxel (colour or vectors), not one label.",
            "Export the annotation as a labelmap or as a segmentation (.seg.nrrd).",
        )
    values = _present_values(array, geometry, scan, path.name)
    if segments:
        labels, covered = _labels_of_segments(array, segments, structures, path.name, reporter, others)
    else:
        labels, covered = _labels_by_value(array, values, structures, path.name, others)
    if not labels.any():
        raise _empty(path.name, segments, values, structures)
    labels, reached = _on_grid(labels, geometry, scan.geometry, bool(segments), path.name, reporter)
    mask = reached
    if sparse is not None:
        slices = annotated_mask(labels, sparse, covered, reporter)
        mask = slices if reached is None else slices & reached
    elif looks_sparse(labels) is not None:
        reporter.log(
            f"{path.name} has labels on separate slices only, and those in between count as empty. If they were not"
            " annotated, say so: “Some slices”, --sparse, or the table's column.",
            "warning",
        )
    return Annotation(labels, covered, mask)


def same_scan(a: Scan, b: Scan) -> bool:
    """Whether both are the same scan, whatever their files are called or however their numbers are stored."""
    if a.content_key == b.content_key:
        return True
    return a.geometry.same_grid(b.geometry) and np.array_equal(a.hounsfield, b.hounsfield)


def check_scans_differ(scans: Sequence[Scan]) -> None:
    """Refuse a support set with one scan twice: it would be judged by itself in the leave-one-out table.

    Raises:
        ScanError: "scan-twice".
    """
    for later, scan in enumerate(scans):
        for earlier in range(later):
            if same_scan(scans[earlier], scan):
                raise ScanError(
                    "scan-twice",
                    f"Cases {earlier + 1} ({scans[earlier].name}) and {later + 1} ({scan.name}) are the same scan.",
                    "Remove one of them; if both annotations matter, merge them into one.",
                )


def _present_values(array: np.ndarray, geometry: Geometry, scan: Scan, what: str) -> np.ndarray:
    """The distinct values of a labelmap, refused when they cannot be labels."""
    if geometry.same_grid(scan.geometry) and np.array_equal(array, scan.hounsfield):
        raise AnnotationError(
            "annotation-is-scan",
            f"{what} is the CT itself, not an annotation of it.",
            "Choose the labelmap or segmentation that belongs to the scan.",
        )
    if array.dtype.kind == "f":
        for plane in array:
            if not np.isfinite(plane).all() or not (np.rint(plane) == plane).all():
                raise _not_labels(what, "some are no whole numbers, as after smooth resampling")
    low, high = float(array.min()), float(array.max())
    if low < 0 or high > 65535:
        raise _not_labels(what, f"they run from {low:g} to {high:g}, and labels lie within 0..65535")
    # Counting is faster than sorting and takes no memory per voxel.
    count = np.zeros(int(high) + 1, dtype=bool)
    for plane in array:
        count[plane.astype(np.uint16).ravel()] = True
    values = np.flatnonzero(count)
    values = values[values > 0]
    if len(values) > MOST_LABELS:
        raise _not_labels(what, f"there are {len(values)} different ones, as in an image")
    return values


def _empty(
    what: str, segments: Sequence[Segment], values: np.ndarray, structures: Sequence[Structure] | None
) -> AnnotationError:
    """Nothing is drawn at all, or nothing of what was looked for: two different mistakes."""
    hint = "Annotate at least one structure, or leave this case out."
    if structures is not None and not structures:
        return AnnotationError("annotation-empty", f"No structure is said to be annotated in {what}.", hint)
    if not len(values) or not structures:
        return AnnotationError("annotation-empty", f"{what} holds no label: every voxel is background.", hint)
    if segments:
        there = "its segments are " + ", ".join(segment.name for segment in segments[:_SHOWN])
        wanted = ", ".join(s.name for s in structures[:_SHOWN])
    else:
        there = "its values are " + ", ".join(str(value) for value in values[:_SHOWN])
        wanted = ", ".join(f"{s.name} ({s.value})" for s in structures[:_SHOWN])
    return AnnotationError(
        "annotation-empty", f"{what} shows none of: {wanted}; {there}.", f"Check names and values. {hint}"
    )


def _not_labels(what: str, why: str) -> AnnotationError:
    return AnnotationError(
        "annotation-not-labels",
        f"The values of {what} are no labels: {why}.",
        "Choose a labelmap (0 = background, a whole number for each structure) or a segmentation.",
    )


def _labels_by_value(
    array: np.ndarray, values: np.ndarray, structures: Sequence[Structure] | None, what: str, others: str
) -> tuple[np.ndarray, tuple[Structure, ...]]:
    labels = array.astype(np.uint16)
    if structures is None:
        named = [Structure(f"structure {v}", int(v), PALETTE[i % len(PALETTE)]) for i, v in enumerate(values)]
        return labels, tuple(named)
    known = {s.value for s in structures}
    unknown = [int(v) for v in values if int(v) not in known]
    if unknown and others == "background":
        labels[~np.isin(labels, sorted(known))] = 0
    elif unknown:
        listed = ", ".join(f"{s.value} {s.name}" for s in structures)
        raise AnnotationError(
            "annotation-unknown-label",
            f"{what} holds the label {unknown[0]}, which no structure has (they are {listed}).",
            "Add the missing structure, correct the values, or name the structures that count (on the command line "
            "--structure, for each): others are background then.",
        )
    return labels, tuple(structures)


def _labels_of_segments(
    array: np.ndarray,
    segments: Sequence[Segment],
    structures: Sequence[Structure] | None,
    what: str,
    reporter: Reporter,
    others: str,
) -> tuple[np.ndarray, tuple[Structure, ...]]:
    """One labelmap from the layers of a segmentation; where segments overlap the later one wins."""
    matched = number_segments(segments) if structures is None else [_match(s.name, structures) for s in segments]
    ranks = _segment_ranks(array, segments, what, reporter)
    present = np.bincount(ranks.ravel(), minlength=len(segments) + 1)[1:] > 0
    value_of_rank = np.zeros(len(segments) + 1, dtype=np.uint16)
    covered: list[Structure] = []
    for number, structure in enumerate(matched):
        if structure is not None:
            value_of_rank[number + 1] = structure.value
            if structure not in covered:
                covered.append(structure)
        elif present[number] and others == "refuse":
            raise _unknown_structure(segments[number].name, structures or (), what)
    return value_of_rank[ranks], tuple(covered)


def _segment_ranks(array: np.ndarray, segments: Sequence[Segment], what: str, reporter: Reporter) -> np.ndarray:
    """For each voxel the number of its last segment, counted from 1; one pass a layer, however many segments."""
    layers = array.reshape((*array.shape[:3], -1))
    ranks = np.zeros(array.shape[:3], dtype=np.uint16)
    overlaps = np.zeros(len(segments) + 1, dtype=np.int64)
    for layer in range(layers.shape[3]):
        values = layers[..., layer].astype(np.uint16)
        rank_of_value = np.zeros(int(values.max()) + 1, dtype=np.uint16)
        for number, segment in enumerate(segments, start=1):
            if min(segment.layer, layers.shape[3] - 1) == layer and 0 < segment.value < len(rank_of_value):
                rank_of_value[segment.value] = number
        here = rank_of_value[values]
        strangers = values[(here == 0) & (values > 0)]
        if strangers.size:
            raise AnnotationError(
                "annotation-unknown-label",
                f"{what} holds the label {int(strangers[0])}, which none of its segments has.",
                "Open it in 3D Slicer and save the segmentation again.",
            )
        both = (ranks > 0) & (here > 0) if layer else np.zeros(0, dtype=bool)
        ranks = np.maximum(ranks, here)
        if both.any():
            overlaps += np.bincount(ranks[both], minlength=len(overlaps))
    for later in np.flatnonzero(overlaps):
        reporter.log(
            f"In {what} the segment {segments[later - 1].name} overlaps earlier ones in {overlaps[later]} voxels"
            " and replaces them.",
            "warning",
        )
    return ranks


def _match(name: str, structures: Sequence[Structure]) -> Structure | None:
    exact = next((s for s in structures if s.name == name), None)
    if exact is not None:
        return exact
    alike = [s for s in structures if s.canonical == canonical_name(name)]
    return alike[0] if len(alike) == 1 else None


def _unknown_structure(name: str, structures: Sequence[Structure], what: str) -> AnnotationError:
    return AnnotationError(
        "annotation-unknown-structure",
        f'{what} has a segment "{name}", which is none of the structures {", ".join(s.name for s in structures)}.',
        "Rename the segment, add the structure, or remove the segment.",
    )


def _on_grid(
    labels: np.ndarray, own: Geometry, grid: Geometry, cropped: bool, what: str, reporter: Reporter
) -> tuple[np.ndarray, np.ndarray | None]:
    """Labels on the scan's grid by the nearest voxel, and where they reach (None = everywhere)."""
    if own.same_grid(grid):
        return labels, None
    moved = _nearest(labels, own, grid)
    if not moved.any():
        raise AnnotationError(
            "annotation-no-overlap",
            f"{what} lies elsewhere: none of its labels is inside the scan.",
            "Choose the annotation that belongs to this scan; if it does, apply its transform and save it again.",
        )
    if not _same_lattice(own, grid):
        reporter.log(f"{what} is on another grid; each voxel of the scan took its nearest label.", "warning")
    before = float((labels > 0).sum()) * own.voxel_volume_ml
    after = float((moved > 0).sum()) * grid.voxel_volume_ml
    if after < 0.9 * before:
        reporter.log(f"{100 * (1 - after / before):.0f} % of what {what} labels is outside the scan.", "warning")
    if cropped:
        return moved, None
    reached = _nearest(np.ones_like(labels, dtype=np.uint8), own, grid) > 0
    if reached.all():
        return moved, None
    reporter.log(
        f"{what} covers {100 * reached.mean():.0f} % of the scan; the rest counts as not annotated.", "warning"
    )
    return moved, reached


def _nearest(labels: np.ndarray, own: Geometry, grid: Geometry) -> np.ndarray:
    resampler = sitk.ResampleImageFilter()
    resampler.SetSize(grid.size)
    resampler.SetOutputSpacing(grid.spacing)
    resampler.SetOutputOrigin(grid.origin)
    resampler.SetOutputDirection(grid.direction)
    resampler.SetInterpolator(sitk.sitkNearestNeighbor)
    moved: np.ndarray = sitk.GetArrayFromImage(resampler.Execute(own.image_of(labels)))
    return moved


def _same_lattice(own: Geometry, grid: Geometry) -> bool:
    """Whether both grids are cut-outs of one: same voxels, another extent."""
    first = grid.to_index(np.asarray([own.origin]))[0]
    return bool(
        np.allclose(own.spacing, grid.spacing, rtol=1e-4)
        and np.allclose(own.direction, grid.direction, atol=1e-4)
        and np.abs(first - np.rint(first)).max() < 0.02
    )
