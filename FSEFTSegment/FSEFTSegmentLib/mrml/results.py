"""Results in the scene: one segmentation node per scan and model, replaced when it is made again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import slicer
from fseft.errors import ScanError
from fseft.structures import Structure

from FSEFTSegmentLib.mrml.grid import Grid, own_grid
from FSEFTSegmentLib.mrml.nrrd import NrrdFile, read_nrrd_steps
from FSEFTSegmentLib.mrml.segments import label_image_steps, set_image
from FSEFTSegmentLib.steps import Steps, run_steps

SCAN_REFERENCE = "FSEFT.scan"
ROLE = "FSEFT.role"
MODEL = "FSEFT.model"
FRAME = "FSEFT.frame"

RESULT = "result"
BEFORE = "before"
PROPOSAL = "proposal"
ANNOTATION = "annotation"


@dataclass(frozen=True)
class ResultIdentity:
    """What makes two results the same, so that the newer replaces the older.

    Attributes:
        model: the adapted model's name.
        role: :data:`RESULT`, or :data:`BEFORE` for the one before refinement.
        frame: the frame of a sequence, "" for an ordinary volume.
    """

    model: str
    role: str = RESULT
    frame: str = ""


def find_result(scene: Any, volume: Any, identity: ResultIdentity) -> Any | None:
    """The segmentation node of an earlier result, or None."""
    for node in nodes_of_class(scene, "vtkMRMLSegmentationNode"):
        if (
            node.GetNodeReferenceID(SCAN_REFERENCE) == volume.GetID()
            and node.GetAttribute(MODEL) == identity.model
            and node.GetAttribute(ROLE) == identity.role
            and (node.GetAttribute(FRAME) or "") == identity.frame
        ):
            return node
    return None


def nodes_of_class(scene: Any, class_name: str) -> list[Any]:
    """All nodes of a class."""
    found = scene.GetNodesByClass(class_name)
    found.UnRegister(None)
    return [found.GetItemAsObject(position) for position in range(found.GetNumberOfItems())]


def load_result_steps(
    scene: Any,
    volume: Any,
    path: Path,
    written: Grid,
    structures: tuple[Structure, ...],
    identity: ResultIdentity,
) -> Steps[Any]:
    """Load a labelmap the worker made for a volume; returns the segmentation node.

    Args:
        scene: the scene.
        volume: the volume node the scan was written from; its parent transform also places the result.
        path: an NRRD file.
        written: the grid the scan was written with.
        structures: the model's, in the order to show.
        identity: decides which earlier result is replaced.

    Raises:
        ScanError: "file-unreadable", "result-grid" when it is not on the scan's grid, "result-volume-changed".
    """
    file: NrrdFile = yield from read_nrrd_steps(path)
    if not file.grid.same_as(written):
        raise ScanError(
            "result-grid",
            f"The result for “{volume.GetName()}” is not on the scan's grid.",
            "Run it again; if it happens again, please report it.",
        )
    grid = own_grid(volume)
    if grid.size != written.size:
        raise ScanError(
            "result-volume-changed",
            f"“{volume.GetName()}” was changed while it was being segmented.",
            "Segment it again.",
        )
    image = yield from label_image_steps(file.array, grid, structures)
    yield 1.0
    return _show_image(scene, volume, image, structures, identity)


def show_result(
    scene: Any, volume: Any, labels: np.ndarray, structures: tuple[Structure, ...], identity: ResultIdentity
) -> Any:
    """Put a labelmap on a volume's grid into the scene as a segmentation; returns the node.

    An earlier result of the same identity keeps its node (and how it is displayed); only its content changes.
    """
    image = run_steps(label_image_steps(labels, own_grid(volume), structures))
    return _show_image(scene, volume, image, structures, identity)


def _show_image(
    scene: Any, volume: Any, image: Any, structures: tuple[Structure, ...], identity: ResultIdentity
) -> Any:
    node = find_result(scene, volume, identity)
    if node is None:
        node = new_segmentation(scene, volume, _title(volume, identity))
        node.SetAttribute(ROLE, identity.role)
        node.SetAttribute(MODEL, identity.model)
        if identity.frame:
            node.SetAttribute(FRAME, identity.frame)
    else:
        scene.SaveStateForUndo()
    set_image(node, image, structures)
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    return node


def new_segmentation(scene: Any, volume: Any, name: str) -> Any:
    """An empty segmentation on a volume's grid, in its study, under its transform.

    The scene's undo, where somebody has switched it on, takes it away again.
    """
    scene.SaveStateForUndo()
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", scene.GenerateUniqueName(name))
    node.CreateDefaultDisplayNodes()
    for part in (node, node.GetDisplayNode()):
        part.UndoEnabledOn()
    node.SetReferenceImageGeometryParameterFromVolumeNode(volume)
    node.SetNodeReferenceID(SCAN_REFERENCE, volume.GetID())
    node.SetAndObserveTransformNodeID(volume.GetTransformNodeID())
    place_beside(scene, node, volume)
    return node


def place_beside(scene: Any, node: Any, volume: Any) -> None:
    """Put a node into the same subject-hierarchy folder or study as a volume, where the volume has an item."""
    hierarchy = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    if hierarchy is None:
        return
    volume_item = hierarchy.GetItemByDataNode(volume)
    if not volume_item:
        return
    parent = hierarchy.GetItemParent(volume_item)
    item = hierarchy.GetItemByDataNode(node)
    if item:
        hierarchy.SetItemParent(item, parent)
    else:
        hierarchy.CreateItem(parent, node)


def scan_of(scene: Any, node: Any) -> Any | None:
    """The volume a result or annotation belongs to."""
    identifier = node.GetNodeReferenceID(SCAN_REFERENCE) or node.GetNodeReferenceID(
        slicer.vtkMRMLSegmentationNode.GetReferenceImageGeometryReferenceRole()
    )
    return scene.GetNodeByID(identifier) if identifier else None


def to_annotation(node: Any, name: str) -> None:
    """Make a result an annotation of the support set: it is never replaced by a later run."""
    node.SetAttribute(ROLE, ANNOTATION)
    node.RemoveAttribute(MODEL)
    node.SetName(name)


def show_before(result: Any, before: Any | None, show: bool) -> None:
    """Switch between a result and what it was before refinement."""
    for node, visible in ((result, not show), (before, show)):
        if node is not None and node.GetDisplayNode() is not None:
            node.GetDisplayNode().SetVisibility(visible)


def structures_of_report(entries: Sequence[Mapping[str, Any]]) -> tuple[Structure, ...]:
    """Structures of a model's description or of a job: name, value, color, terminology."""
    return tuple(
        Structure(
            str(entry["name"]),
            int(entry["value"]),
            tuple(float(c) for c in entry.get("color", (0.9, 0.6, 0.4))),  # type: ignore[arg-type]
            str(entry.get("terminology") or ""),
        )
        for entry in entries
    )


def _title(volume: Any, identity: ResultIdentity) -> str:
    parts = [volume.GetName(), identity.model]
    if identity.frame:
        parts.append(identity.frame)
    title = " - ".join(parts)
    return f"{title} (before refinement)" if identity.role == BEFORE else title
