"""Annotations on some slices: which voxels count."""

from __future__ import annotations

import numpy as np
import pytest
from fseft.errors import AnnotationError
from fseft.scan.annotation import SparseSlices, looks_sparse, read_annotation
from fseft.scan.sparse import annotated_mask
from fseft.scan.writing import write_labelmap
from fseft.structures import number_structures
from scan_files import Listener, ct_scan, straight

SHAPE = (40, 20, 20)


def ball(value: int = 1, centre: tuple[int, int, int] = (20, 10, 10), radius: float = 9) -> np.ndarray:
    z, y, x = np.indices(SHAPE)
    distance = np.sqrt((z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2)
    return np.where(distance < radius, value, 0).astype(np.uint16)


def every(array: np.ndarray, n: int, array_axis: int = 0, start: int = 0) -> np.ndarray:
    """Labels on every n-th slice only."""
    kept = np.zeros_like(array)
    index = [slice(None)] * 3
    index[array_axis] = slice(start, None, n)
    kept[tuple(index)] = array[tuple(index)]
    return kept


@pytest.mark.parametrize("axis", [0, 1, 2])
@pytest.mark.parametrize("n", [2, 3, 5])
def test_the_axis_is_found(axis, n):
    labels = every(ball(), n, 2 - axis)
    assert looks_sparse(labels) == axis
    mask = annotated_mask(labels, SparseSlices())
    assert mask.shape[2 - axis] == SHAPE[2 - axis]
    assert mask.size == SHAPE[2 - axis]


def test_complete_annotations_do_not_look_sparse():
    assert looks_sparse(ball()) is None
    assert looks_sparse(ball(centre=(8, 10, 10), radius=4) + ball(2, (32, 10, 10), 4)) is None
    assert looks_sparse(ball(radius=1)) is None
    assert looks_sparse(np.zeros(SHAPE, np.uint16)) is None


def test_which_slices_count():
    """Ball on slices 12..28, drawn on 15, 20, 25: between them nothing is known, nor one distance beyond."""
    labels = every(ball(), 5)
    assert list(np.flatnonzero(labels.any(axis=(1, 2)))) == [15, 20, 25]
    mask = annotated_mask(labels, SparseSlices()).ravel()
    known = [*range(0, 10), 15, 20, 25, *range(31, 40)]
    assert list(np.flatnonzero(mask)) == known


def test_what_counts_is_never_wrong():
    """Wherever labels count, they equal the complete annotation, for every distance and start."""
    whole = ball()
    for n in (2, 3, 4, 5, 6):
        for start in range(n):
            labels = every(whole, n, start=start)
            mask = np.broadcast_to(annotated_mask(labels, SparseSlices()), SHAPE)
            assert np.array_equal(labels[mask], whole[mask])
            assert mask.any(axis=(1, 2)).sum() >= 3


def test_listed_slices_count_without_labels():
    labels = every(ball(), 5)
    mask = annotated_mask(labels, SparseSlices(annotated=(10, 30))).ravel()
    assert mask[10]
    assert mask[30]
    assert not mask[9]
    assert mask[4]


def test_one_slice_alone_says_nothing_about_the_others():
    labels = np.zeros(SHAPE, np.uint16)
    labels[18] = ball()[18]
    mask = annotated_mask(labels, SparseSlices()).ravel()
    assert list(np.flatnonzero(mask)) == [18]


def test_two_structures_far_apart():
    """A jump from one structure to the next is not the distance between slices."""
    labels = every(ball(1, (8, 10, 10), 5), 2) + every(ball(2, (32, 10, 10), 5), 2)
    mask = annotated_mask(labels, SparseSlices(axis=2)).ravel()
    drawn = np.flatnonzero(labels.any(axis=(1, 2)))
    assert mask[: drawn[0] - 2].all()
    assert not mask[drawn[0] - 1]
    assert not mask[15:25].any()


def test_structures_drawn_on_different_slices_are_told():
    labels = every(ball(1), 4) + every(ball(2, (20, 10, 10), 6), 4, start=2)
    told = Listener()
    annotated_mask(labels, SparseSlices(axis=2), number_structures(["liver", "spleen"]), told)
    assert len(told.warnings) == 2
    assert "liver" in told.warnings[0]


@pytest.mark.parametrize(
    ("labels", "sparse", "code"),
    [
        (ball(), SparseSlices(), "annotation-not-sparse"),
        (every(ball(), 3), SparseSlices(axis=0), "annotation-sparse-axis"),
        (every(ball(), 3), SparseSlices(annotated=(40,)), "annotation-slices"),
        (every(ball(), 3), SparseSlices(axis=2, annotated=(-1,)), "annotation-slices"),
    ],
)
def test_refusals(labels, sparse, code):
    with pytest.raises(AnnotationError) as caught:
        annotated_mask(labels, sparse)
    assert caught.value.code == code


def test_reading_a_file(tmp_path):
    labels = every(ball(), 4)
    path = tmp_path / "a.nii.gz"
    write_labelmap(labels, straight(SHAPE), path)
    scan = ct_scan(SHAPE)
    told = Listener()
    forgotten = read_annotation(path, scan, reporter=told)
    assert forgotten.annotated is None
    assert any("separate slices" in w for w in told.warnings)
    told = Listener()
    annotation = read_annotation(path, scan, sparse=SparseSlices(), reporter=told)
    assert told.warnings == []
    assert annotation.annotated is not None
    assert annotation.annotated.shape == (40, 1, 1)
    assert np.array_equal(annotation.labels, labels)
