"""Affine registration: where along the body two scans meet, then a least-squares fit of twelve numbers.

The fit maximises the correlation of the two scans over the voxels that both show (Gauss-Newton steps on a random,
seeded sample of voxels, with gain and offset fitted along). Scans of different fields of view are no special case:
what only one of them shows never counts. It is a few hundred matrix products, so that several starts cost little.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import SimpleITK as sitk
from scipy.ndimage import map_coordinates

from fseft.location.coarse import CoarseScan, coarser
from fseft.reporting import SILENT, Reporter

STARTS = 4
#: Candidate positions along the body are at least this far apart, mm.
APART_MM = 30.0
#: Two scans must share this much of the body's length, mm, or this share of the shorter one if that is less.
SHORTEST_OVERLAP_MM = 60.0
SHORTEST_OVERLAP_SHARE = 0.7
SAMPLES = 20_000
ITERATIONS = 30
#: Expected deviation of an entry of the linear part from the identity; people differ by about a tenth in size. With 0.2
#: pairs of long scans gain 0.01 Dice, and a slab of 20 slices is stretched to a wrong place.
LINEAR_SD = 0.12
#: Neighbouring voxels say the same thing: about this many samples count as one observation.
REDUNDANCY = 60.0
_ARM_MM = 100.0  # lever that turns entries of the linear part into mm, for the conditioning of the equations


@dataclass(frozen=True)
class Affine:
    """Where a point of the query lies in the support scan: ``matrix @ world + offset``, LPS mm."""

    matrix: np.ndarray
    offset: np.ndarray

    def __call__(self, world: np.ndarray) -> np.ndarray:
        """Map (N, 3) positions."""
        mapped: np.ndarray = world @ self.matrix.T + self.offset
        return mapped

    def transform(self) -> sitk.AffineTransform:
        """The same for resampling the support onto the query."""
        made = sitk.AffineTransform(3)
        made.SetMatrix([float(v) for v in self.matrix.ravel()])
        made.SetTranslation([float(v) for v in self.offset])
        return made


@dataclass(frozen=True)
class AffineFit:
    """An affine and how well it fits.

    Attributes:
        affine: query to support.
        correlation: of the two scans' values over the sampled body voxels that both show.
        overlap: share of the query's sampled body voxels that the support scan shows, 0..1.
    """

    affine: Affine
    correlation: float
    overlap: float


def register_affine(query: CoarseScan, support: CoarseScan, reporter: Reporter = SILENT) -> AffineFit | None:
    """Find the affine from a query to a support scan.

    Args:
        query, support: at the same coarse spacing.
        reporter: asked between iterations whether to stop.

    Returns:
        The best of several starts; None when the scans hold too little body to share a stretch of it.
    """
    far_query, far_support = coarser(query, 2), coarser(support, 2)
    fits = []
    for start in start_shifts(far_query, far_support):
        rough = _fit(far_query, far_support, Affine(np.eye(3), start), SAMPLES // 2, reporter)
        if rough is not None:
            fits.append(rough)
    if not fits:
        return None
    best = max(fits, key=_evidence)
    return _fit(query, support, best.affine, SAMPLES, reporter) or best


def _evidence(fit: AffineFit) -> float:
    """A good match of much is better evidence than a slightly better match of little."""
    return fit.correlation * max(fit.overlap, 1e-6) ** 0.2


def start_shifts(query: CoarseScan, support: CoarseScan) -> list[np.ndarray]:
    """Promising shifts (query to support, LPS mm), the best first.

    Every shift along the body is tried, with the bodies' centres on one line; the score is the correlation over the
    shared voxels. At most :data:`STARTS`, no two nearer than :data:`APART_MM`.
    """
    query_planes, support_planes = _body_planes(query), _body_planes(support)
    if not query_planes.size or not support_planes.size:
        return []
    step = query.spacing_mm
    shorter = min(np.ptp(query_planes), np.ptp(support_planes)) + 1
    least = max(1, round(min(SHORTEST_OVERLAP_MM / step, SHORTEST_OVERLAP_SHARE * shorter)))
    scored = []
    for offset in range(support_planes[0] - query_planes[-1], support_planes[-1] - query_planes[0] + 1):
        shift = _aligned_shift(query, support, offset, least)
        if shift is not None:
            scored.append((_shift_score(query, support, shift), shift))
    scored.sort(key=lambda entry: -entry[0])
    chosen: list[np.ndarray] = []
    origins = np.asarray(support.geometry.origin) - np.asarray(query.geometry.origin)
    for _, shift in scored:
        if all(abs(int(shift[0] - other[0])) * step >= APART_MM for other in chosen):
            chosen.append(shift)
        if len(chosen) == STARTS:
            break
    return [origins + np.asarray(shift[::-1]) * step for shift in chosen]


def _body_planes(scan: CoarseScan) -> np.ndarray:
    return np.flatnonzero(scan.body.any(axis=(1, 2)))


def _shared(first: tuple[int, ...], second: tuple[int, ...], shift: np.ndarray) -> tuple[tuple[slice, ...], ...]:
    """Regions of two arrays that coincide when voxel i of the first lies on voxel i + shift of the second."""
    starts = [max(0, -int(s)) for s in shift]
    stops = [max(a, min(n, m - int(s))) for a, n, m, s in zip(starts, first, second, shift, strict=True)]
    ours = tuple(slice(a, b) for a, b in zip(starts, stops, strict=True))
    theirs = tuple(slice(a + int(s), b + int(s)) for a, b, s in zip(starts, stops, shift, strict=True))
    return ours, theirs


def _aligned_shift(query: CoarseScan, support: CoarseScan, offset: int, least: int) -> np.ndarray | None:
    """The whole-voxel shift (z, y, x) that puts the bodies' centres over each other on the shared planes."""
    ours, theirs = _shared(query.body.shape[:1], support.body.shape[:1], np.array([offset]))
    first, second = query.body[ours[0]], support.body[theirs[0]]
    both = first.any(axis=(1, 2)) & second.any(axis=(1, 2))
    if int(both.sum()) < least:
        return None
    centres = [np.argwhere(part[both])[:, 1:].mean(axis=0) for part in (first, second)]
    move = np.rint(centres[1] - centres[0]).astype(int)
    return np.array([offset, *move])


