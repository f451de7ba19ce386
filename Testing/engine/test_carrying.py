"""Annotations carried along a registration, and how several of them become one."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import STRUCTURES, make_scan
from fseft.location.affine import Affine
from fseft.location.atlas import combine
from fseft.location.propagation import Carrier
from fseft.location.vote import agreement_of, threshold_of, weighted_share
from fseft.phantom import make_phantom
from fseft.phantom.generator import Phantom
from fseft.scan.annotation import Annotation
from fseft.scan.geometry import Geometry
from location_makers import case_of, identity, oblique_grid, value_of


@pytest.fixture(scope="module")
def head() -> Phantom:
    return make_phantom(1, "head-neck", (6.0, 6.0, 6.0))


def test_a_carried_box_is_that_part_of_the_whole_grid(head: Phantom) -> None:
    grid, value = oblique_grid(head), value_of(head, "mandible")
    registration = dataclasses.replace(identity(head.scan), affine=Affine(np.eye(3), np.array((-20.0, 15.0, -250.0))))
    carrier = Carrier(case_of(head).annotation, head.scan.geometry, grid, registration)
    mask = head.scan.geometry.image_of((head.labels == value).astype(np.float32))
    reference = grid.image_of(np.zeros(grid.array_shape, np.uint8))
    whole = sitk.GetArrayFromImage(sitk.Resample(mask, reference, registration.transform(), sitk.sitkLinear, 0.0))
    box = carrier.box_of(value)
    assert box is not None
    cover, known = carrier.carry(value, box)
    outside = whole.copy()
    outside[box] = 0
    assert not outside.any()
    assert whole.any()
    np.testing.assert_allclose(cover * known, whole[box], atol=1e-4)


def test_same_grid_and_no_motion_change_nothing() -> None:
    scan, labels = make_scan(3)
    carrier = Carrier(Annotation(labels, STRUCTURES), scan.geometry, scan.geometry, identity(scan))
    found, records = combine(scan.geometry, [carrier], [1.0], STRUCTURES)
    assert np.array_equal(found, labels)
    assert [(r.votes, r.of, r.agreement) for r in records] == [(1, 1, None), (1, 1, None)]
    assert records[0].volume_ml == pytest.approx((labels == 1).sum() * 0.027)


def test_slices_left_unannotated_have_no_vote() -> None:
    scan, labels = make_scan(3)
    drawn = np.zeros((len(labels), 1, 1), dtype=bool)
    drawn[::4] = True
    sparse = Carrier(
        Annotation(np.where(drawn, labels, 0).astype(np.uint16), STRUCTURES, drawn),
        scan.geometry, scan.geometry, identity(scan),
    )  # fmt: skip
    box = (slice(0, 9), *(slice(0, n) for n in labels.shape[1:]))
    cover, known = sparse.carry(4, box)
    assert np.array_equal(known[:, 0, 0] > 0.5, drawn[:9, 0, 0])
    assert np.array_equal(cover[drawn[:9, 0, 0]] > 0.5, labels[:9][drawn[:9, 0, 0]] == 4)
    whole = Carrier(Annotation(labels, STRUCTURES), scan.geometry, scan.geometry, identity(scan))
    found, _ = combine(scan.geometry, [sparse, whole], [1.0, 0.01], STRUCTURES)
    assert np.array_equal(found, labels)  # where the heavy case knows nothing, the light one decides


def test_a_case_knows_what_its_scan_shows_and_its_annotation_covers() -> None:
    scan, labels = make_scan(3)
    size = scan.geometry.size
    short = Geometry((size[0], size[1], 20), scan.geometry.spacing, scan.geometry.origin, scan.geometry.direction)
    box = (slice(3, 30), slice(5, 20), slice(0, size[0]))
    whole = Carrier(Annotation(labels, STRUCTURES), scan.geometry, scan.geometry, identity(scan))
    assert whole.knows(1, box).all()
    through = labels[:20].copy()
    assert (through[-1] == 1).any(), "the end of the scan cuts the ball"
    cut = Carrier(Annotation(through, STRUCTURES), short, scan.geometry, identity(scan))
    known = cut.knows(1, box)
    assert known.shape == (27, 15, size[0])
    assert known[:14].all()  # to one step of the search grid
    assert not known[20:].any()
    drawn = np.zeros((len(labels), 1, 1), dtype=bool)
    drawn[:16] = True
    through[-3:] = 0
    ended = Carrier(Annotation(through, STRUCTURES), short, scan.geometry, identity(scan))
    assert ended.knows(1, box).all(), "what ends inside a scan does not go on beyond it"
    sparse = Carrier(Annotation(labels, STRUCTURES, drawn), scan.geometry, scan.geometry, identity(scan))
    known = sparse.knows(1, box)
    assert known[:11].all()
    assert not known[16:].any()


def test_a_structure_that_a_case_does_not_annotate_gets_no_vote_from_it() -> None:
    scan, labels = make_scan(3)
    both = Carrier(Annotation(labels, STRUCTURES), scan.geometry, scan.geometry, identity(scan))
    ball = np.where(labels == 1, labels, 0).astype(np.uint16)
    partial = Carrier(Annotation(ball, STRUCTURES[:1]), scan.geometry, scan.geometry, identity(scan))
    found, records = combine(scan.geometry, [both, partial], [0.1, 1.0], STRUCTURES)
    assert np.array_equal(found, labels)
    assert [(r.votes, r.of) for r in records] == [(2, 2), (1, 1)]
    assert records[0].agreement == pytest.approx(1.0)


def line(*values: float) -> np.ndarray:
    return np.array(values, dtype=np.float32)


def test_shares_are_weighted_over_the_cases_that_know() -> None:
    covers = [line(1, 1, 0, 1), line(1, 0, 0.5, 0), line(0, 0, 1, 0)]
    knowns = [line(1, 1, 1, 0), line(1, 1, 1, 0), line(1, 0, 1, 0)]
    assert weighted_share(covers, knowns, (2.0, 1.0, 1.0)) == pytest.approx([0.75, 2 / 3, 0.375, 0.0])


def test_ties_count_and_minorities_only_while_volume_is_missing() -> None:
    tie = line(1, 0.5, 0.5, 0)
    assert list(tie >= threshold_of(tie, 2.0)) == [True, True, True, False]
    # Three cases with three voxels each that share one: a majority keeps one voxel, three are expected.
    apart = line(1, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3, 1 / 3)
    assert (apart >= threshold_of(apart, 3.0)).sum() == 7  # equal votes are taken together
    ranked = line(1, 0.45, 0.4, 0.35, 0.31, 0.2)
    assert list(ranked >= threshold_of(ranked, 3.0)) == [True, True, True, False, False, False]
    assert (ranked >= threshold_of(ranked, 50.0)).sum() == 5  # a fifth of the votes is never enough
    assert (ranked >= threshold_of(ranked, 1.0)).sum() == 1


def test_agreement_is_the_mean_dice_of_pairs() -> None:
    covers = [line(1, 1, 0, 0), line(1, 0, 0, 0), line(1, 1, 1, 0)]
    known = [np.ones(4, np.float32)] * 3
    assert agreement_of(covers, known) == pytest.approx((2 / 3 + 4 / 5 + 1 / 2) / 3)
    assert agreement_of(covers[:1], known[:1]) is None
    assert agreement_of(covers[:2], [line(1, 0, 1, 1), line(1, 1, 1, 1)]) == pytest.approx(1.0)


def test_a_contested_voxel_goes_to_more_votes_then_to_the_earlier_structure() -> None:
    scan, labels = make_scan(3)
    swapped = np.array([0, 4, 0, 0, 1], dtype=np.uint16)[labels]
    carriers = [
        Carrier(Annotation(part, STRUCTURES), scan.geometry, scan.geometry, identity(scan))
        for part in (labels, swapped)
    ]
    assert np.array_equal(combine(scan.geometry, carriers, (1.0, 2.0), STRUCTURES)[0], swapped)
    tied, _ = combine(scan.geometry, carriers, (1.0, 1.0), STRUCTURES)
    assert set(np.unique(tied)) == {0, 1}
    reverse, _ = combine(scan.geometry, carriers, (1.0, 1.0), STRUCTURES[::-1])
    assert set(np.unique(reverse)) == {0, 4}
