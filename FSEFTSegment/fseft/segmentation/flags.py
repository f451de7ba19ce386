"""What a person should look at before trusting a result, in plain words."""

from __future__ import annotations

from fseft.models.adapted_model import SizePrior
from fseft.segmentation.volumes import StructureVolume


def flags_of(size: StructureVolume, prior: SizePrior | None) -> list[str]:
    """Flags of one segmented structure.

    Args:
        size: what was segmented.
        prior: the expected volume, if known. A structure that the scan cuts may be smaller than expected, never larger.
    """
    if size.voxels == 0:
        return ["not found in this scan"]
    flags = []
    if size.cut_by_border:
        flags.append("cut by the scan's border")
    if prior is not None and size.volume_ml > prior.high_ml:
        flags.append(f"larger than expected (at most {prior.high_ml:.1f} ml)")
    if prior is not None and size.volume_ml < prior.low_ml and not size.cut_by_border:
        flags.append(f"smaller than expected (at least {prior.low_ml:.1f} ml)")
    if size.pieces > 1:
        flags.append(f"in {size.pieces} separate pieces")
    return flags
