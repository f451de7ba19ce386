"""The live state of support cases: what is annotated, what is missing, what is wrong."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from fseft.errors import FseftError
from fseft.structures import Structure, canonical_name

from FSEFTSegmentLib.mrml.grid import own_grid, world_transform
from FSEFTSegmentLib.mrml.images import image_matrix, is_empty_image
from FSEFTSegmentLib.mrml.segments import LABELMAP, layer_images, list_segments, match_segments, values_present
from FSEFTSegmentLib.mrml.slices import Slices, drawn_slices
from FSEFTSegmentLib.mrml.volumes import check_volume, fingerprint, has_gaps, looks_like_ct, voxels_of


@dataclass(frozen=True)
class CaseProblem:
    """Something about a case; ``blocking`` ones keep it out of the support set."""

    code: str
    message: str
    hint: str
    blocking: bool = True


@dataclass(frozen=True)
class CaseStatus:
    """What a case holds.

    Attributes:
        annotated: names of structures with voxels, in the structures' order.
        empty: names of structures that have a segment without voxels.
        missing: names of structures without a segment.
        problems: what is wrong, blocking ones first.
        slices: on which slices anything is drawn.
    """

    annotated: tuple[str, ...] = ()
    empty: tuple[str, ...] = ()
    missing: tuple[str, ...] = ()
    problems: tuple[CaseProblem, ...] = ()
    slices: Slices = field(default_factory=Slices)

    @property
    def is_usable(self) -> bool:
        """True when the case can be learnt from."""
        return bool(self.annotated) and not any(problem.blocking for problem in self.problems)


def case_status(
    volume: Any | None, segmentation: Any | None, structures: tuple[Structure, ...], sparse: bool = False
) -> CaseStatus:
    """Look at a case; fast enough to be asked after every brush stroke.

    Args:
        volume: the scan's node, None when it is gone.
        segmentation: the annotation's node, None when there is none yet.
        structures: of the support set.
        sparse: whether only some slices are meant to be annotated.
    """
    problems: list[CaseProblem] = []
    if volume is None:
        problems.append(CaseProblem("scan-missing", "The scan is no longer in the scene.", "Remove the case."))
        return CaseStatus(problems=tuple(problems))
    try:
        check_volume(volume)
        if has_gaps(volume):
            problems.append(
                CaseProblem(
                    "scan-not-finite",
                    "It holds voxels that are NaN or infinite.",
                    "Replace them, for example by -1024 HU (air), or load the scan again.",
                )
            )
        elif not looks_like_ct(volume):
            problems.append(
                CaseProblem(
                    "scan-not-ct",
                    "The values do not look like Hounsfield units.",
                    "Choose a CT that was not windowed or normalised.",
                    blocking=False,
                )
            )
    except FseftError as problem:
        problems.append(CaseProblem(problem.code, problem.message, problem.hint))
    if segmentation is None:
        return CaseStatus(missing=tuple(s.name for s in structures), problems=tuple(problems))
    matched, _ = match_segments(segmentation, structures)
    taken = {info.id for info in matched.values()}
    ignored = [
        info.name for info in list_segments(segmentation) if info.id not in taken and _is_drawn(segmentation, info)
    ]
    present, slices, elsewhere = _drawn(segmentation, volume, list(matched.values()))
    if elsewhere is not None:
        problems.append(elsewhere)
    if slices.looks_sparse and not sparse:
        problems.append(
            CaseProblem(
                "slices-missing",
                f"Drawn on {slices.drawn} single slice(s) only: the others count as empty.",
                "Tick “Some slices” for this scan, or draw the slices in between.",
                blocking=False,
            )
        )
    problems += _about_ignored(ignored, structures)
    problems.sort(key=lambda problem: not problem.blocking)
    return CaseStatus(
        tuple(s.name for s in structures if s.name in matched and matched[s.name].id in present),
        tuple(s.name for s in structures if s.name in matched and matched[s.name].id not in present),
        tuple(s.name for s in structures if s.name not in matched),
        tuple(problems),
        slices,
    )


def _about_ignored(names: Sequence[str], structures: tuple[Structure, ...]) -> list[CaseProblem]:
    """What to say of segments that no structure takes: a name that stands twice, or one that is no structure's."""
    known = {structure.canonical for structure in structures}
    twice = list(dict.fromkeys(name for name in names if canonical_name(name) in known))
    foreign = [name for name in names if canonical_name(name) not in known]
    found = []
    if twice:
        message = f"More than one segment is called {', '.join(twice)}: only the first counts."
        hint = "Join them, or rename or delete the one that is not meant."
        found.append(CaseProblem("segment-twice", message, hint, blocking=False))
    if foreign:
        message = f"Not in the structure list: {', '.join(foreign)}."
        found.append(CaseProblem("segments-ignored", message, "Add or rename them.", blocking=False))
    return found


