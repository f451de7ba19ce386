"""Drafts of annotations in the scene: filling what is still empty, saying how they came about, taking them back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import slicer
from fseft.structures import Structure

from FSEFTSegmentLib.mrml.annotations import annotation_steps
from FSEFTSegmentLib.mrml.grid import own_grid
from FSEFTSegmentLib.mrml.nrrd import read_nrrd_steps
from FSEFTSegmentLib.mrml.segments import LABELMAP, set_labels
from FSEFTSegmentLib.segmentation import WrittenScan
from FSEFTSegmentLib.steps import Steps
from FSEFTSegmentLib.support import SupportSet

#: Below this mean Dice between what single scans propose, a person had better draw than correct. A round figure, not
#: a calibrated one.
WEAK_AGREEMENT = 0.6


@dataclass(frozen=True)
class DraftLine:
    """How one structure of a draft came about.

    Attributes:
        name: the structure's.
        source: what it comes from ("2 of 3 scans", "model").
        volume_ml: of the draft, None where there is none.
        agreement: mean Dice between what single scans propose, None where there is nothing to compare.
        advice: what to do about it, "" where a glance is enough.
    """

    name: str
    source: str
    volume_ml: float | None = None
    agreement: float | None = None
    advice: str = ""


@dataclass(frozen=True)
class Draft:
    """A draft that was put into an annotation.

    Attributes:
        volume: the scan's node.
        annotation: the segmentation node.
        lines: one per structure that the draft was asked for, those that were drawn already included.
        failed: sentences about scans that could not be used.
    """

    volume: Any
    annotation: Any
    lines: tuple[DraftLine, ...]
    failed: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Backup:
    """A segmentation before a draft, and what it was like right after."""

    segmentation: Any
    state_after: tuple[Any, ...]


class Drafts:
    """Puts drafts into annotations; the last one of each can be taken back.

    Args:
        support: the support set.
    """

    def __init__(self, support: SupportSet) -> None:
        self.support = support
        self._backups: dict[str, _Backup] = {}

    def fill_steps(
        self, written: Sequence[WrittenScan], result: Mapping[str, Any], structures: tuple[Structure, ...]
    ) -> Steps[list[Draft]]:
        """Fill structures that are still empty in annotations from the worker's labelmaps.

        Args:
            written: the scans handed to the worker.
            result: of the job; "scans" tells of each structure how it came about.
            structures: those of the labelmaps.
        """
        drafts = []
        reports = list(result.get("scans") or [])
        for position, scan in enumerate(written):
            case = next((c for c in self.support.state.cases if self.support.state.scan(c) is scan.volume), None)
            if case is None:
                continue
            file = yield from read_nrrd_steps(scan.output)
            annotation = self.support.annotation_for(case)
            mine = self.support.state.structures
            current = yield from annotation_steps(annotation, scan.volume, mine)
            drawn = {structure.name for structure in current.structures}
            labels = current.labels.copy()
            for structure in mine:
                source = next((s for s in structures if s.canonical == structure.canonical), None)
                if source is not None and structure.name not in drawn:
                    labels[(file.array == source.value) & (labels == 0)] = structure.value
                    yield 0.5
            backup = slicer.vtkSegmentation()
            backup.DeepCopy(annotation.GetSegmentation())
            set_labels(annotation, labels, own_grid(scan.volume), mine)
            self._backups[annotation.GetID()] = _Backup(backup, _state_of(annotation))
            report = reports[position] if position < len(reports) else {}
            lines = draft_lines(report.get("structures") or [], {s.canonical: s.name for s in mine}, drawn)
            drafts.append(Draft(scan.volume, annotation, lines, tuple(report.get("failed") or ())))
        return drafts

    def can_undo(self, annotation: Any | None) -> bool:
        """True when the last draft in this annotation can be taken back."""
        return annotation is not None and annotation.GetID() in self._backups

    def was_changed_since(self, annotation: Any) -> bool:
        """True when taking the draft back would also take back what was drawn after it."""
        return _state_of(annotation) != self._backups[annotation.GetID()].state_after

    def undo(self, annotation: Any) -> None:
        """Take the last draft back; strokes made since are lost with it."""
        backup = self._backups.pop(annotation.GetID())
        annotation.GetSegmentation().DeepCopy(backup.segmentation)
        self.support.notify("cases")

    def forget(self) -> None:
        """Drop what belongs to a scene that was closed."""
        self._backups.clear()


def draft_lines(
    entries: Sequence[Mapping[str, Any]], own_names: Mapping[str, str], drawn: set[str]
) -> tuple[DraftLine, ...]:
    """What the worker says of each structure, in words.

    Args:
        entries: "name", "votes", "of", "agreement" (null where a model proposes), "volume_ml".
        own_names: the support set's names by their one spelling; other structures are left out.
        drawn: names of structures that had been drawn already.
    """
    from fseft.structures import canonical_name

    lines = []
    for entry in entries:
        name = own_names.get(canonical_name(str(entry["name"])))
        if name is not None and name in drawn:
            lines.append(DraftLine(name, "you, left as it is"))
        elif name is not None:
            lines.append(_line(name, entry))
    return tuple(lines)


def _line(name: str, entry: Mapping[str, Any]) -> DraftLine:
    volume, votes, of, agreement = (entry.get(key) for key in ("volume_ml", "votes", "of", "agreement"))
    if votes is None:
        return DraftLine(name, "model", volume, None, "" if volume else "not found: draw it")
    source = f"{votes} of {of} scans" if of != 1 else "the only scan" if votes else "no scan"
    if not votes or not volume:
        return DraftLine(name, source, None, None, "not found: draw it")
    if agreement is None:
        return DraftLine(name, source, volume, None, "check all of it")
    return DraftLine(name, source, volume, agreement, "check all of it" if agreement < WEAK_AGREEMENT else "")


def _state_of(annotation: Any) -> tuple[Any, ...]:
    """Something that differs as soon as a segment is drawn on, added or removed."""
    segmentation = annotation.GetSegmentation()
    state = []
    for position in range(segmentation.GetNumberOfSegments()):
        identifier = segmentation.GetNthSegmentID(position)
        image = segmentation.GetSegment(identifier).GetRepresentation(LABELMAP)
        state.append((identifier, image.GetMTime() if image is not None else 0))
    return tuple(state)
