"""What an annotation on some slices would be on those between, so that it can be carried as a whole.

Shape-based interpolation (Raya and Udupa 1990): the signed distance to a structure's outline changes linearly from one
annotated slice to the next. An adapter learns from annotated slices alone and needs none of this; a vote on every
fifth slice, carried into another patient, is no vote at all on those between.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import numpy as np
from scipy import ndimage

from fseft.scan.annotation import Annotation
from fseft.scan.geometry import Geometry

#: Annotated slices farther apart than this, in mm, say too little of what lies between.
MOST_APART_MM = 30.0


def filled_between(annotation: Annotation, geometry: Geometry) -> Annotation:
    """The annotation with the slices between annotated ones filled in, which count as annotated then.

    A structure that only one of two neighbouring annotated slices shows ends halfway at most. Slices beyond
    the first and the last annotated one stay what they are.

    Args:
        annotation: of some slices; one that is complete, or lacks more than whole slices, is returned as it is.
        geometry: its grid.
    """
    if annotation.annotated is None or annotation.annotated.size != max(annotation.annotated.shape):
        return annotation
    axis = int(np.argmax(annotation.annotated.shape))
    step_mm = geometry.spacing[2 - axis]
    in_slice = [s for a, s in enumerate(geometry.spacing[::-1]) if a != axis]
    labels = np.moveaxis(annotation.labels.copy(), axis, 0)
    known = annotation.annotated.ravel().copy()
    for first, second in pairwise(np.flatnonzero(known)):
        if 1 < second - first <= MOST_APART_MM / step_mm:
            _fill(labels, int(first), int(second), [s.value for s in annotation.structures], in_slice)
            known[first:second] = True
    mask = known.reshape(annotation.annotated.shape)
    return Annotation(np.moveaxis(labels, 0, axis), annotation.structures, None if known.all() else mask)


def _fill(labels: np.ndarray, first: int, second: int, values: Sequence[int], spacing: Sequence[float]) -> None:
    """Fill ``labels[first + 1 : second]`` in place; where structures meet, the deeper one has the voxel."""
    between = np.arange(first + 1, second)
    shares = ((between - first) / (second - first)).astype(np.float32).reshape(-1, 1, 1)
    deepest = np.zeros((len(between), *labels.shape[1:]), dtype=np.float32)
    for value in values:
        ends = [labels[slice_] == value for slice_ in (first, second)]
        box = ndimage.find_objects((ends[0] | ends[1]).astype(np.uint8))
        if not box:
            continue
        rows, columns = (slice(max(0, part.start - 1), part.stop + 1) for part in box[0])
        depths = [_depth(end[rows, columns], spacing) for end in ends]
        before, after = (_or_gone(own, other) for own, other in (depths, depths[::-1]))
        depth = (1 - shares) * before + shares * after
        here = (slice(None), rows, columns)
        inside = (depth >= 0) & (depth >= deepest[here])
        labels[first + 1 : second][here][inside] = value
        deepest[here][inside] = depth[inside]


def _or_gone(own: np.ndarray | None, other: np.ndarray | None) -> np.ndarray | np.float32:
    """A slice's depth, or where it is empty what makes the structure of the other slice end halfway."""
    if own is not None:
        return own
    assert other is not None
    return np.float32(-other.max())


def _depth(mask: np.ndarray, spacing: Sequence[float]) -> np.ndarray | None:
    """mm from the outline, below 0 outside; None for an empty slice."""
    if not mask.any():
        return None
    # The outline lies between voxels: without the half, one voxel inside and one outside would both be at 1.
    half = min(spacing) / 2
    outside = ndimage.distance_transform_edt(~mask, sampling=spacing)
    inside = ndimage.distance_transform_edt(np.pad(mask, 1), sampling=spacing)[1:-1, 1:-1]
    depth: np.ndarray = np.where(mask, inside - half, half - outside).astype(np.float32)
    return depth
