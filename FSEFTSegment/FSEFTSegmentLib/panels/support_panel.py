"""Section 1 of the screen: structures and annotated scans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import vtk
from slicer.i18n import tr as _

from FSEFTSegmentLib import library
from FSEFTSegmentLib.activity import Stage
from FSEFTSegmentLib.panels.annotator import Annotator
from FSEFTSegmentLib.panels.case_table import CaseTable, scan_volumes
from FSEFTSegmentLib.panels.common import confirm, errors_shown, guarded, load_ui, make_timer, set_reason
from FSEFTSegmentLib.panels.draft_note import draft_html
from FSEFTSegmentLib.panels.drops import DropCatcher
from FSEFTSegmentLib.panels.job_view import JobView
from FSEFTSegmentLib.panels.structure_table import StructureTable
from FSEFTSegmentLib.proposal import ATLAS, MODEL
from FSEFTSegmentLib.session import Session
from FSEFTSegmentLib.state import Case
from FSEFTSegmentLib.suggestion import first_suggestion


class SupportPanel:
    """Structures, cases, and annotating them.

    Args:
        session: what is shown.
        host: takes the panel.
        missing: why the worker cannot run yet ("" when it can).
    """

    def __init__(self, session: Session, host: Any, missing: Callable[[], str] = str) -> None:
        self.session = session
        self.missing = missing
        self.root, self.ui = load_ui("SupportPanel", host)
        self.structures = StructureTable(self.ui, session)
        self.cases = CaseTable(self.ui, session)
        self.annotator = Annotator(self.ui, session)
        self.ui.annotateButton.clicked.connect(guarded(self.annotate))
        self.propose_menu = qt.QMenu(self.ui.proposeButton)
        self.propose_menu.toolTipsVisible = True
        self.propose_menu.aboutToShow.connect(lambda *_: self.fill_propose_menu())
        self.ui.proposeButton.setMenu(self.propose_menu)
        self.ui.suggestButton.clicked.connect(guarded(self.suggest))
        self.job_views = {kind: JobView(session, kind, self.ui.helpHost) for kind in ("propose", "suggest")}
        self._suggestion: Any = None
        self._draft: Any = None
        self.ui.undoProposalButton.clicked.connect(guarded(self._undo_proposal))
        self.drops = DropCatcher(self.ui.caseTable, lambda volumes: session.support.add_scans(volumes))
        # Every brush stroke changes an annotation; the status follows when the hand rests.
        self.timer = make_timer(300, lambda: session.notify("cases"), once=True)
        self._observed: list[tuple[Any, int]] = []
        self.refresh("cases")

    def refresh(self, topic: str) -> None:
        """Show what changed."""
        if topic == "structures":
            self.structures.refresh()
        if topic in ("structures", "cases"):
            self.cases.refresh()
            self._observe()
        if topic in self.job_views:
            self._show_job(topic)
        if topic == "suggest":
            self._take_suggestion()
        if topic == "propose":
            self._take_draft()
        if topic in ("structures", "cases", "scans", "selection", "models", "propose", "suggest", "dependencies"):
            self._show_buttons()

    def annotate(self) -> None:
        """Open the selected case in the Segment Editor."""
        case = self.cases.selected
        if case is not None:
            self.annotator.open(case)
            self._show_buttons()

    def fill_propose_menu(self) -> None:
        """Offer the model and the other annotated scans; what cannot be used now tells why."""
        menu, case = self.propose_menu, self.cases.selected
        menu.clear()
        entry = self._proposing_model()
        title = _("With the model “{name}”").format(name=entry.name) if entry is not None else _("With a model")
        for method, text in ((MODEL, title), (ATLAS, _("From the annotated scans"))):
            action = menu.addAction(text)
            reason = self._reason_against_proposing(case, method)
            action.enabled = not reason
            action.toolTip = reason or text
            action.triggered.connect(guarded(lambda m=method: self.propose(m)))

    def propose(self, method: str) -> None:
        """Let a model, or the annotations of other scans, fill what is still empty in the selected case."""
        case, options = self.cases.selected, {"method": method, "device": self.session.state.choice("device", "auto")}
        if method == MODEL:
            entry = self._proposing_model()
            if entry is None:
                return
            options.update(model=entry.name, structures=entry.description["structures"])
        if case is not None:
            self.session.propose(self.session.state.scan(case), options)

    def suggest(self) -> None:
        """Find the scan to annotate next."""
        chosen = self.session.state.choice("model", "")
        known = [entry.name for entry in library.models() if entry.description is not None]
        self.ui.suggestNote.visible = False
        self.session.suggest(
            scan_volumes(self.session.scene),
            {
                "model": chosen if chosen in known else "",
                "backbone": self.session.state.choice("backbone", "fseft-mini"),
                "device": self.session.state.choice("device", "auto"),
            },
        )

    def forget_scene(self) -> None:
        """The scene is about to go."""
        self.annotator.forget_scene()
        self._draft = self._suggestion = None
        self.ui.suggestNote.visible = False
        self.ui.draftNote.visible = False

    def clean_up(self) -> None:
        """The module is going away."""
        self.timer.stop()
        self._stop_observing()
        self.structures.clean_up()
        self.annotator.clean_up()
        self.drops.remove()

    def _undo_proposal(self) -> None:
        case = self.cases.selected
        annotation = self.session.state.annotation(case) if case is not None else None
        if annotation is None or not self.session.drafts.can_undo(annotation):
            return
        if self.session.drafts.was_changed_since(annotation) and not confirm(
            _("The annotation was changed after the proposal. Take back the proposal and these changes?")
        ):
            return
        self.session.drafts.undo(annotation)
        self.ui.draftNote.visible = False

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
        against = [self._reason_against_proposing(case, method) for method in (MODEL, ATLAS)]
        tip = _("Fill the structures that are still empty, to be corrected by you")
        set_reason(self.ui.proposeButton, against[0] if all(against) else "", tip)
        annotation = self.session.state.annotation(case) if case is not None else None
        self.ui.undoProposalButton.visible = self.session.drafts.can_undo(annotation)
        reason = self.missing()
        if not reason and self.session.is_active("suggest"):
            reason = _("The scans are being compared.")
        if not reason and not self.session.support.not_annotated(scan_volumes(self.session.scene)):
            reason = _("No scan without an annotation is loaded.")
        tip = _("Find the loaded CT whose annotation would help most")
        set_reason(self.ui.suggestButton, reason, tip)

    def _show_job(self, kind: str) -> None:
        """Progress, Cancel and errors; what came out shows elsewhere."""
        self.job_views[kind].refresh()
        activity = self.session.activity(kind)
        if activity is None or activity.stage is Stage.FINISHED:
            self.job_views[kind].root.visible = False

    def _take_draft(self) -> None:
        """Tell how each structure of a new draft came about, once."""
        activity = self.session.activity("propose")
        if activity is None or activity is self._draft:
            return
        if activity.stage is not Stage.FINISHED:
            self.ui.draftNote.visible = False
            return
        assert activity.job is not None
        self._draft = activity
        names = activity.job.context["case_names"]
        self.ui.draftNote.text = "".join(draft_html(draft, names) for draft in activity.result)
        self.ui.draftNote.visible = bool(activity.result)

    def _take_suggestion(self) -> None:
        """Tell what was found, once, and select its case."""
        activity = self.session.activity("suggest")
        if activity is None or activity.stage is not Stage.FINISHED or activity is self._suggestion:
            return
        assert activity.job is not None
        self._suggestion = activity
        volumes = {
            name: volume
            for name, volume in activity.job.context["volumes"].items()
            if self.session.scene.IsNodePresent(volume)
        }
        ranking = [entry for entry in activity.result["ranking"] if entry["name"] in volumes]
        volume, text = first_suggestion({**activity.result, "ranking": ranking}, volumes)
        self.ui.suggestNote.text = text
        self.ui.suggestNote.visible = True
        if volume is not None:
            self.session.support.add_scans([volume])
            for case in self.session.state.cases:
                if self.session.state.scan(case) is volume:
                    self.cases.select(case)

    def _reason_against_proposing(self, case: Case | None, method: str) -> str:
        reason = self.missing() or self._reason_against_annotating(case)
        if not reason and self.session.is_active("propose"):
            reason = _("A proposal is being made.")
        if not reason and method == MODEL and self._proposing_model() is None:
            reason = _("No model knows any of these structures yet: annotate one scan and press Adapt first.")
        scan = self.session.state.scan(case) if case is not None else None
        if not reason and method == ATLAS and not self.session.support.atlas_support(scan)[0]:
            reason = _("No other scan is annotated yet.")
        return reason

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