def _shift_score(query: CoarseScan, support: CoarseScan, shift: np.ndarray) -> float:
    ours, theirs = _shared(query.body.shape, support.body.shape, shift)
    counted = query.inside[ours] & support.inside[theirs] & (query.body[ours] | support.body[theirs])
    if int(counted.sum()) < 100:
        return -1.0
    share = float(counted.sum()) / max(1, min(int(query.body.sum()), int(support.body.sum())))
    return correlation(query.values[ours][counted], support.values[theirs][counted]) * min(1.0, share) ** 0.2


def correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Pearson's correlation; 0 where one of both is constant."""
    a, b = first - first.mean(), second - second.mean()
    scale = float(np.sqrt((a * a).sum() * (b * b).sum()))
    return float((a * b).sum()) / scale if scale > 1e-9 else 0.0


@dataclass(frozen=True)
class _Sample:
    """Sampled query voxels: positions relative to their centre (mm), the centre, and their values."""

    arms: np.ndarray
    centre: np.ndarray
    values: np.ndarray


@dataclass(frozen=True)
class _State:
    """Parameters (9 linear entries in mm per ``_ARM_MM``, 3 translations in mm) and what they give."""

    parameters: np.ndarray
    cost: float
    correlation: float
    counted: np.ndarray
    residual: np.ndarray
    jacobian: np.ndarray


