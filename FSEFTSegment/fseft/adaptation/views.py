"""Other views of an annotated scan: the patient mirrored, smaller, larger, noisier, in other phases, annotated alike.

Cached features cannot be augmented, but the scan that they are made of can, once. With a few annotated scans the
adapters otherwise take the size and the grey values of these patients for those of all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fseft.adaptation.phases import in_phase
from fseft.adaptation.support import SupportCase, make_support_case
from fseft.features.source import FeatureSource
from fseft.reporting import SILENT, Reporter
from fseft.scan.annotation import Annotation
from fseft.scan.scan import Scan
from fseft.structures import Structure, other_side

_OUTSIDE_HU = -990.0  # what scanners and publishers fill the outside with has no noise
_LOWEST_HU, _HIGHEST_HU = -1024, 3071


@dataclass(frozen=True)
class View:
    """How a view differs from its scan.

    Attributes:
        zoom: factor of all lengths.
        gain, offset_hu: other calibration.
        noise_hu: standard deviation of added noise.
        mirrored: left and right exchanged, labels too; not where the anatomy is not alike on both sides.
        phase: contrast phase of the annotated structures, see :mod:`fseft.adaptation.phases`; "" for the scan's own.
    """

    zoom: float = 1.0
    gain: float = 1.0
    offset_hu: float = 0.0
    noise_hu: float = 0.0
    mirrored: bool = False
    phase: str = ""


VIEWS: tuple[View, ...] = (
    View(0.88, 1.04, 10.0, 12.0, mirrored=True, phase="native"),
    View(1.13, 0.96, -10.0, 12.0, phase="arterial"),
    View(mirrored=True, phase="venous"),
)
#: Instead of a mirrored scan where it cannot be mirrored and nothing else would differ.
_NOISY = View(1.0, 1.0, 15.0, 25.0)
_MIDLINE_MM = 20.0  # a structure without a twin whose centre is farther from the body's lies on one side
_BODY_HU = -300.0


def views_for(cases: int, asked: int | None = None) -> int:
    """How many views of each scan to learn from: as asked, or with one or two scans, whose own variety is none."""
    if asked is not None:
        return asked
    return {1: 3, 2: 1}.get(cases, 0)


def seen_otherwise(scan: Scan, annotation: Annotation, view: View, seed: int = 0) -> tuple[Scan, Annotation]:
    """A scan and its annotation as a view shows them, on voxels of another size.

    Args:
        scan, annotation: the originals.
        view: what to change; a mirrored view needs what :func:`can_be_mirrored` asks for.
        seed: of the noise.
    """
    hounsfield = scan.hounsfield.astype(np.float32)
    changed = in_phase(hounsfield, annotation, view.phase) if view.phase else hounsfield
    changed = changed * view.gain + view.offset_hu
    if view.noise_hu:
        changed += view.noise_hu * np.random.default_rng(seed).standard_normal(hounsfield.shape, dtype=np.float32)
    seen = np.where(hounsfield > _OUTSIDE_HU, changed, hounsfield).clip(_LOWEST_HU, _HIGHEST_HU)
    if view.mirrored:
        axis = _sideways(scan)
        seen, annotation = np.flip(seen, axis), _mirrored(annotation, axis)
    x, y, z = (view.zoom * step for step in scan.geometry.spacing)
    geometry = replace(scan.geometry, spacing=(x, y, z))
    return Scan(np.ascontiguousarray(np.rint(seen).astype(np.int16)), geometry, scan.name), annotation


def can_be_mirrored(scan: Scan, annotation: Annotation) -> bool:
    """Whether a mirrored scan shows anatomy that exists.

    Every structure with a side needs its twin, or the twin would be taken for background; a structure without a
    side has to lie in the middle: there is no liver on the left.
    """
    twins = _twins(annotation.structures)
    if any(twin is None for twin in twins.values()):
        return False
    axis = _sideways(scan)
    step = scan.geometry.spacing[2 - axis]
    others = tuple(other for other in range(3) if other != axis)
    body = (scan.hounsfield > _BODY_HU).sum(axis=others)
    for structure in annotation.structures:
        drawn = (annotation.labels == structure.value).sum(axis=others)
        apart = (_centre(drawn) - _centre(body)) * step
        if twins[structure.value] == structure.value and drawn.any() and abs(apart) > _MIDLINE_MM:
            return False
    return True


def _centre(counts: np.ndarray) -> float:
    return float(np.average(np.arange(counts.size), weights=counts)) if counts.any() else (counts.size - 1) / 2


def _sideways(scan: Scan) -> int:
    """The array axis (z, y, x) that runs from side to side."""
    axes, _ = scan.geometry.nearest_axes()
    return 2 - axes.index(0)


def _twins(structures: Sequence[Structure]) -> dict[int, int | None]:
    """For each structure's value its twin's; its own where it has no side, None where the twin is not annotated."""
    values = {structure.canonical: structure.value for structure in structures}
    return {structure.value: values.get(other_side(structure.canonical)) for structure in structures}


def _mirrored(annotation: Annotation, axis: int) -> Annotation:
    table = np.arange(max(s.value for s in annotation.structures) + 1, dtype=annotation.labels.dtype)
    for value, twin in _twins(annotation.structures).items():
        table[value] = value if twin is None else twin
    counted = annotation.annotated
    if counted is not None and counted.shape[axis] > 1:
        counted = np.flip(counted, axis)
    return replace(annotation, labels=np.ascontiguousarray(table[np.flip(annotation.labels, axis)]), annotated=counted)


def with_views(
    case: SupportCase,
    scan: Scan,
    annotation: Annotation,
    structures: Sequence[Structure],
    source: FeatureSource,
    count: int,
    reporter: Reporter = SILENT,
) -> SupportCase:
    """A support case with its first ``count`` views; their features are cached like any scan's.

    Args:
        case: made of the scan and the annotation.
        scan, annotation: on their own grid.
        structures: of the support set.
        source: of features.
        count: 0 to the number of :data:`VIEWS`.
        reporter: hears phase "features".
    """
    mirrored = count > 0 and can_be_mirrored(scan, annotation)
    views = []
    for number, view in enumerate(VIEWS[:count]):
        if view.mirrored and not mirrored:
            view = replace(view, mirrored=False) if view.zoom != 1.0 else replace(_NOISY, phase=view.phase)
        seen, drawn = seen_otherwise(scan, annotation, view, number)
        views.append(make_support_case(case.name, source.features(seen, reporter), drawn, structures))
    return replace(case, views=tuple(views))
