"""The table of support cases with their live status."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import qt
from slicer.i18n import tr as _

from FSEFTSegmentLib.mrml.cases import CaseStatus
from FSEFTSegmentLib.mrml.results import nodes_of_class
from FSEFTSegmentLib.panels.common import (
    ADVICE_COLOR,
    GOOD_COLOR,
    WARNING_COLOR,
    elided_names,
    fit_height,
    guarded,
    outline_boxes,
    read_only_item,
    set_columns,
    set_reason,
    silenced,
)
from FSEFTSegmentLib.session import Session
from FSEFTSegmentLib.state import Case
from FSEFTSegmentLib.suggestion import can_be_suggested


def scan_volumes(scene: Any) -> list[Any]:
    """Scalar volumes of a scene that could be scans, labelmaps and colour images left out."""
    return [
        node
        for node in nodes_of_class(scene, "vtkMRMLScalarVolumeNode")
        if not node.IsA("vtkMRMLLabelMapVolumeNode")
        and not node.IsA("vtkMRMLVectorVolumeNode")
        and not node.GetHideFromEditors()
    ]


#: What is wrong with a scan in few words: its sentence, which is in the tip, is longer than the column.
IN_SHORT = {
    "grid-not-orthogonal": "axes not at right angles",
    "scan-2d": "too few slices",
    "scan-empty": "no voxels",
    "scan-not-ct": "not a CT?",
    "scan-not-finite": "voxels without a number",
    "scan-not-scalar": "colour or 4-D image",
    "transform-not-linear": "warping transform",
}


def _in_short(problem: Any) -> str:
    return _(IN_SHORT[problem.code]) if problem.code in IN_SHORT else str(problem.message)


def status_text(status: CaseStatus, sparse: bool = False) -> tuple[str, str, str]:
    """How a case stands: text, tool tip and colour ("" for the default).

    Args:
        status: of the case.
        sparse: whether only some slices are meant to be annotated.
    """
    tips = [f"{problem.message} {problem.hint}" for problem in status.problems]
    blocking = [problem for problem in status.problems if problem.blocking]
    if blocking:
        return _in_short(blocking[0]), "\n".join(tips), WARNING_COLOR
    lacking = status.empty + status.missing
    if not status.annotated:
        doubt = [_in_short(problem) for problem in status.problems if problem.code == "scan-not-ct"]
        # Said before somebody draws in it for an hour.
        text = doubt[0] if doubt else _("not annotated yet")
        tip = "\n".join([_("Press Annotate, or use an existing annotation."), *tips])
        return text, tip, ADVICE_COLOR if doubt else ""
    text = elided_names(status.annotated)
    if not lacking and len(status.annotated) > 2:
        text = _("all {count} structures").format(count=len(status.annotated))
    if lacking:
        tips.insert(
            0, _("Not annotated here (which is fine, if it is elsewhere): {names}").format(names=", ".join(lacking))
        )
        text = _("{done} of {all}: {names}").format(
            done=len(status.annotated), all=len(status.annotated) + len(lacking), names=text
        )
    if sparse and status.slices.drawn:
        text = _("{slices} slices: {names}").format(slices=status.slices.drawn, names=text)
    # Other segments are no matter as long as every structure is there.
    told = [problem for problem in status.problems if lacking or problem.code != "segments-ignored"]
    if told:
        # What is wrong comes first: the column may not hold more.
        return _in_short(told[0]), "\n".join([*tips, ", ".join(status.annotated)]), ADVICE_COLOR
    return text, "\n".join([*tips, ", ".join(status.annotated)]), GOOD_COLOR


class CaseTable:
    """Shows the session's support cases in a table widget.

    Args:
        ui: widgets ``caseTable``, ``addScanButton``, ``removeCaseButton``, ``importButton``.
        session: whose cases.
    """

    def __init__(self, ui: Any, session: Session) -> None:
        self.ui = ui
        self.session = session
        self.statuses: list[CaseStatus] = []
        set_columns(ui.caseTable, 1, (2,))
        outline_boxes(ui.caseTable)
        ui.caseTable.setColumnWidth(0, 130)
        ui.caseTable.horizontalHeaderItem(2).setToolTip(
            _("Tick when only some slices are annotated, for example every tenth; the others are then ignored")
        )
        ui.caseTable.cellChanged.connect(self._edited)
        ui.caseTable.itemSelectionChanged.connect(lambda *_: session.notify("selection"))
        ui.removeCaseButton.clicked.connect(guarded(self._remove))
        self.scan_menu = qt.QMenu(ui.addScanButton)
        self.scan_menu.aboutToShow.connect(lambda *_: self.fill_scan_menu())
        ui.addScanButton.setMenu(self.scan_menu)
        self.import_menu = qt.QMenu(ui.importButton)
        self.import_menu.aboutToShow.connect(lambda *_: self.fill_import_menu())
        ui.importButton.setMenu(self.import_menu)

    @property
    def selected(self) -> Case | None:
        """The case of the selected row."""
        cases, row = self.session.state.cases, self.ui.caseTable.currentRow()
        return cases[row] if 0 <= row < len(cases) else None

    def select(self, case: Case) -> None:
        """Select a case's row."""
        for row, other in enumerate(self.session.state.cases):
            if other.key == case.key:
                self.ui.caseTable.setCurrentCell(row, 0)

    def fill_scan_menu(self) -> None:
        """Offer the volumes that are no cases yet."""
        menu, state = self.scan_menu, self.session.state
        menu.clear()
        present = {scan.GetID() for scan in map(state.scan, state.cases) if scan is not None}
        volumes = [volume for volume in scan_volumes(self.session.scene) if volume.GetID() not in present]
        if not volumes:
            menu.addAction(_("No other scan is loaded")).enabled = False
            return
        scans = [volume for volume in volumes if can_be_suggested(volume)]
        if scans:
            everything = menu.addAction(_("All loaded CTs"))
            identifiers = [volume.GetID() for volume in scans]
            everything.triggered.connect(guarded(partial(self._add_scans, identifiers)))
            menu.addSeparator()
        for volume in volumes:
            action = menu.addAction(volume.GetName())
            action.triggered.connect(guarded(partial(self._add_scans, [volume.GetID()])))

    def _add_scans(self, identifiers: Sequence[str]) -> None:
        # By identifier: an action lives until the menu is made anew, and would keep the node alive for so long.
        nodes = map(self.session.scene.GetNodeByID, identifiers)
        self.session.support.add_scans([node for node in nodes if node is not None])

    def fill_import_menu(self) -> None:
        """Offer segmentations and labelmaps as annotation of the selected case."""
        menu, case = self.import_menu, self.selected
        menu.clear()
        candidates = self.session.support.annotation_candidates() if case is not None else []
        if case is None or not candidates:
            menu.addAction(_("No segmentation or labelmap is loaded")).enabled = False
            return
        for node in candidates:
            action = menu.addAction(node.GetName())
            action.triggered.connect(guarded(partial(self._import_annotation, case, node.GetID())))

    def _import_annotation(self, case: Case, identifier: str) -> None:
        node = self.session.scene.GetNodeByID(identifier)
        if node is not None:
            self.session.support.import_annotation(case, node)

    def refresh(self) -> None:
        """Show the cases as they stand now."""
        table, state = self.ui.caseTable, self.session.state
        cases, row = state.cases, table.currentRow()
        self.statuses = self.session.support.statuses()
        with silenced(table):
            table.rowCount = len(cases)
            for position, (case, status) in enumerate(zip(cases, self.statuses, strict=True)):
                scan = state.scan(case)
                table.setItem(position, 0, read_only_item(scan.GetName() if scan is not None else _("(removed)")))
                text, tip, color = status_text(status, case.sparse)
                item = read_only_item(text, tip)
                if color:
                    item.setForeground(qt.QBrush(qt.QColor(color)))
                table.setItem(position, 1, item)
                sparse = read_only_item("")
                sparse.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
                sparse.setCheckState(qt.Qt.Checked if case.sparse else qt.Qt.Unchecked)
                table.setItem(position, 2, sparse)
            if cases:
                table.setCurrentCell(min(max(row, 0), len(cases) - 1), 0)
        fit_height(table, 3, 7)
        none = "" if self.selected is not None else _("Add a scan and select it first.")
        set_reason(self.ui.removeCaseButton, none, _("Take the scan out of the support set; it stays loaded"))
        set_reason(self.ui.importButton, none, _("Use a loaded segmentation or labelmap for the selected scan"))

    def _remove(self) -> None:
        if self.selected is not None:
            self.session.support.remove_case(self.selected)

    def _edited(self, row: int, column: int) -> None:
        cases = self.session.state.cases
        if column == 2 and row < len(cases):
            ticked = self.ui.caseTable.item(row, 2).checkState() == qt.Qt.Checked
            self.session.support.set_sparse(cases[row], ticked)
