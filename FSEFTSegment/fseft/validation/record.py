"""The outcome of a validation, as it is kept in a model."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from fseft.quality.predicted_dice import Calibration
from fseft.validation.scores import StructureScore


@dataclass(frozen=True)
class Validation:
    """Scores by method and structure, and the choice they lead to.

    Attributes:
        kind: "leave-one-out" over cases, or "cross-slice" within one.
        table: scores by method and structure.
        chosen: the method chosen, or the only candidate.
        reason: why, in plain words.
        verdict: what to think of the model.
        advice: what to do next.
        calibration: predicts the Dice of single results of the chosen method; None without evidence on other patients.
        compared: methods that were no candidates, there to compare with on some of the structures or all.
        note: what else has to be known to read the figures; empty when nothing.
        seconds: wall time.
    """

    kind: str
    table: dict[str, dict[str, StructureScore]]
    chosen: str
    reason: str
    verdict: str
    advice: str
    calibration: Calibration | None = None
    compared: tuple[str, ...] = ()
    note: str = ""
    seconds: float = 0.0

    def as_json(self) -> dict[str, Any]:
        """The record kept in a model, null for what could not be scored."""
        return {
            "kind": self.kind,
            "table": {
                method: {name: _plain(asdict(score)) for name, score in row.items()}
                for method, row in self.table.items()
            },
            "chosen": self.chosen,
            "reason": self.reason,
            "verdict": self.verdict,
            "advice": self.advice,
            "compared": list(self.compared),
            "note": self.note,
            "calibration": None if self.calibration is None else self.calibration.as_json(),
            "seconds": round(self.seconds, 1),
        }


def _plain(values: dict[str, Any]) -> dict[str, Any]:
    return {
        name: (None if math.isnan(value) else round(value, 4)) if isinstance(value, float) else value
        for name, value in values.items()
    }