def _fit(query: CoarseScan, support: CoarseScan, start: Affine, samples: int, reporter: Reporter) -> AffineFit | None:
    """Levenberg-Marquardt from a start; None when the start has no overlap to speak of."""
    chosen = _draw(query, samples)
    if chosen is None or min(support.values.shape) < 2:
        return None
    gradients = [g / support.spacing_mm for g in np.gradient(support.values)][::-1]  # along x, y, z
    parameters = np.zeros(12)
    parameters[:9] = (start.matrix - np.eye(3)).ravel() * _ARM_MM
    parameters[9:] = start(chosen.centre[None])[0] - chosen.centre
    state = _evaluate(parameters, chosen, support, gradients)
    if state is None:
        return None
    fewest = 0.6 * int(state.counted.sum())
    damping = 1e-2
    for _ in range(ITERATIONS):
        reporter.check_cancelled()
        precision = _precision(state)
        normal = state.jacobian.T @ state.jacobian + np.diag(precision)
        right = state.jacobian.T @ state.residual - precision * state.parameters
        step = np.linalg.solve(normal + damping * np.diag(np.diag(normal) + 1e-9), right)
        trial = _evaluate(state.parameters + step, chosen, support, gradients)
        if trial is not None and int(trial.counted.sum()) >= fewest and trial.cost < state.cost:
            gained = state.cost - trial.cost
            state, damping = trial, max(damping / 4, 1e-6)
            if np.abs(step).max() < 0.02 * support.spacing_mm or gained < 1e-5:
                break
        else:
            damping *= 8
            if damping > 1e4:
                break
    return AffineFit(_affine(state.parameters, chosen.centre), state.correlation, float(state.counted.mean()))


def _draw(query: CoarseScan, samples: int) -> _Sample | None:
    voxels = np.flatnonzero(query.body.ravel())
    if voxels.size < 100:
        return None
    generator = np.random.default_rng(0)
    if voxels.size > samples:
        voxels = np.sort(generator.choice(voxels, samples, replace=False))
    index = np.stack(np.unravel_index(voxels, query.body.shape), axis=1)
    world = index[:, ::-1] * query.spacing_mm + np.asarray(query.geometry.origin)
    centre = world.mean(axis=0)
    return _Sample(world - centre, centre, query.values.ravel()[voxels].astype(np.float64))


def _affine(parameters: np.ndarray, centre: np.ndarray) -> Affine:
    matrix = np.eye(3) + parameters[:9].reshape(3, 3) / _ARM_MM
    return Affine(matrix, centre + parameters[9:] - matrix @ centre)


def _precision(state: _State) -> np.ndarray:
    """Inverse variances of the prior on the linear part, in units of the residual's variance."""
    variance = float((state.residual**2).mean()) + 1e-9
    precision = np.zeros(12)
    precision[:9] = REDUNDANCY * variance / (LINEAR_SD * _ARM_MM) ** 2
    return precision


def _evaluate(
    parameters: np.ndarray, chosen: _Sample, support: CoarseScan, gradients: list[np.ndarray]
) -> _State | None:
    world = _affine(parameters, chosen.centre)(chosen.arms + chosen.centre)
    index = support.to_index(world)
    counted = map_coordinates(support.inside.view(np.uint8), index, order=0, mode="constant", prefilter=False) > 0
    if int(counted.sum()) < 100:
        return None
    here = index[:, counted]
    moved = map_coordinates(support.values, here, order=1, mode="nearest", prefilter=False).astype(np.float64)
    wanted = chosen.values[counted]
    alike = correlation(wanted, moved)
    variance = float(moved.var())
    if variance < 1e-9:
        return None
    gain = max(0.05, float(((moved - moved.mean()) * (wanted - wanted.mean())).mean()) / variance)
    residual = wanted - wanted.mean() - gain * (moved - moved.mean())
    slopes = np.stack([map_coordinates(g, here, order=1, mode="nearest", prefilter=False) for g in gradients], axis=1)
    slopes = gain * slopes.astype(np.float64)
    arms = chosen.arms[counted] / _ARM_MM
    jacobian = np.concatenate([(slopes[:, :, None] * arms[:, None, :]).reshape(-1, 9), slopes], axis=1)
    # The mean is fitted along with everything else.
    jacobian -= jacobian.mean(axis=0)
    stretch = parameters[:9] / (LINEAR_SD * _ARM_MM)
    cost = 1.0 - alike**2 * np.sign(alike) + REDUNDANCY * float((stretch**2).sum()) / len(wanted) * (1 - alike**2)
    return _State(parameters, cost, alike, counted, residual, jacobian)
