"""Dropping scans from the subject hierarchy onto a widget."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
import vtk

#: What drags of trees like the subject hierarchy carry; files and text from elsewhere do not.
TREE_ITEMS = "application/x-qstandarditemmodeldatalist"
_ITEM_ADDRESS = "mrml://scene/subjecthierarchy/item?id="


class DropCatcher(qt.QObject):  # type: ignore[misc]
    """Hears drags of subject-hierarchy items over a widget.

    What is dragged is told by the addresses that the tree gives it; where it gives none, by what is selected in the
    subject hierarchy, which another tree may have changed since.

    Args:
        widget: where things are dropped.
        on_volumes: called with the volume nodes dropped.
    """

    def __init__(self, widget: Any, on_volumes: Callable[[list[Any]], Any]) -> None:
        qt.QObject.__init__(self)
        self._target = widget.viewport() if hasattr(widget, "viewport") else widget
        self._on_volumes = on_volumes
        self._target.acceptDrops = True
        self._target.installEventFilter(self)

    def eventFilter(self, _watched: Any, event: Any) -> bool:
        """Take drags that carry volumes."""
        kind = event.type()
        if kind not in (qt.QEvent.DragEnter, qt.QEvent.DragMove, qt.QEvent.Drop):
            return False
        volumes = dragged_volumes(event.mimeData()) if event.mimeData().hasFormat(TREE_ITEMS) else []
        if volumes:
            if kind == qt.QEvent.Drop:
                # An accepted move would let the tree drop its rows: the scans are only looked at here, and stay there.
                event.ignore()
                self._on_volumes(volumes)
            else:
                event.acceptProposedAction()
        return bool(volumes)

    def remove(self) -> None:
        """Stop hearing."""
        if self._target:
            self._target.removeEventFilter(self)


def _dragged_items(mime: Any) -> list[int]:
    """Subject-hierarchy items among the addresses that are dragged."""
    found = [str(url.toString()).partition(_ITEM_ADDRESS) for url in mime.urls()]
    return [int(number) for before, address, number in found if address and not before and number.isdigit()]


def dragged_volumes(mime: Any) -> list[Any]:
    """Volume nodes among the dragged subject-hierarchy items and what lies below them."""
    handler = getattr(slicer, "qSlicerSubjectHierarchyPluginHandler", None)
    if handler is None:
        return []
    handler = handler.instance()
    items = vtk.vtkIdList()
    for item in _dragged_items(mime):
        items.InsertNextId(item)
    if not items.GetNumberOfIds():
        handler.currentItems(items)
    hierarchy = handler.subjectHierarchyNode()
    found: list[Any] = []
    for position in range(items.GetNumberOfIds()):
        below = vtk.vtkIdList()
        hierarchy.GetItemChildren(items.GetId(position), below, True)
        identifiers = [items.GetId(position)] + [below.GetId(n) for n in range(below.GetNumberOfIds())]
        if items.GetId(position) == hierarchy.GetSceneItemID():
            # It counts as selected where nothing is.
            continue
        for node in map(hierarchy.GetItemDataNode, identifiers):
            if node is not None and node.IsA("vtkMRMLScalarVolumeNode") and not node.IsA("vtkMRMLLabelMapVolumeNode"):
                found.append(node)
    return found
