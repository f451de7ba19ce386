"""The JSON report of one segmented scan: volumes, expectations, how far to trust it, times and identities."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from fseft.files import replace_whole
from fseft.models.adapted_model import AdaptedModel, SizePrior, current_versions
from fseft.quality.predicted_dice import Calibration
from fseft.quality.sides import body_centre_x, side_flags
from fseft.quality.typicality import UNLIKE_FLAG
from fseft.segmentation.flags import flags_of, notes_of
from fseft.transduction.plan import Outcome

if TYPE_CHECKING:
    from fseft.segmentation.segment import Segmentation

#: Ends a flag that speaks of the result as it was before refinement changed it.
BEFORE_REFINEMENT = ", before refinement"


def make_report(
    name: str,
    model: AdaptedModel,
    result: Segmentation,
    priors: Mapping[str, SizePrior],
    seconds: Mapping[str, float],
) -> dict[str, Any]:
    """The report.

    Args:
        name: of the scan, for people.
        model: the adapted model.
        result: what was segmented.
        priors: expected volumes by structure name.
        seconds: wall time by phase.
    """
    calibration = Calibration.from_json(model.validation.get("calibration"))
    sides = _side_flags(model, result)
    structures = []
    for position, (structure, size) in enumerate(zip(model.structures, result.sizes, strict=True)):
        prior, confidence = priors.get(structure.name), result.confidence[position]
        outcome = result.outcomes[position] if result.outcomes else None
        predicted = calibration.predict(structure.name, confidence.expected_dice) if calibration else None
        # What leave-one-out taught about this model's confidence finds far more poor results than confidence alone,
        # which speaks where there is nothing better.
        trust = predicted.flag if predicted is not None else confidence.flag
        if trust and outcome is not None and outcome.changed_ml:
            trust += BEFORE_REFINEMENT  # confidence is the model's own result's, and calibration knows no other
        flags = flags_of(size, prior)
        flags += [flag for flag in (trust if size.voxels else None, sides.get(structure.name)) if flag]
        if outcome is not None and outcome.action == "refused":
            flags.append(f"not refined: {outcome.why[:1].lower()}{outcome.why[1:].rstrip('.')}")
        if outcome is not None and outcome.doubt:
            flags.append(outcome.doubt)
        structures.append(
            {
                "name": structure.name,
                "value": structure.value,
                "volume_ml": round(size.volume_ml, 4),
                "expected_ml": None if prior is None else [round(prior.low_ml, 4), round(prior.high_ml, 4)],
                "flags": flags,
                "notes": notes_of(size, prior),
                "centre_index": size.centre,
                "predicted_dice": None
                if predicted is None or size.voxels == 0
                else {k: round(v, 3) for k, v in vars(predicted).items()},
                "refinement": None if outcome is None else _refinement(outcome),
            }
        )
    return {
        "format": "fseft-segmentation",
        "version": 1,
        "name": name,
        "structures": structures,
        "flags": [UNLIKE_FLAG] if result.unlike > 1.0 else [],
        "model": {"name": model.name, "method": model.method, "shots": model.shots, "created": model.created},
        "backbone": {"id": model.backbone, "sha256": model.backbone_sha256},
        "seconds": {phase: round(value, 2) for phase, value in seconds.items()},
        "versions": current_versions(),
    }


def report_path(output: Path) -> Path:
    """Where a labelmap's report goes: beside it, ending in ``.report.json``."""
    name = output.name
    for suffix in (".nii.gz", ".seg.nrrd"):
        if name.lower().endswith(suffix):
            return output.with_name(name[: -len(suffix)] + ".report.json")
    return output.with_name(output.stem + ".report.json")


def write_report(report: Mapping[str, Any], output: Path) -> Path:
    """Write a labelmap's report beside it, whole or not at all; returns where."""
    path = report_path(output)
    with replace_whole(path) as partial:
        partial.write_text(json.dumps(report, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def _side_flags(model: AdaptedModel, result: Segmentation) -> dict[str, str]:
    geometry = result.features.grid.geometry
    found = {s.name: size.centre for s, size in zip(model.structures, result.sizes, strict=True)}
    centres = {name: geometry.to_world(np.array([centre]))[0] for name, centre in found.items() if centre is not None}
    return side_flags(centres, body_centre_x(result.features))


def _refinement(outcome: Outcome) -> dict[str, Any]:
    return {
        "action": outcome.action,
        "why": outcome.why,
        "before_ml": round(outcome.before_ml, 4),
        "after_ml": round(outcome.after_ml, 4),
        "changed_ml": round(outcome.changed_ml, 4),
        "centre_index": outcome.centre_index,
    }
