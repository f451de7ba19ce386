"""Pictures: right way round, right shape, and named when matplotlib is missing."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fseft.errors import ResourceError
from fseft.report import overlay
from fseft.report.curves import curves_png
from fseft.report.drawing import write_png
from fseft.report.overlay import overlay_png
from fseft.report.planes import PLANES, Standing, occupied, relevant_indices, slice_of
from fseft.report.sheet import sheet_png, slices_to_show
from fseft.scan.scan import Scan
from fseft.structures import Structure
from matplotlib.image import imread
from report_makers import AXIAL, CORONAL, DIRECTIONS, PNG, SAGITTAL, ball, grid, reddish, scene, where


@pytest.mark.parametrize("name", list(DIRECTIONS))
def test_slices_are_shown_as_a_radiologist_expects(name: str) -> None:
    geometry = grid(name)
    standing = Standing.of(geometry)
    # Something to the patient's left, front and top: LPS (+, -, +).
    turned = standing.turn(ball(geometry, (8, -8, 8)))
    indices = relevant_indices([turned.astype(np.uint8)], [1])
    for plane, (high, right) in ((AXIAL, (True, True)), (CORONAL, (True, True)), (SAGITTAL, (True, False))):
        down, across = where(slice_of(turned, plane, indices[plane.normal]))
        assert (down < 0.5) == high, (name, plane.name)
        assert (across > 0.5) == right, (name, plane.name)


@pytest.mark.parametrize("name", list(DIRECTIONS))
def test_slices_have_their_true_shape(name: str) -> None:
    geometry = grid(name)
    standing = Standing.of(geometry)
    turned = standing.turn(np.zeros(geometry.array_shape))
    extents = {plane.name: standing.extent_mm(plane, slice_of(turned, plane, 0).shape) for plane in PLANES}
    edges = [size * spacing for size, spacing in zip(geometry.size, geometry.spacing, strict=True)]
    axes, _ = geometry.nearest_axes()
    x, y, z = (edges[axes.index(world)] for world in range(3))
    assert extents == {"axial": (x, y), "coronal": (x, z), "sagittal": (y, z)}
    assert standing.tilt_degrees == pytest.approx(11.5 if name == "oblique" else 0, abs=0.1)


@pytest.mark.parametrize("name", ["LPS", "RAS", "PIR"])
def test_positions_are_the_viewers(name: str) -> None:
    geometry = grid(name)
    standing = Standing.of(geometry)
    corners = geometry.to_world(np.asarray([[0, 0, 0], np.asarray(geometry.size) - 1]))
    low = corners.min(axis=0)  # turned index 0 is furthest right, anterior, inferior
    assert standing.position(geometry, SAGITTAL, 0) == f"{'R' if low[0] <= 0 else 'L'} {abs(low[0]):.0f} mm"
    assert standing.position(geometry, CORONAL, 0) == f"{'A' if low[1] <= 0 else 'P'} {abs(low[1]):.0f} mm"
    assert standing.position(geometry, AXIAL, 0) == f"{'S' if low[2] >= 0 else 'I'} {abs(low[2]):.0f} mm"


def test_the_slice_of_most_disagreement_is_chosen() -> None:
    before = np.zeros((20, 20, 20), dtype=np.uint8)
    before[2:6, 2:18, 2:18] = 1
    after = before.copy()
    after[12, 3:9, 14] = 1
    after[12:14, 8, 14] = 1
    assert relevant_indices([before, after], [1]) == (12, 8, 14)
    assert relevant_indices([before, before], [1])[0] in range(2, 6)
    after[18] = 7
    assert relevant_indices([before, after], [1]) == (12, 8, 14), "other structures do not matter"
    assert relevant_indices([np.zeros((4, 6, 8), dtype=np.uint8)], [1]) == (2, 3, 4)


def test_air_around_the_body_is_cut_away() -> None:
    grey = np.full((100, 200), -1000.0)
    grey[40:60, 50:150] = 40
    grey[95, 100] = 300  # a speck of table
    marked = np.zeros(grey.shape, dtype=bool)
    marked[30, 60] = True
    rows, columns = occupied(grey, marked)
    assert (rows.start, rows.stop) == (27, 63)
    assert (columns.start, columns.stop) == (44, 156)
    rows, columns = occupied(np.full((10, 20), -1000.0), np.zeros((10, 20), dtype=bool))
    assert (rows.stop, columns.stop) == (10, 20)


def test_the_picture_shows_the_outline_where_the_structure_is() -> None:
    scan, labels = scene()
    structures = [Structure("liver", 1, (1.0, 0.0, 0.0)), Structure("absent", 2, (0.0, 0.0, 1.0))]
    png = overlay_png(scan, [("prediction", labels)], structures)
    assert png.startswith(PNG)
    assert overlay_png(scan, [("prediction", labels)], structures) == png, "the same input gives the same file"
    red = reddish(png)
    top = red[: red.shape[0] // 3]
    assert top.any()
    assert where(top)[1] > 0.6, "the patient's left is on the right of the axial slice"
    both = overlay_png(scan, [("before", np.zeros_like(labels)), ("after", labels)], structures)
    halves = np.array_split(reddish(both)[: red.shape[0] // 3], 2, axis=1)
    assert not halves[0].any()
    assert halves[1].any()


def test_a_labelmap_of_another_grid_is_a_programming_error() -> None:
    scan, labels = scene()
    with pytest.raises(ValueError, match="'after'"):
        overlay_png(scan, [("after", labels[1:])], [Structure("liver", 1)])


def test_many_structures_and_oblique_grids_are_drawn() -> None:
    scan, labels = scene("oblique")
    structures = [Structure(f"structure {n}", n) for n in range(1, 40)]
    rng = np.random.default_rng(0)
    png = overlay_png(scan, [("all", rng.integers(0, 40, labels.shape).astype(np.uint8))], structures)
    assert png.startswith(PNG)
    assert len(structures) > overlay._LEGEND_ENTRIES


def test_curves_are_drawn_with_gaps_and_marks(tmp_path: Path) -> None:
    png = curves_png({"all": [0.9, 0.5, 0.3], "liver": [None, 0.4, float("nan")]}, marks={"stopped": 2})
    path = write_png(png, tmp_path / "curve.png")
    assert imread(path).shape[:2] == (440, 770)
    assert curves_png({}).startswith(PNG)
    assert curves_png({"one": [0.3]}) != curves_png({"one": [0.6, 0.3]})


def test_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ResourceError) as caught:
        curves_png({"all": [1.0]})
    assert caught.value.code == "extra-missing"
    assert "pip install" in caught.value.hint


@pytest.mark.parametrize("name", list(DIRECTIONS))
def test_flagged_structures_are_shown_first_through_their_centre(name: str) -> None:
    geometry = grid(name)
    labels = np.zeros(geometry.array_shape, dtype=np.uint8)
    labels[ball(geometry, (0, 0, -6))] = 1
    labels[ball(geometry, (0, 0, 9))] = 2
    scan = Scan(np.where(labels > 0, 60, -20).astype(np.int16), geometry)
    z, y, x = np.nonzero(labels == 2)
    centre = [float(x.mean()), float(y.mean()), float(z.mean())]
    entries: list[dict[str, Any]] = [
        {"name": "a", "flags": []},
        {"name": "b", "flags": ["larger than expected"], "centre_index": centre},
    ]
    shown = slices_to_show(scan, labels, entries)
    assert shown[0].caption == "b: larger than expected"
    turned = Standing.of(geometry).turn(labels)
    assert (turned[:, :, shown[0].index] == 2).sum() > 0.8 * (turned == 2).sum(axis=(0, 1)).max()
    assert len(shown) <= 6
    assert any((turned[:, :, entry.index] == 1).any() for entry in shown)
    assert sheet_png(scan, labels, [Structure("a", 1), Structure("b", 2)], shown).startswith(PNG)


def test_nothing_found_is_still_shown() -> None:
    geometry = grid("RAS")
    scan = Scan(np.zeros(geometry.array_shape, dtype=np.int16), geometry)
    entries = [{"name": "a", "flags": ["not found in this scan"], "centre_index": None}]
    shown = slices_to_show(scan, np.zeros(geometry.array_shape, dtype=np.uint8), entries)
    assert [entry.index for entry in shown] == [9]
