"""What a person should look at before trusting a result, and what else is worth knowing, in plain words.

A flag is raised for what tells poor results from good ones, or cannot be right. What is true of good and poor results
alike is a note: measured on head-and-neck scans, volumes outside the published 30 % and several pieces were as frequent
among good results as among poor ones, and flags that are nearly always there are not read.
"""

from __future__ import annotations

from fseft.models.adapted_model import SizePrior
from fseft.priors.plausible import plausible_range
from fseft.segmentation.volumes import StructureVolume


def flags_of(size: StructureVolume, prior: SizePrior | None) -> list[str]:
    """Flags of one segmented structure.

    Args:
        size: what was segmented.
        prior: the expected volume, if known. A range that a person gave is taken as it is, what annotated cases suggest
            with the spread of :func:`plausible_range`. A structure that the scan cuts may be smaller, never larger.
    """
    if size.voxels == 0:
        return ["not found in this scan"]
    if prior is None:
        return []
    low, high = plausible_range(prior)
    given = not prior.volumes_ml  # by a person or a preset, and so the very range that is shown beside the flag
    if size.volume_ml > high:
        return [
            f"larger than expected (at most {high:.1f} ml)"
            if given
            else f"far larger than the annotated cases suggest (over {high:.1f} ml)"
        ]
    if size.volume_ml < low and not size.cut_by_border:
        return [
            f"smaller than expected (at least {low:.1f} ml)"
            if given
            else f"far smaller than the annotated cases suggest (under {low:.1f} ml)"
        ]
    return []


def notes_of(size: StructureVolume, prior: SizePrior | None) -> list[str]:
    """What is worth knowing of one segmented structure without being a reason for doubt.

    Args:
        size: what was segmented.
        prior: the expected volume, if known.
    """
    notes = []
    if size.cut_by_border:
        notes.append("cut by the scan's border")
        if prior is not None and not prior.volumes_ml and 0 < size.volume_ml < prior.low_ml:
            notes.append(f"smaller than expected (at least {prior.low_ml:.1f} ml), as it may be where it is cut")
    if prior is not None and size.voxels and not flags_of(size, prior):
        if size.volume_ml > prior.high_ml:
            notes.append(f"above the annotated cases' range (up to {prior.high_ml:.1f} ml), not unusually")
        elif size.volume_ml < prior.low_ml and not size.cut_by_border:
            notes.append(f"below the annotated cases' range (from {prior.low_ml:.1f} ml), not unusually")
    if size.pieces > 1:
        notes.append(f"in {size.pieces} separate pieces, up to {size.apart_mm:.0f} mm apart")
    return notes