def _is_drawn(segmentation: Any, info: Any) -> bool:
    """Whether a segment has voxels; one that has a surface only counts as drawn."""
    image = segmentation.GetSegmentation().GetSegment(info.id).GetRepresentation(LABELMAP)
    if image is None:
        return not segmentation.GetSegmentation().ContainsRepresentation(LABELMAP)
    return not is_empty_image(image) and info.value in values_present(image, {info.value})


def _drawn(segmentation: Any, volume: Any, infos: list[Any]) -> tuple[set[str], Slices, CaseProblem | None]:
    """Identifiers of segments with voxels, the slices drawn on, and the problem when none of them lie on the volume."""
    if not segmentation.GetSegmentation().ContainsRepresentation(LABELMAP):
        # Surfaces are converted only when needed: any surface counts as drawn.
        return {info.id for info in infos}, Slices(), None
    try:
        grid = own_grid(volume)
        to_volume = np.linalg.solve(world_transform(volume), world_transform(segmentation))
    except FseftError as problem:
        return set(), Slices(), CaseProblem(problem.code, problem.message, problem.hint)
    present: set[str] = set()
    meets = False
    images = []
    for image, held in layer_images(segmentation, infos, grid):
        found = values_present(image, {info.value for info in held})
        images += [image] if found else []
        present |= {info.id for info in held if info.value in found}
        meets = meets or (bool(found) and boxes_meet(image, to_volume, grid.ijk_to_ras, grid.size))
    if present and not meets:
        return (
            present,
            Slices(),
            CaseProblem(
                "annotation-elsewhere",
                "The annotation lies outside the scan.",
                "Choose the annotation that was drawn on this scan.",
            ),
        )
    return present, drawn_slices(images), None


def boxes_meet(image: Any, to_volume: np.ndarray, ijk_to_ras: np.ndarray, size: tuple[int, int, int]) -> bool:
    """Whether a label image's extent reaches into a volume's grid, by their bounding boxes in voxel indices."""
    extent = image.GetExtent()
    corners = np.array([[i, j, k, 1] for i in extent[0:2] for j in extent[2:4] for k in extent[4:6]], dtype=float)
    index = corners @ np.linalg.solve(ijk_to_ras, to_volume @ image_matrix(image)).T
    low, high = index[:, :3].min(axis=0), index[:, :3].max(axis=0)
    return bool((high >= -0.5).all() and (low <= np.array(size) - 0.5).all())


def twins(volumes: Sequence[Any]) -> list[tuple[int, int]]:
    """Positions of volumes that are the same scan, each with the first of its kind."""
    first: dict[str, int] = {}
    pairs = []
    for position, volume in enumerate(volumes):
        if volume is None:
            continue
        try:
            # Colour images too can be dragged in; what is no scan is told as that, and has no twin.
            check_volume(volume)
            key = fingerprint(volume)
        except FseftError:
            continue
        earlier = first.setdefault(key, position)
        if earlier != position and np.array_equal(voxels_of(volumes[earlier]), voxels_of(volume)):
            pairs.append((earlier, position))
    return pairs
