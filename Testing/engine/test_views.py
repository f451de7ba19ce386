"""Views of annotated scans: what they change, what they keep, and when nothing may be mirrored."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from conftest import CPU, STRUCTURES, make_scan
from fseft.adaptation.adapt import make_trained_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adaptation.support import make_support_case
from fseft.adaptation.views import VIEWS, View, can_be_mirrored, seen_otherwise, views_for, with_views
from fseft.adapters.registry import METHODS
from fseft.features.source import FeatureSource
from fseft.scan.annotation import Annotation
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan
from fseft.structures import Structure
from fseft.validation.folds import make_folds

MIRRORED = View(mirrored=True)


def body(names: tuple[str, ...], centres: tuple[int, ...], direction: tuple[float, ...]) -> tuple[Scan, Annotation]:
    """A body of soft tissue in air, a cube per structure at a position along the x index."""
    hounsfield = np.full((12, 30, 60), -1024, dtype=np.int16)
    hounsfield[:, 4:26, 5:55] = 40
    labels = np.zeros(hounsfield.shape, dtype=np.uint16)
    for value, centre in enumerate(centres, start=1):
        labels[4:8, 12:16, centre - 2 : centre + 2] = value
    geometry = Geometry((60, 30, 12), (2.0, 2.0, 3.0), (0.0, 0.0, 0.0), direction)  # type: ignore[arg-type]
    structures = tuple(Structure(name, value) for value, name in enumerate(names, start=1))
    return Scan(hounsfield, geometry), Annotation(labels, structures)


STRAIGHT = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0)
TURNED = (0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 0.0, 1.0)  # the x index runs from front to back


def test_zoom_changes_lengths_and_not_voxels() -> None:
    scan, annotation = body(("larynx",), (30,), STRAIGHT)
    seen, drawn = seen_otherwise(scan, annotation, View(zoom=0.5))
    assert np.array_equal(seen.hounsfield, scan.hounsfield)
    assert drawn is annotation
    assert seen.geometry.spacing == (1.0, 1.0, 1.5)
    assert seen.content_key != scan.content_key  # or the cache would give the original's features


def test_grey_values_change_inside_the_scan_alone_and_repeat() -> None:
    scan, annotation = body(("larynx",), (30,), STRAIGHT)
    view = View(gain=1.5, offset_hu=10.0, noise_hu=12.0)
    seen, again, other = (seen_otherwise(scan, annotation, view, seed)[0] for seed in (1, 1, 2))
    assert seen.content_key == again.content_key != other.content_key
    assert (seen.hounsfield[scan.hounsfield == -1024] == -1024).all()
    inside = seen.hounsfield[scan.hounsfield == 40]
    assert inside.mean() == pytest.approx(70.0, abs=0.5)
    assert inside.std() == pytest.approx(12.0, abs=0.5)


def test_a_mirrored_view_exchanges_sides() -> None:
    names = ("right kidney", "Kidney_Left", "spine")
    scan, annotation = body(names, (15, 45, 30), STRAIGHT)
    scan = replace(scan, hounsfield=np.where(annotation.labels == 1, 100, scan.hounsfield).astype(np.int16))
    assert can_be_mirrored(scan, annotation)
    seen, drawn = seen_otherwise(scan, annotation, MIRRORED)
    assert np.array_equal(seen.hounsfield, scan.hounsfield[:, :, ::-1])
    # What was the right kidney lies where the left one was, and is one now.
    assert (drawn.labels[seen.hounsfield == 100] == 2).all()
    for value in (1, 2, 3):
        was, now = (np.argwhere(a.labels == value)[:, 2].mean() for a in (annotation, drawn))
        assert abs(was - now) <= 1
    back = seen_otherwise(seen, drawn, MIRRORED)
    assert np.array_equal(back[0].hounsfield, scan.hounsfield)
    assert np.array_equal(back[1].labels, annotation.labels)


def test_sides_are_the_patients_whatever_the_storage() -> None:
    scan, annotation = body(("larynx",), (30,), TURNED)
    assert can_be_mirrored(scan, annotation)
    seen, _ = seen_otherwise(scan, annotation, MIRRORED)
    assert np.array_equal(seen.hounsfield, scan.hounsfield[:, ::-1])


def test_annotated_slices_are_mirrored_too() -> None:
    scan, annotation = body(("larynx",), (30,), STRAIGHT)
    counted = np.zeros((1, 1, 60), dtype=bool)
    counted[..., :20] = True
    drawn = seen_otherwise(scan, replace(annotation, annotated=counted), MIRRORED)[1]
    assert drawn.annotated is not None
    assert drawn.annotated[0, 0, 40:].all()
    assert not drawn.annotated[0, 0, :40].any()
    along = np.zeros((12, 1, 1), dtype=bool)
    along[3] = True
    kept = seen_otherwise(scan, replace(annotation, annotated=along), MIRRORED)[1]
    assert kept.annotated is not None
    assert np.array_equal(kept.annotated, along)


@pytest.mark.parametrize(
    ("names", "centres", "possible"),
    [
        (("larynx",), (30,), True),
        (("right kidney", "left kidney"), (15, 45), True),
        (("right kidney",), (15,), False),  # its twin is there and not annotated
        (("liver",), (15,), False),  # on one side
        (("right kidney", "left kidney", "spleen"), (15, 45, 47), False),
    ],
)
def test_only_what_is_alike_on_both_sides_is_mirrored(
    names: tuple[str, ...], centres: tuple[int, ...], possible: bool
) -> None:
    assert can_be_mirrored(*body(names, centres, STRAIGHT)) is possible


def test_the_fewer_scans_the_more_views() -> None:
    counts = [views_for(cases) for cases in range(1, 12)]
    assert counts == sorted(counts, reverse=True)
    assert counts[0] == len(VIEWS)
    assert views_for(1, 0) == 0
    assert views_for(9, 2) == 2


def test_views_are_learnt_from_and_held_out_with_their_scan(source: FeatureSource) -> None:
    cases = []
    for seed in range(2):
        scan, labels = make_scan(seed)
        annotation = Annotation(labels, STRUCTURES)
        case = make_support_case(f"case {seed}", source.features(scan), annotation, STRUCTURES)
        cases.append(with_views(case, scan, annotation, STRUCTURES, source, 2))
    assert [len(case.views) for case in cases] == [2, 2]
    shapes = {view.labels.shape for view in cases[0].views}
    assert len(shapes) == 2  # one smaller, one larger
    drawn = [int((view.labels == 1).sum()) for view in cases[0].views]
    assert drawn[0] < int((cases[0].labels == 1).sum()) < drawn[1]
    settings = AdaptationSettings(steps=2, crop=16)
    learn = lambda chosen: make_trained_adapter(METHODS["linear-probe"], STRUCTURES, chosen, source, settings, CPU)  # noqa: E731
    with_them, _ = learn(cases)
    without, _ = learn([replace(case, views=()) for case in cases])
    states = [adapter.state_dict() for adapter in (with_them, without)]
    assert any((states[0][name] != states[1][name]).any() for name in states[0])
    for fold in make_folds(cases):
        assert fold.held_out not in fold.train  # nor its views, which only its own case has
    for fold in make_folds(cases[:1]):
        assert not fold.train[0].views  # they show the slices held out
