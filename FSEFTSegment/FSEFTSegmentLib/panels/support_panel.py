"""Section 1 of the screen: structures and annotated scans."""

from __future__ import annotations

from typing import Any

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from FSEFTSegmentLib import library
from FSEFTSegmentLib.panels.annotator import Annotator
from FSEFTSegmentLib.panels.case_table import CaseTable
from FSEFTSegmentLib.panels.common import errors_shown, guarded, load_ui, set_reason
from FSEFTSegmentLib.panels.drops import DropCatcher
from FSEFTSegmentLib.panels.structure_table import StructureTable
from FSEFTSegmentLib.session import Session
from FSEFTSegmentLib.state import Case


class SupportPanel:
    """Structures, cases, and annotating them.

    Args:
        session: what is shown.
        host: takes the panel.
    """

    def __init__(self, session: Session, host: Any) -> None:
        self.session = session
        self.root, self.ui = load_ui("SupportPanel", host)
        self.structures = StructureTable(self.ui, session)
        self.cases = CaseTable(self.ui, session)
        self.annotator = Annotator(self.ui, session)
        self.ui.annotateButton.clicked.connect(guarded(self.annotate))
        self.ui.proposeButton.clicked.connect(guarded(self.propose))
        self.ui.undoProposalButton.clicked.connect(guarded(self._undo_proposal))
        self.drops = DropCatcher(self.ui.caseTable, lambda volumes: session.support.add_scans(volumes))
        # Every brush stroke changes an annotation; the status follows when the hand rests.
        self.timer = qt.QTimer()
        self.timer.singleShot = True
        self.timer.interval = 300
        self.timer.timeout.connect(lambda *_: session.notify("cases"))
        self._observed: list[tuple[Any, int]] = []
        self.refresh("cases")

    def refresh(self, topic: str) -> None:
        """Show what changed."""
        if topic == "structures":
            self.structures.refresh()
        if topic in ("structures", "cases"):
            self.cases.refresh()
            self._observe()
        if topic in ("structures", "cases", "selection", "models", "propose"):
            self._show_buttons()

    def annotate(self) -> None:
        """Open the selected case in the Segment Editor."""
        case = self.cases.selected
        if case is not None:
            self.annotator.open(case)
            self._show_buttons()

    def propose(self) -> None:
        """Let a model fill what is still empty in the selected case."""
        case, entry = self.cases.selected, self._proposing_model()
        if case is None or entry is None:
            return
        self.session.segment(
            [self.session.state.scan(case)],
            {
                "model": entry.name,
                "structures": entry.description["structures"],
                "device": self.session.state.choice("device", "auto"),
            },
            kind="propose",
        )

    def clean_up(self) -> None:
        """The module is going away."""
        self.timer.stop()
        self._stop_observing()
        self.annotator.clean_up()
        self.drops.remove()

    def _undo_proposal(self) -> None:
        case = self.cases.selected
        annotation = self.session.state.annotation(case) if case is not None else None
        if annotation is not None and self.session.support.can_undo_proposal(annotation):
            self.session.support.undo_proposal(annotation)

    def _proposing_model(self) -> Any | None:
        """The chosen model if it knows one of the structures, else any that does."""
        wanted = {structure.canonical for structure in self.session.state.structures}
        chosen = self.session.state.choice("model", "")
        for entry in sorted(library.models(), key=lambda entry: entry.name != chosen):
            if entry.description is not None:
                from fseft.structures import canonical_name

                if wanted & {canonical_name(structure["name"]) for structure in entry.description["structures"]}:
                    return entry
        return None

    def _show_buttons(self) -> None:
        case = self.cases.selected
        ready = self._reason_against_annotating(case)
        set_reason(self.ui.annotateButton, ready, _("Draw the structures in the selected scan"))
        reason = ready
        if not reason and self.session.is_active("propose"):
            reason = _("A proposal is being made.")
        if not reason and self._proposing_model() is None:
            reason = _("No model knows any of these structures yet: annotate one scan and press Adapt first.")
        tip = _("Let the model fill the structures that are still empty, to be corrected by you")
        set_reason(self.ui.proposeButton, reason, tip)
        annotation = self.session.state.annotation(case) if case is not None else None
        self.ui.undoProposalButton.visible = self.session.support.can_undo_proposal(annotation)
        activity = self.session.activity("propose")
        busy = activity is not None and activity.is_active
        self.ui.proposeButton.text = _("Proposing…") if busy else _("Propose")
        if activity is not None and activity.failure is not None and not getattr(activity, "told", False):
            activity.told = True  # type: ignore[attr-defined]
            slicer.util.errorDisplay(f"{activity.failure.message}\n\n{activity.failure.hint}", windowTitle="FSEFT")

    def _reason_against_annotating(self, case: Case | None) -> str:
        if not self.session.state.structures:
            return _("Add a structure first.")
        if case is None:
            return _("Add a scan and select it first.")
        status = self.cases.statuses[self.ui.caseTable.currentRow()]
        for problem in status.problems:
            if problem.blocking and problem.code.startswith(("scan-", "grid-", "transform-")):
                return f"{problem.message} {problem.hint}"
        return ""

    def _observe(self) -> None:
        """Hear every change of the annotations."""
        self._stop_observing()
        with errors_shown():
            for case in self.session.state.cases:
                node = self.session.state.annotation(case)
                segmentation = node.GetSegmentation() if node is not None else None
                if segmentation is not None:
                    tag = segmentation.AddObserver(vtk.vtkCommand.AnyEvent, lambda *_: self.timer.start())
                    self._observed.append((segmentation, tag))

    def _stop_observing(self) -> None:
        for segmentation, tag in self._observed:
            segmentation.RemoveObserver(tag)
        self._observed = []
