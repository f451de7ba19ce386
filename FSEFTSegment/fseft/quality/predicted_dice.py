"""From what a model expects of itself to what may be expected of it: the calibrated Dice of a single result.

Held-out scans give pairs of expected and true Dice, few of them. One line is fitted through all pairs, its slope
drawn towards one, as if the expectation were right but for a constant; each structure moves that line up or down by
its own mean error, drawn towards zero the more the fewer pairs it has. Its slope never falls below zero: what expects
more of itself is not predicted worse. The interval comes from the errors of pairs that were left out of the fit,
averaged with a stated error as if that had been seen a few times, by Student's distribution with as many degrees of
freedom, and is never narrower than a floor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.special import stdtrit

PRIOR_SLOPE = 1.0
PRIOR_SLOPE_WEIGHT = 0.04  # pull towards it: as four pairs whose expectations spread by 0.1
OFFSET_WEIGHT = 2.0  # pairs of a structure that count as much as its having no error of its own
PRIOR_ERROR = 0.10  # Dice; the error that is assumed before any was seen
PRIOR_ERROR_PAIRS = 3.0  # how often it is taken as seen
INTERVAL = 0.90  # share of results that should fall into it
POOR_DICE = 0.7  # predicted; below, a result is flagged
FEW_PAIRS = 8  # with fewer the half width is at least FLOOR_FEW
FLOOR_FEW, FLOOR = 0.10, 0.03  # Dice
EXTRAPOLATION = 0.5  # half width added per unit of expectation outside what was seen


@dataclass(frozen=True)
class Pair:
    """A held-out result: the structure, its expected Dice (``Confidence.expected_dice``) and its true Dice."""

    structure: str
    expected: float
    true: float


@dataclass(frozen=True)
class PredictedDice:
    """Dice to be expected of a result, with the interval that nine of ten true values should fall into."""

    value: float
    low: float
    high: float

    @property
    def flag(self) -> str | None:
        """What to tell a person, None when there is nothing to tell."""
        # Reports keep three digits; said in two from there, so that the words never differ from the figure beside them.
        return f"likely poor (predicted Dice {round(self.value, 3):.2f})" if self.value < POOR_DICE else None


@dataclass(frozen=True)
class Calibration:
    """A fitted line, see the module.

    Attributes:
        slope, intercept: of the pooled line.
        offsets: per structure, added to it.
        error: root mean square error of pairs left out, over all structures.
        errors: the same per structure, drawn towards ``error``.
        counts: pairs per structure.
        pairs: behind the fit.
        seen: lowest and highest expectation behind the fit.
    """

    slope: float
    intercept: float
    offsets: dict[str, float]
    error: float
    errors: dict[str, float]
    counts: dict[str, int]
    pairs: int
    seen: tuple[float, float]

    @classmethod
    def fit(cls, pairs: Sequence[Pair]) -> Calibration | None:
        """Fit to held-out results; pairs without both numbers are left out.

        Returns:
            None when fewer than two pairs are left: a line through one point would be the assumption alone.
        """
        usable = [pair for pair in pairs if not (math.isnan(pair.expected) or math.isnan(pair.true))]
        if len(usable) < 2:
            return None
        line = _fit_line(usable)
        missed: dict[str, list[float]] = {}
        for number, pair in enumerate(usable):
            others = _fit_line([*usable[:number], *usable[number + 1 :]])
            missed.setdefault(pair.structure, []).append(pair.true - others.centre(pair.structure, pair.expected))
        error = _drawn([m for values in missed.values() for m in values], PRIOR_ERROR)
        errors = {name: _drawn(values, error) for name, values in missed.items()}
        return replace(line, error=error, errors=errors)

    def centre(self, structure: str, expected: float) -> float:
        """The line's value, not yet clipped to 0..1."""
        return self.intercept + self.slope * expected + self.offsets.get(structure, 0.0)

    def predict(self, structure: str, expected: float) -> PredictedDice | None:
        """Predicted Dice of one structure of one result, None where it expects nothing (nan).

        Args:
            structure: its name; one without pairs is predicted by the pooled line.
            expected: ``Confidence.expected_dice``.
        """
        if math.isnan(expected):
            return None
        value = min(1.0, max(0.0, self.centre(structure, expected)))
        error = self.errors.get(structure, max(self.error, PRIOR_ERROR))
        deviations = float(stdtrit(self.counts.get(structure, 0) + PRIOR_ERROR_PAIRS - 1, (1 + INTERVAL) / 2))
        half = max(deviations * error, FLOOR_FEW if self.pairs < FEW_PAIRS else FLOOR)
        half += EXTRAPOLATION * max(0.0, self.seen[0] - expected, expected - self.seen[1])
        return PredictedDice(value, max(0.0, value - half), min(1.0, value + half))

    def as_json(self) -> dict[str, Any]:
        """JSON-ready."""
        return {
            "slope": round(self.slope, 5),
            "intercept": round(self.intercept, 5),
            "offsets": {name: round(value, 5) for name, value in self.offsets.items()},
            "error": round(self.error, 5),
            "errors": {name: round(value, 5) for name, value in self.errors.items()},
            "counts": dict(self.counts),
            "pairs": self.pairs,
            "seen": [round(value, 5) for value in self.seen],
        }

    @classmethod
    def from_json(cls, content: Mapping[str, Any] | None) -> Calibration | None:
        """What :meth:`as_json` wrote; None of nothing.

        Raises:
            KeyError, TypeError, ValueError: when it is something else.
        """
        if not content:
            return None
        low, high = content["seen"]
        return cls(
            float(content["slope"]),
            float(content["intercept"]),
            {str(name): float(value) for name, value in content["offsets"].items()},
            float(content["error"]),
            {str(name): float(value) for name, value in content["errors"].items()},
            {str(name): int(value) for name, value in content["counts"].items()},
            int(content["pairs"]),
            (float(low), float(high)),
        )


def _fit_line(pairs: Sequence[Pair]) -> Calibration:
    expected, true = np.array([p.expected for p in pairs]), np.array([p.true for p in pairs])
    x, y = expected - expected.mean(), true - true.mean()
    slope = float((x @ y + PRIOR_SLOPE_WEIGHT * PRIOR_SLOPE) / (x @ x + PRIOR_SLOPE_WEIGHT))
    slope = max(0.0, slope)
    intercept = float(true.mean() - slope * expected.mean())
    residuals: dict[str, list[float]] = {}
    for pair in pairs:
        residuals.setdefault(pair.structure, []).append(pair.true - intercept - slope * pair.expected)
    offsets = {name: sum(values) / (len(values) + OFFSET_WEIGHT) for name, values in residuals.items()}
    seen = (float(expected.min()), float(expected.max()))
    counts = {name: len(values) for name, values in residuals.items()}
    return Calibration(slope, intercept, offsets, 0.0, {}, counts, len(pairs), seen)


def _drawn(misses: Sequence[float], prior: float) -> float:
    """Root mean square of errors and of a prior error that counts as :data:`PRIOR_ERROR_PAIRS` of them."""
    total = sum(miss * miss for miss in misses) + PRIOR_ERROR_PAIRS * prior * prior
    return math.sqrt(total / (len(misses) + PRIOR_ERROR_PAIRS))
