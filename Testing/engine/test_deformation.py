"""The deformation between two scans: what surrounds a voxel is matched, whatever shade it has."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from fseft.location import deformation
from fseft.location.affine import Affine
from fseft.location.coarse import WORLD_AXES, CoarseScan
from fseft.location.deformation import register_deformable
from fseft.location.self_similarity import CHANNELS, self_similarity
from fseft.location.shared_grid import share_grid
from fseft.scan.geometry import Geometry

STILL = Affine(np.eye(3), np.zeros(3))
SPACING_MM = 4.0


def ball(
    shift: tuple[int, int, int], inside: float, outside: float, missing: slice = slice(0, 0), noise: int = 0
) -> CoarseScan:
    """A ball in a body, moved by voxels along z, y, x; the planes ``missing`` are not shown."""
    shape, middle = (32, 36, 40), np.array((16, 18, 20))
    draw = np.random.default_rng(noise)
    place = np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing="ij"), axis=-1)
    values = np.where(np.linalg.norm(place - middle - shift, axis=-1) < 8, inside, outside)
    values = (values + 0.01 * draw.standard_normal(shape)).astype(np.float32)
    shown = np.ones(shape, dtype=bool)
    shown[missing] = False
    values[~shown] = 0
    size = (shape[2], shape[1], shape[0])
    return CoarseScan(values, shown, shown.copy(), Geometry(size, (SPACING_MM,) * 3, (-50.0, 20.0, 7.0), WORLD_AXES))


def at_the_ball(field: np.ndarray, query: CoarseScan, geometry: Geometry) -> np.ndarray:
    """Mean displacement in voxels (z, y, x) over the ball's rim in the query."""
    world = query.geometry.to_world(np.array([[20.0, 18.0, 16.0]]) + 7.0 * np.vstack([np.eye(3), -np.eye(3)]))
    index = np.rint(geometry.to_index(world)).astype(int)
    return field[index[:, 2], index[:, 1], index[:, 0]].mean(axis=0)[::-1] / SPACING_MM


def test_a_moved_ball_is_followed_in_the_right_direction() -> None:
    query, support = ball((0, 0, 0), 0.6, 0.4), ball((2, -1, 3), 0.6, 0.4, noise=1)
    found = register_deformable(query, support, STILL)
    assert found.field.dtype == np.float32
    assert np.allclose(at_the_ball(found.field, query, found.geometry), (2, -1, 3), atol=0.8)
    assert found.correlation > 0.95
    assert found.folded == 0


def test_an_organ_that_is_darker_than_its_surroundings_in_another_phase_is_still_found(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    query, support = ball((0, 0, 0), 0.6, 0.4), ball((2, -1, 2), 0.35, 0.4, noise=1)
    found = register_deformable(query, support, STILL)
    assert np.allclose(at_the_ball(found.field, query, found.geometry), (2, -1, 2), atol=0.8)
    monkeypatch.setattr(deformation, "DESCRIPTOR_WEIGHT", 0.0)
    grey_alone = register_deformable(query, support, STILL)
    assert not np.allclose(at_the_ball(grey_alone.field, query, grey_alone.geometry), (2, -1, 2), atol=0.8)


def test_what_only_one_scan_shows_moves_nothing() -> None:
    query = ball((0, 0, 0), 0.6, 0.4)
    support = ball((0, 0, 0), 0.6, 0.4, missing=slice(20, None))
    shared = share_grid(query, support, STILL)
    planes = shared.geometry.to_world(np.argwhere(shared.both)[:, ::-1])[:, 2]
    assert planes.max() == query.geometry.to_world(np.array([[0.0, 0.0, 19.0]]))[0, 2]
    assert np.abs(shared.fixed - shared.moved).max() < 1e-6
    found = register_deformable(query, support, STILL)
    assert np.abs(found.field).max() < 0.25 * SPACING_MM


def test_scans_without_anything_in_common_stay_where_they_are() -> None:
    far = Affine(np.eye(3), np.array((5000.0, 0.0, 0.0)))
    found = register_deformable(ball((0, 0, 0), 0.6, 0.4), ball((0, 0, 0), 0.6, 0.4), far)
    assert not found.field.any()
    assert (found.correlation, found.folded) == (0.0, 0.0)


def test_gradients_that_a_caller_switched_off_do_not_stop_it() -> None:
    query, support = ball((0, 0, 0), 0.6, 0.4), ball((1, 0, 0), 0.6, 0.4)
    expected = register_deformable(query, support, STILL).field
    with torch.inference_mode():
        assert np.array_equal(register_deformable(query, support, STILL).field, expected)


def test_the_description_does_not_change_with_gain_offset_or_sign() -> None:
    values = torch.from_numpy(ball((1, 2, 3), 0.6, 0.4).values)
    described = self_similarity(values)
    assert described.shape == (CHANNELS, *values.shape)
    assert described.amax(dim=0).min() == described.max() == 1
    assert described.std() > 0.1
    assert torch.allclose(self_similarity(0.3 - 2.5 * values), described, atol=1e-3)


def test_an_empty_scan_has_a_description_without_gaps() -> None:
    assert torch.isfinite(self_similarity(torch.zeros(6, 5, 4))).all()
