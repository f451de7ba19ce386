"""Annotations on some slices, filled in between for carrying."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from conftest import STRUCTURES, make_scan
from fseft.location import leave_one_out
from fseft.location.atlas import Proposal
from fseft.location.between_slices import filled_between
from fseft.location.support import AtlasCase, Placed, load_atlas_cases
from fseft.scan.annotation import Annotation
from fseft.scan.geometry import Geometry
from location_makers import dice
from test_adaptation import write_cases

GRID = Geometry((24, 30, 31), (1.0, 2.0, 3.0), (0.0, 0.0, 0.0), (1, 0, 0, 0, 1, 0, 0, 0, 1))


def balls() -> np.ndarray:
    """Two balls that touch, on voxels of 1 x 2 x 3 mm."""
    z, y, x = np.meshgrid(*[np.arange(n) * s for n, s in zip((31, 30, 24), (3, 2, 1), strict=True)], indexing="ij")
    labels = np.zeros(z.shape, np.uint16)
    labels[(z - 30) ** 2 + (y - 15) ** 2 + (x - 12) ** 2 < 11**2] = 1
    labels[(z - 50) ** 2 + (y - 38) ** 2 + (x - 12) ** 2 < 11**2] = 4
    return labels


def drawn_on(labels: np.ndarray, axis: int, every: int) -> Annotation:
    """The annotation of every n-th slice from the first to the last that shows anything."""
    used = np.flatnonzero((labels > 0).any(axis=tuple(a for a in range(3) if a != axis)))
    shape = [1, 1, 1]
    shape[axis] = labels.shape[axis]
    mask = np.zeros(labels.shape[axis], bool)
    mask[used[0] : used[-1] + every : every] = True
    mask = mask.reshape(shape)
    return Annotation(np.where(mask, labels, 0).astype(np.uint16), STRUCTURES, mask)


@pytest.mark.parametrize(("axis", "every"), [(0, 2), (1, 3), (2, 5)])
def test_the_slices_between_get_the_shape_between(axis: int, every: int) -> None:
    labels = balls()
    sparse = drawn_on(labels, axis, every)
    given = sparse.labels.copy()
    filled = filled_between(sparse, GRID)
    assert filled.annotated is not None
    known = np.broadcast_to(filled.annotated, labels.shape)
    for value in (1, 4):
        assert dice((sparse.labels == value) & known, (labels == value) & known) < 0.7
        assert dice((filled.labels == value) & known, (labels == value) & known) > 0.85
    drawn = np.broadcast_to(sparse.annotated, labels.shape)
    assert np.array_equal(filled.labels[drawn], labels[drawn]), "what was drawn stays"
    assert np.array_equal(sparse.labels, given), "the annotation that was given stays"
    assert filled.annotated.shape == sparse.annotated.shape
    between = np.flatnonzero(sparse.annotated)
    assert filled.annotated.ravel()[between[0] : between[-1]].all()
    assert not filled.annotated.ravel()[: between[0]].any()
    assert not filled.annotated.ravel()[between[-1] + 1 :].any()


def test_a_structure_that_one_slice_shows_ends_before_the_other() -> None:
    labels = np.zeros(GRID.array_shape, np.uint16)
    labels[10, 5:25, 5:20] = 1
    mask = np.zeros((31, 1, 1), bool)
    mask[[10, 18]] = True
    filled = filled_between(Annotation(labels, STRUCTURES, mask), GRID).labels
    sizes = [int((filled[number] == 1).sum()) for number in range(10, 19)]
    assert sizes == sorted(sizes, reverse=True)
    assert sizes[0] > sizes[1] > sizes[2] > 0 == sizes[5]


def test_far_slices_and_complete_annotations_are_left_alone() -> None:
    labels = balls()
    complete = Annotation(labels, STRUCTURES)
    assert filled_between(complete, GRID) is complete
    mask = np.zeros((31, 1, 1), bool)
    mask[[5, 16]] = True  # 33 mm
    far = filled_between(Annotation(np.where(mask, labels, 0).astype(np.uint16), STRUCTURES, mask), GRID)
    assert far.annotated is not None
    assert np.array_equal(far.annotated, mask)
    assert not far.labels[6:16].any()
    partly = np.zeros(labels.shape, bool)
    partly[::3, 3:] = True
    ragged = Annotation(labels, STRUCTURES, partly)
    assert filled_between(ragged, GRID) is ragged


def test_an_atlas_case_of_some_slices_is_filled_as_it_is_read(tmp_path: Path) -> None:
    case = load_atlas_cases(write_cases(tmp_path, (3,), sparse="z"), STRUCTURES)[0].annotation
    labels = make_scan(3)[1]
    used = np.flatnonzero((labels[::4] > 0).any(axis=(1, 2))) * 4
    inner = slice(int(used[0]), int(used[-1]) + 1)
    assert case.annotated is not None
    assert case.annotated.ravel()[inner].all()
    assert dice(case.labels[inner] == 1, labels[inner] == 1) > 0.9


def test_what_was_filled_in_is_not_taken_for_the_truth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave-one-out of the atlas compares drawn slices alone, whatever a proposal says between them."""
    cases = load_atlas_cases(write_cases(tmp_path, (3, 4), sparse="z"), STRUCTURES)
    for case in cases:
        assert case.drawn is not None
        assert case.drawn.sum() < case.annotation.labels.shape[0]

    def proposal(query: Placed, others: list[AtlasCase], *_: object) -> Proposal:
        own = next(case for case in cases if case.placed is query)
        assert own.drawn is not None
        return Proposal(np.where(own.drawn, own.annotation.labels, 0), [], [], 1)

    monkeypatch.setattr(leave_one_out, "propose", proposal)
    for figures in leave_one_out.score_left_out(cases, STRUCTURES).values():
        assert len(figures) == 2
        for dice_, surface, volume in figures:
            assert dice_ == 1.0
            assert np.isnan(surface)
            assert np.isnan(volume)
