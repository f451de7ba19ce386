"""Refinement by location: what the annotated scans, carried into this one by registration, say of it.

Where a structure lies and how large it is *in this scan* come from the carried annotations, what it looks like comes
from the adapter. Both are averaged, and a structure that stays smaller than it was carried takes further voxels in
order of that average. What the adapter does not recognise at all is carried over, and said to be. Nothing is trained.
The published size prior knows one volume for every scan; the carried one counts only what this scan shows, so an organ
that the scan cuts is not grown to a whole one. In slices that were left unannotated, and where a structure goes on
beyond what the annotated scans show, they know nothing, and the adapter decides alone.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np

from fseft.adapters.adapter import Adapter
from fseft.compute import Compute
from fseft.features.volume import FeatureVolume
from fseft.location.atlas import register_all
from fseft.location.cache import RegistrationCache
from fseft.location.carried import Carried, carry_structure
from fseft.location.propagation import Box as ScanBox
from fseft.location.propagation import Carrier, union
from fseft.location.support import AtlasCase, Placed
from fseft.location.vote import MAJORITY, ROUNDING, threshold_of
from fseft.preprocessing.resampling import linear_matrix, resample
from fseft.reporting import SILENT, Reporter
from fseft.segmentation.scoring import Box, score_blocks
from fseft.segmentation.volumes import StructureVolume
from fseft.structures import Structure
from fseft.transduction.far_pieces import without_far_pieces
from fseft.transduction.plan import Outcome
from fseft.transduction.say import UNRECOGNISED_SHARE, Say, say_of

#: The average that a voxel needs however small the structure is.
LEAST_AVERAGE = 0.2

_NOT_ALIGNED = "No annotated scan could be brought into line with this one."
_UNRECOGNISED = "the model found almost none of it where it should be: it is carried over from the annotated scans"
_NOT_SHOWN = "The annotated scans that could be brought into line show it nowhere in this scan."


@dataclass(frozen=True)
class _Placed:
    """A structure with votes: its place on the scan's grid and, to be filled, its probabilities on the network's."""

    position: int
    is_base: bool
    carried: Carried
    recognised: float
    scan_box: ScanBox
    network_box: Box
    probabilities: np.ndarray


def refine_by_location(
    adapter: Adapter,
    features: FeatureVolume,
    query: Placed,
    cases: Sequence[AtlasCase],
    structures: Sequence[Structure],
    labels: np.ndarray,
    sizes: Sequence[StructureVolume],
    compute: Compute,
    reporter: Reporter = SILENT,
    cache: RegistrationCache | None = None,
    base: Collection[Structure] = (),
    say: Say = say_of,
) -> tuple[np.ndarray, list[Outcome]]:
    """Labels that also heed where the annotated scans have their structures.

    Args:
        adapter: the adapted model's.
        features: the query's.
        query: the query, ready for registration.
        cases: the support set; cases that do not register are left out, with a word to the reporter.
        structures: the model's.
        labels: (z, y, x), i + 1 structure i; left as they are.
        sizes: of ``labels``, in the model's order.
        compute: the adapter's.
        reporter: hears phases "registration" and "refinement".
        cache: see :func:`fseft.location.atlas.propose`.
        base: those of the structures that the backbone was pretrained on.
        say: how much the carried annotations count beside the adapter.

    Returns:
        New labels, and an outcome per structure whose volumes after refinement are still to be measured. Structures
        without votes keep their labels.
    """
    carriers, weights, failed = register_all(query, cases, reporter, cache)
    for sentence in failed:
        reporter.log(f"Not used for the location. {sentence}", "warning")
    outcomes = [Outcome("none", "", size.volume_ml, size.volume_ml) for size in sizes]
    if not carriers:
        return labels, [Outcome("refused", _NOT_ALIGNED, size.volume_ml, size.volume_ml) for size in sizes]
    placed = []
    for position, structure in enumerate(structures):
        reporter.progress("refinement", position, 2 * len(structures))
        reporter.check_cancelled()
        found = _place(
            position, structure, structure in base, carriers, weights, labels, sizes[position], features,
            adapter.head.strides,
        )  # fmt: skip
        if found is None:
            volume = sizes[position].volume_ml
            outcomes[position] = Outcome("refused", _NOT_SHOWN, volume, volume)
        else:
            doubt = _UNRECOGNISED if found.recognised < UNRECOGNISED_SHARE else ""
            volume = sizes[position].volume_ml
            outcomes[position] = Outcome("refined", "", volume, volume, doubt=doubt)
            placed.append(found)
    _fill(placed, adapter, features, compute, reporter)
    return _decide(placed, labels, features, say, reporter), outcomes


def _place(
    position: int,
    structure: Structure,
    is_base: bool,
    carriers: Sequence[Carrier],
    weights: Sequence[float],
    labels: np.ndarray,
    size: StructureVolume,
    features: FeatureVolume,
    strides: Sequence[int],
) -> _Placed | None:
    carried = carry_structure(structure.name, carriers, weights)
    if carried.box is None:
        return None
    boxes = [carried.box]
    if size.box is not None:
        z, y, x = (slice(*bounds) for bounds in size.box)
        boxes.append((z, y, x))
    box = union(boxes)
    network = network_box(features, box, max(strides))
    probabilities = np.zeros([e - b for b, e in network], dtype=np.float16)
    assert carried.share is not None
    found = int(np.count_nonzero((labels[carried.box] == position + 1) & (carried.share > 0)))
    recognised = found / max(carried.expected_voxels, 1e-9)
    return _Placed(position, is_base, carried, recognised, box, network, probabilities)


def network_box(features: FeatureVolume, box: ScanBox, stride: int) -> Box:
    """The network voxels between which a box of the scan's grid (z, y, x) lies, bounds multiples of ``stride``."""
    bounds = []
    for axis in features.grid.axes:
        positions = axis.network_positions()[box[axis.scan_axis]]
        low = int(np.clip(np.floor(positions.min()), 0, axis.content - 1)) // stride * stride
        high = int(np.clip(np.ceil(positions.max()) + 1, low + 1, axis.content))
        bounds.append((low, min(axis.size, -(-high // stride) * stride)))
    return (bounds[0], bounds[1], bounds[2])


def _fill(
    placed: Sequence[_Placed], adapter: Adapter, features: FeatureVolume, compute: Compute, reporter: Reporter
) -> None:
    """Score the network voxels of all structures once."""
    if not placed:
        return
    offset = 0 if adapter.head.outputs == 1 else 1
    region = tuple(
        (min(p.network_box[a][0] for p in placed), max(p.network_box[a][1] for p in placed)) for a in range(3)
    )
    adapter = adapter.to(compute.device).eval()
    for box, block in score_blocks(adapter, features, (region[0], region[1], region[2]), compute):
        reporter.check_cancelled()
        for item in placed:
            here = [(max(b, low), min(e, high)) for (b, e), (low, high) in zip(box, item.network_box, strict=True)]
            if all(begin < end for begin, end in here):
                into = tuple(slice(b - low, e - low) for (b, e), (low, _) in zip(here, item.network_box, strict=True))
                part = tuple(slice(b - low, e - low) for (b, e), (low, _) in zip(here, box, strict=True))
                item.probabilities[into] = block[item.position + offset][part]
    adapter.cpu()


def _decide(
    placed: Sequence[_Placed], labels: np.ndarray, features: FeatureVolume, say: Say, reporter: Reporter
) -> np.ndarray:
    after = labels.copy()
    after[np.isin(after, [item.position + 1 for item in placed])] = 0
    # A structure without votes keeps what it has unless another one is more likely than not.
    best = np.where(after > 0, np.float16(0.5), np.float16(0))
    for number, item in enumerate(placed):
        reporter.progress("refinement", len(placed) + number, 2 * len(placed))
        reporter.check_cancelled()
        average, taken = _taken(item, features, say)
        inside = after[item.scan_box]
        taken &= average > best[item.scan_box]
        inside[taken] = item.position + 1
        best[item.scan_box][taken] = average[taken]
    reporter.progress("refinement", 1, 1)
    return after


def _taken(item: _Placed, features: FeatureVolume, say: Say) -> tuple[np.ndarray, np.ndarray]:
    """Adapter and votes together, (z, y, x) float32 of the structure's box, 0..1; and which voxels are enough of it."""
    probabilities, (average, knowing) = _to_scan(item, features), _votes(item)
    known, carried = knowing > 0, average > 0
    # In place: the box may be the whole scan.
    average -= probabilities
    average *= say(knowing, item.recognised, item.is_base)
    average += probabilities
    taken = average >= MAJORITY - ROUNDING
    # The volume that is expected is that of the part which the annotated scans show.
    taken |= known & (average >= threshold_of(average[known], item.carried.expected_voxels, LEAST_AVERAGE))
    return average, without_far_pieces(taken, known, carried, features.grid.geometry.spacing[::-1])


def _votes(item: _Placed) -> tuple[np.ndarray, np.ndarray]:
    """The carried share in the structure's box, and how many of the cases know each voxel; (z, y, x) float32 both."""
    assert item.carried.box is not None
    assert item.carried.share is not None
    knowing = np.zeros([part.stop - part.start for part in item.scan_box], dtype=np.float32)
    for voter, value in item.carried.voters:
        knowing += voter.knows(value, item.scan_box)
    share = np.zeros_like(knowing)
    z, y, x = (
        slice(part.start - whole.start, part.stop - whole.start)
        for part, whole in zip(item.carried.box, item.scan_box, strict=True)
    )
    share[z, y, x] = item.carried.share
    assert item.carried.knowing is not None
    knowing[z, y, x] = np.maximum(knowing[z, y, x], item.carried.knowing)
    return share, knowing


def _to_scan(item: _Placed, features: FeatureVolume) -> np.ndarray:
    """The adapter's probabilities in the structure's box of the scan's grid; 0 outside what the network saw."""
    grid = features.grid
    matrices = []
    for scan_axis, part in enumerate(item.scan_box):
        n = grid.axis_along_scan(scan_axis)
        axis, (begin, end) = grid.axes[n], item.network_box[n]
        end = min(end, axis.content)
        matrix = np.zeros((part.stop - part.start, item.network_box[n][1] - begin), dtype=np.float32)
        indices = np.arange(part.start, part.stop)
        covered = (indices >= axis.start) & (indices < axis.stop)
        positions = axis.network_positions()[part][covered]
        matrix[covered, : end - begin] = linear_matrix(positions - begin, end - begin)
        matrices.append(matrix)
    return resample(item.probabilities.transpose(grid.scan_order), (matrices[0], matrices[1], matrices[2]))
