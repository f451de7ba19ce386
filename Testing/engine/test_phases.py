"""Annotated organs in other contrast phases."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from fseft.adaptation.phases import BRIGHTENING, PHASES, in_phase, phase_of
from fseft.adaptation.views import View, seen_otherwise
from fseft.scan.annotation import Annotation
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan
from fseft.structures import Structure

GEOMETRY = Geometry((40, 40, 40), (1.5, 1.5, 2.0), (0.0, 0.0, 0.0), (1.0, 0.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0))
NAMES = ("Aorta", "kidney_left", "vertebrae_L1", "my lesion")


def patient(phase: str, off: float = 0.0) -> tuple[Scan, Annotation]:
    """Fat with four boxes of 10 voxels: an aorta with calcium in it, a kidney, a bone and something unknown."""
    hounsfield = np.full((40, 40, 40), -100, dtype=np.int16)
    labels = np.zeros(hounsfield.shape, dtype=np.uint8)
    levels = [BRIGHTENING["aorta"].level(phase), BRIGHTENING["left kidney"].level(phase), 300, 70]
    for value, (place, level) in enumerate(zip(((2, 2), (2, 20), (20, 2), (20, 20)), levels, strict=True), start=1):
        box = (slice(5, 35), slice(place[0], place[0] + 12), slice(place[1], place[1] + 12))
        hounsfield[box], labels[box] = round(level + off), value
    hounsfield[20, 8, 8] = 1300
    structures = tuple(Structure(name, value) for value, name in enumerate(NAMES, start=1))
    return Scan(hounsfield, GEOMETRY), Annotation(labels, structures, None)


def middle(volume: np.ndarray, value: int) -> float:
    """HU inside a box."""
    y, x = ((8, 8), (8, 26), (26, 8), (26, 26))[value - 1]
    return float(volume[12, y, x])


def test_bones_and_hollow_organs_have_no_phase() -> None:
    assert {"aorta", "liver", "spleen", "left kidney", "inferior vena cava", "pancreas"} <= set(BRIGHTENING)
    assert not {"vertebrae", "skull", "left femur", "stomach", "small bowel", "duodenum"} & set(BRIGHTENING)


@pytest.mark.parametrize("taken", list(PHASES))
def test_the_phase_is_told_by_what_is_annotated(taken: str) -> None:
    scan, annotation = patient(taken, off=6.0)
    assert phase_of(scan.hounsfield, annotation) == taken
    unknown = replace(annotation, structures=annotation.structures[2:])
    assert phase_of(scan.hounsfield, unknown) is None


@pytest.mark.parametrize("shown", list(PHASES))
@pytest.mark.parametrize("taken", list(PHASES))
def test_structures_change_by_what_lies_between_two_phases(taken: str, shown: str) -> None:
    scan, annotation = patient(taken, off=6.0)
    before = scan.hounsfield.copy()
    seen = in_phase(scan.hounsfield, annotation, shown)
    assert np.array_equal(scan.hounsfield, before)
    for value, name in ((1, "aorta"), (2, "left kidney")):
        assert middle(seen, value) == pytest.approx(BRIGHTENING[name].level(shown) + 6.0, abs=1.0)
    assert (middle(seen, 3), middle(seen, 4)) == (306, 76)  # bone, and what nobody knows
    assert seen[20, 8, 8] == 1300
    fat = scan.hounsfield == -100
    assert np.array_equal(seen[fat], scan.hounsfield[fat])


def test_a_scan_annotated_in_some_slices_stays_in_its_phase() -> None:
    scan, annotation = patient("venous")
    drawn = np.zeros((40, 1, 1), dtype=bool)
    drawn[::4] = True
    seen = in_phase(scan.hounsfield, replace(annotation, annotated=drawn), "native")
    assert np.array_equal(seen, scan.hounsfield)


def test_a_view_shows_its_phase_on_the_scans_voxels() -> None:
    scan, annotation = patient("native")
    seen, drawn = seen_otherwise(scan, annotation, View(phase="arterial"))
    assert middle(seen.hounsfield, 1) == pytest.approx(BRIGHTENING["aorta"].level("arterial"), abs=1.0)
    assert np.array_equal(drawn.labels, annotation.labels)
