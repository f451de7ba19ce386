"""The support set: structures and cases, edited together so that annotations always follow."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fseft.errors import InputError
from fseft.structures import Structure, canonical_name

from FSEFTSegmentLib.adaptation import CaseNodes
from FSEFTSegmentLib.mrml.cases import CaseProblem, CaseStatus, case_status, twins
from FSEFTSegmentLib.mrml.grid import own_grid
from FSEFTSegmentLib.mrml.results import (
    ANNOTATION,
    ROLE,
    new_segmentation,
    nodes_of_class,
    show_before,
    to_annotation,
)
from FSEFTSegmentLib.mrml.segments import (
    add_missing_segments,
    clear_terminology,
    follow_structure,
    list_segments,
    set_labels,
    structures_of_segmentation,
)
from FSEFTSegmentLib.mrml.volumes import voxels_of
from FSEFTSegmentLib.presets import make_structure
from FSEFTSegmentLib.state import Case, ModuleState, Result


class SupportSet:
    """Edits structures and cases of the state.

    Args:
        state: where they are kept.
        notify: called with "structures" or "cases" after a change.
    """

    def __init__(self, state: ModuleState, notify: Callable[[str], None]) -> None:
        self.state = state
        self.notify = notify

    # Structures

    def add_structure(self, name: str) -> Structure:
        """Add a structure; a published name gets its colour and codes.

        Raises:
            InputError: "structure-name-empty", "structure-exists".
        """
        name = self._checked_name(name)
        structure = make_structure(name, self.state.highest_value + 1)
        self._set_structures((*self.state.structures, structure))
        return structure

    def add_structures_of(self, segmentation: Any) -> list[Structure]:
        """Add the segments of a segmentation that are no structures yet."""
        found = []
        for offset, structure in enumerate(structures_of_segmentation(segmentation, self.state.structures), start=1):
            value = self.state.highest_value + offset
            found.append(dataclasses.replace(structure, value=value))
        self._set_structures((*self.state.structures, *found))
        return found

    def change_structure(self, value: int, **changes: Any) -> None:
        """Rename or recolour a structure; its segments in all annotations follow.

        A structure that gets a published one's name also gets its codes, and its colour unless one was chosen.

        Args:
            value: the structure's label value.
            changes: "name" or "color".

        Raises:
            InputError: "structure-name-empty", "structure-exists".
        """
        old = next(s for s in self.state.structures if s.value == value)
        if "color" in changes:
            self.state.remember_chosen_color(value)
        if "name" in changes:
            changes["name"] = self._checked_name(changes["name"], except_value=value)
            preset = make_structure(changes["name"], value)
            if preset.terminology and canonical_name(changes["name"]) != old.canonical:
                changes["terminology"] = preset.terminology
                if not self.state.is_color_chosen(value):
                    changes.setdefault("color", preset.color)
        self._replace_structure(old, dataclasses.replace(old, **changes))

    def set_terminology(self, value: int, entry: str, color: tuple[float, float, float] | None = None) -> None:
        """Give a structure a terminology entry; its segments in all annotations follow.

        Args:
            value: the structure's label value.
            entry: as Slicer serialises it, "" for none.
            color: the entry's recommended colour; taken unless a colour was chosen.
        """
        old = next(s for s in self.state.structures if s.value == value)
        if color is None or self.state.is_color_chosen(value):
            color = old.color
        self._replace_structure(old, dataclasses.replace(old, terminology=entry, color=color))

    def _replace_structure(self, old: Structure, new: Structure) -> None:
        for case in self.state.cases:
            annotation = self.state.annotation(case)
            if annotation is not None:
                follow_structure(annotation, old, new)
                if old.terminology and not new.terminology:
                    clear_terminology(annotation, new.name)
        self._set_structures(tuple(new if s.value == old.value else s for s in self.state.structures))

    def remove_structure(self, value: int) -> None:
        """Take a structure out; segments that were drawn stay in their annotations."""
        self._set_structures(tuple(s for s in self.state.structures if s.value != value))

    def take_over_appearance(self, annotation: Any) -> None:
        """Adopt colours and codes that were changed in the Segment Editor."""
        changed = False
        structures = []
        infos = {info.name: info for info in list_segments(annotation)}
        for structure in self.state.structures:
            info = infos.get(structure.name)
            if info is not None and (_far(info.color, structure.color) or _picked(info.terminology, structure)):
                picked = _picked(info.terminology, structure)
                if not picked:
                    self.state.remember_chosen_color(structure.value)
                terminology = info.terminology if picked else structure.terminology
                structure = dataclasses.replace(structure, color=info.color, terminology=terminology)
                changed = True
            structures.append(structure)
        if changed:
            self._set_structures(tuple(structures))

    def _checked_name(self, name: str, except_value: int = 0) -> str:
        name = " ".join(name.split())
        if not name:
            raise InputError("structure-name-empty", "A structure needs a name.", "Type one.")
        for structure in self.state.structures:
            if structure.value != except_value and structure.canonical == canonical_name(name):
                raise InputError(
                    "structure-exists", f"There already is a structure “{structure.name}”.", "Choose another name."
                )
        return name

    def _set_structures(self, structures: tuple[Structure, ...]) -> None:
        self.state.set_structures(structures)
        self.notify("structures")
        self.notify("cases")

    # Cases

    def add_scans(self, volumes: Sequence[Any]) -> int:
        """Add volumes as cases, each once; returns how many were added."""
        present = {scan.GetID() for scan in map(self.state.scan, self.state.cases) if scan is not None}
        added = 0
        for volume in volumes:
            if volume.GetID() not in present:
                present.add(volume.GetID())
                self.state.add_case(volume)
                added += 1
        self.notify("cases")
        return added

    def remove_case(self, case: Case) -> None:
        """Take a case out of the support set; its nodes stay in the scene."""
        self.state.set_cases(tuple(c for c in self.state.cases if c.key != case.key))
        self.notify("cases")

    def set_sparse(self, case: Case, sparse: bool) -> None:
        """Say whether only some slices of a case are annotated."""
        changed = dataclasses.replace(case, sparse=sparse)
        self.state.set_cases(tuple(changed if c.key == case.key else c for c in self.state.cases))
        self.notify("cases")

    def statuses(self) -> list[CaseStatus]:
        """How each case stands, the same scan given twice included."""
        cases, structures = self.state.cases, self.state.structures
        scans = [self.state.scan(case) for case in cases]
        found = [
            case_status(scan, self.state.annotation(case), structures, case.sparse)
            for case, scan in zip(cases, scans, strict=True)
        ]
        for first, second in twins(scans):
            twin = scans[first]
            name = twin.GetName() if twin is not None else ""
            problem = CaseProblem("scan-twice", f"The same scan as “{name}”.", "Remove one of the two cases.")
            found[second] = dataclasses.replace(found[second], problems=(problem, *found[second].problems))
        return found

    def annotation_for(self, case: Case) -> Any:
        """The case's segmentation, made where there is none, with a segment for every structure.

        Raises:
            InputError: "scan-missing".
        """
        volume = self.state.scan(case)
        if volume is None:
            raise InputError("scan-missing", "The scan is no longer in the scene.", "Remove the case.")
        annotation = self.state.annotation(case)
        if annotation is None:
            annotation = new_segmentation(self.state.scene, volume, f"{volume.GetName()} annotation")
            annotation.SetAttribute(ROLE, ANNOTATION)
            self.state.set_annotation(case, annotation)
        add_missing_segments(annotation, self.state.structures)
        self.notify("cases")
        return annotation

    def import_annotation(self, case: Case, node: Any) -> Any:
        """Use an existing segmentation or labelmap node as a case's annotation; returns the segmentation.

        A labelmap is copied into a new segmentation, named by its colour table where it has one; a segmentation
        is used itself.
        """
        volume = self.state.scan(case)
        if node.IsA("vtkMRMLLabelMapVolumeNode"):
            structures = _structures_of_labelmap(node)
            segmentation = new_segmentation(self.state.scene, volume, f"{node.GetName()} annotation")
            set_labels(segmentation, voxels_of(node), own_grid(node), structures)
            segmentation.SetAndObserveTransformNodeID(node.GetTransformNodeID())
            segmentation.SetAttribute(ROLE, ANNOTATION)
            node = segmentation
        self.state.set_annotation(case, node)
        if not self.state.structures:
            self.add_structures_of(node)
        self.notify("cases")
        return node

    def annotation_candidates(self) -> list[Any]:
        """Nodes that could be a case's annotation: segmentations not used by another case, and labelmaps."""
        used = {
            annotation.GetID() for annotation in map(self.state.annotation, self.state.cases) if annotation is not None
        }
        segmentations = nodes_of_class(self.state.scene, "vtkMRMLSegmentationNode")
        labelmaps = nodes_of_class(self.state.scene, "vtkMRMLLabelMapVolumeNode")
        return [node for node in segmentations if node.GetID() not in used] + labelmaps

    def correct(self, result: Result) -> Case:
        """Make a result the annotation of a case of the support set, to be corrected; returns the case.

        Raises:
            InputError: "result-missing".
        """
        volume, node = self.state.result_node(result, "scan"), self.state.result_node(result, "result")
        if volume is None or node is None:
            raise InputError(
                "result-missing", "The scan or its result is no longer in the scene.", "Segment the scan again."
            )
        # The views may show the result as it was before refinement; what is corrected is the refined one.
        show_before(node, self.state.result_node(result, "before"), False)
        to_annotation(node, f"{volume.GetName()} annotation")
        self.state.set_results(tuple(r for r in self.state.results if r.key != result.key))
        for case in self.state.cases:
            if self.state.scan(case) is volume:
                self.state.set_annotation(case, node)
                break
        else:
            case = self.state.add_case(volume, node)
        self.notify("results")
        self.notify("cases")
        return case

    # What the cases can serve for

    def refinement_support(self, entries: Sequence[Mapping[str, Any]]) -> tuple[list[CaseNodes], str]:
        """Support cases that a model's refinement can use, or why there are none.

        Args:
            entries: the model's structures, as in its description; those of the support set must have their names.
        """
        names = [str(entry["name"]) for entry in entries]
        here = {structure.name for structure in self.state.structures}
        lacking = [name for name in names if name not in here]
        if lacking:
            return [], f"The support set in the scene does not have the model's structures: {', '.join(lacking)}."
        found = []
        annotated: set[str] = set()
        for case, status in zip(self.state.cases, self.statuses(), strict=True):
            shown = set(status.annotated) & set(names)
            if status.is_usable and shown:
                annotated |= shown
                found.append(CaseNodes(self.state.scan(case), self.state.annotation(case), case.sparse))
        lacking = [name for name in names if name not in annotated]
        if lacking:
            return [], f"Not annotated in any scan of the support set: {', '.join(lacking)}."
        return found, ""

    def atlas_support(self, volume: Any) -> tuple[list[CaseNodes], tuple[Structure, ...]]:
        """Other scans whose annotations can be carried over to a volume, and the structures annotated there."""
        cases, names = [], set()
        for case, status in zip(self.state.cases, self.statuses(), strict=True):
            if status.is_usable and self.state.scan(case) is not volume:
                cases.append(CaseNodes(self.state.scan(case), self.state.annotation(case), case.sparse))
                names |= set(status.annotated)
        return cases, tuple(structure for structure in self.state.structures if structure.name in names)

    def not_annotated(self, volumes: Sequence[Any]) -> list[Any]:
        """Those volumes in which nothing is annotated yet."""
        statuses = zip(self.state.cases, self.statuses(), strict=True)
        scans = [self.state.scan(case) for case, status in statuses if status.annotated]
        done = {scan.GetID() for scan in scans if scan is not None}
        return [volume for volume in volumes if volume.GetID() not in done]


def _far(one: Sequence[float], other: Sequence[float]) -> bool:
    return max(abs(a - b) for a, b in zip(one, other, strict=True)) > 0.004


def _picked(terminology: str, structure: Structure) -> bool:
    """Whether codes were chosen by a person: an empty segment starts as "Tissue", which says nothing."""
    return (
        bool(terminology)
        and "SCT^85756007^Tissue~SCT^85756007^Tissue" not in terminology
        and (terminology != structure.terminology)
    )


def _structures_of_labelmap(node: Any) -> tuple[Structure, ...]:
    import numpy as np

    display = node.GetDisplayNode()
    table = display.GetColorNode() if display is not None else None
    structures = []
    for value in np.unique(voxels_of(node)).tolist():
        if value <= 0:
            continue
        name = str(table.GetColorName(int(value)) or "") if table is not None else ""
        structure = make_structure(name or f"structure {int(value)}", int(value))
        structures.append(structure)
    return tuple(structures)
