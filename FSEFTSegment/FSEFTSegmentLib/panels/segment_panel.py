"""Section 3 of the screen: segmenting scans with a model, and the results."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
import slicer
from fseft.errors import InputError
from slicer.i18n import tr as _

from FSEFTSegmentLib import library
from FSEFTSegmentLib.mrml.results import show_before
from FSEFTSegmentLib.panels.case_table import scan_volumes
from FSEFTSegmentLib.panels.common import (
    guarded,
    load_ui,
    on_chosen,
    outline_boxes,
    set_reason,
    show_reason,
    silenced,
)
from FSEFTSegmentLib.panels.job_view import JobView
from FSEFTSegmentLib.panels.priors_table import PriorsTable
from FSEFTSegmentLib.panels.result_table import ResultTable
from FSEFTSegmentLib.segmentation import NEEDS_SUPPORT
from FSEFTSegmentLib.session import Session
from FSEFTSegmentLib.suggestion import can_be_suggested

REFINEMENTS = (
    ("off", "Off"),
    ("default", "By expected volumes"),
    ("location", "By location"),
    ("paper", "As published"),
)
#: What is preselected, the first that can be used: location helps most and needs the annotated scans.
PREFERRED_REFINEMENTS = ("location", "default")
#: What Slicer calls surfaces.
SURFACE = "Closed surface"


class SegmentPanel:
    """Model, scans, refinement with its priors, the button, progress, and the table of results.

    Args:
        session: what is shown.
        host: takes the panel.
        missing: why the worker cannot run yet ("" when it can).
        open_library: opens the list of models.
    """

    def __init__(
        self, session: Session, host: Any, missing: Callable[[], str], open_library: Callable[[], None]
    ) -> None:
        self.session = session
        self.missing = missing
        self.root, self.ui = load_ui("SegmentPanel", host)
        with silenced(self.ui.refineCombo):
            for value, text in REFINEMENTS:
                self.ui.refineCombo.addItem(_(text), value)
        outline_boxes(self.ui.scanList)
        self.models: dict[str, dict[str, Any]] = {}
        self._support: set[str] = set()
        #: Why the annotated scans cannot serve the chosen model, "" when they can; looking costs each case's voxels.
        self._support_lacks = ""
        self.priors = PriorsTable(self.ui.priorsTable, self.ui.presetButton)
        self.results = ResultTable(self.ui.resultTable, session)
        self.job_view = JobView(session, "segment", self.ui.jobHost)
        self.ui.segmentButton.clicked.connect(guarded(self.segment))
        self.ui.libraryButton.clicked.connect(guarded(open_library))
        on_chosen(self.ui.modelCombo, self._model_chosen)
        on_chosen(self.ui.refineCombo, self._refinement_chosen)
        self.ui.largestCheck.clicked.connect(lambda *_: self._remember())
        self.ui.scanList.itemChanged.connect(lambda *_: self._show_button())
        self.ui.priorsTable.cellChanged.connect(lambda *_: self._show_button())
        self.ui.allScansButton.toolTip = _("Tick every CT")
        self.ui.allScansButton.clicked.connect(lambda *_: self._tick(True))
        self.ui.noScansButton.clicked.connect(lambda *_: self._tick(False))
        self.ui.priorsButton.clicked.connect(lambda *_: self._show_priors())
        self.ui.beforeCheck.clicked.connect(guarded(self._show_before))
        self.ui.surfaceCheck.clicked.connect(guarded(self._choose_surfaces))
        for topic in ("models", "scans", "results"):
            self.refresh(topic)

    def refresh(self, topic: str) -> None:
        """Show what changed."""
        if topic == "models":
            self._fill_models()
        if topic == "scans" or (topic == "cases" and self._support_ids() != self._support):
            self._fill_scans()
        if topic == "segment":
            self.job_view.refresh()
        if topic == "results":
            self.results.refresh()
            self._show_options()
            # A result that was made again has no surface yet.
            self._make_surfaces()
        if topic in ("models", "structures", "cases"):
            self._show_refinements()
        if topic in ("results", "selection"):
            self.ui.resultNote.text = self.results.note()
            self.ui.resultNote.visible = bool(self.ui.resultNote.text)
        if topic in ("models", "scans", "segment", "dependencies", "structures", "cases"):
            self._show_button()

    @property
    def chosen_volumes(self) -> list[Any]:
        """The volumes that are ticked."""
        chosen = []
        for row in range(self.ui.scanList.count):
            item = self.ui.scanList.item(row)
            if item.checkState() == qt.Qt.Checked:
                node = self.session.scene.GetNodeByID(str(item.data(qt.Qt.UserRole)))
                if node is not None:
                    chosen.append(node)
        return chosen

    @property
    def chosen_model(self) -> str:
        """The model's name, "" when there is none."""
        return str(self.ui.modelCombo.itemData(self.ui.modelCombo.currentIndex) or "")

    def segment(self) -> None:
        """Start segmenting what is ticked."""
        self._remember()
        state, model = self.session.state, self.chosen_model
        if not library.model_exists(model):
            self.session.notify("models")
            raise InputError(
                "model-missing",
                _("The library has no model “{name}” any more.").format(name=model),
                _("Choose another one, or import it again (Library)."),
            )
        self.session.segment(
            self.chosen_volumes,
            {
                "model": self.chosen_model,
                "structures": self.models[self.chosen_model]["structures"],
                "refine": self.chosen_refinement,
                "keep_largest": state.choice("keep_largest", False),
                "priors": self.priors.edited(),
                "device": state.choice("device", "auto"),
            },
        )

    def _fill_models(self) -> None:
        combo, state = self.ui.modelCombo, self.session.state
        self.models = {entry.name: entry.description for entry in library.models() if entry.description is not None}
        with silenced(combo):
            combo.clear()
            for name, description in self.models.items():
                count = len(description.get("structures", []))
                combo.addItem(name, name)
                tip = _("{count} structures").format(count=count)
                combo.setItemData(combo.count - 1, tip, qt.Qt.ToolTipRole)
            if not self.models:
                combo.addItem(_("none yet"), "")
            combo.currentIndex = max(0, combo.findData(state.choice("model", "")))
            self.ui.largestCheck.checked = bool(state.choice("keep_largest", False))
        self.priors.show(self.models.get(self.chosen_model))

    def _fill_scans(self) -> None:
        """Show the scene's scans; ticks stay as they are, but new CTs get one and new support cases lose theirs."""
        listing = self.ui.scanList
        ticked = {volume.GetID() for volume in self.chosen_volumes}
        known = {str(listing.item(row).data(qt.Qt.UserRole)) for row in range(listing.count)}
        support = self._support_ids()
        ticked -= support - self._support
        self._support = support
        volumes = scan_volumes(self.session.scene)
        with silenced(listing):
            listing.clear()
            for volume in volumes:
                identifier = volume.GetID()
                item = qt.QListWidgetItem(volume.GetName())
                item.setToolTip(volume.GetName())
                item.setData(qt.Qt.UserRole, identifier)
                item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled | qt.Qt.ItemIsUserCheckable)
                # An overview image or an MR of the same study would stop the CTs ticked with it.
                fresh = identifier not in known and identifier not in support and can_be_suggested(volume)
                item.setCheckState(qt.Qt.Checked if identifier in ticked or fresh else qt.Qt.Unchecked)
                if identifier in support:
                    item.setToolTip(
                        _("{name}\nA scan of the support set: the model has seen it").format(name=volume.GetName())
                    )
                listing.addItem(item)
        self._show_button()

    def _support_ids(self) -> set[str]:
        state = self.session.state
        return {scan.GetID() for scan in map(state.scan, state.cases) if scan is not None}

    def _show_priors(self) -> None:
        for widget in (self.ui.priorsTable, self.ui.presetButton):
            widget.visible = self.ui.priorsButton.checked

    def _tick(self, on: bool) -> None:
        with silenced(self.ui.scanList):
            for row in range(self.ui.scanList.count):
                item = self.ui.scanList.item(row)
                volume = self.session.scene.GetNodeByID(str(item.data(qt.Qt.UserRole)))
                ticked = on and volume is not None and can_be_suggested(volume)
                item.setCheckState(qt.Qt.Checked if ticked else qt.Qt.Unchecked)
        self._show_button()

    def _model_chosen(self) -> None:
        self.session.state.choose("model", self.chosen_model)
        self.priors.show(self.models.get(self.chosen_model))
        self._show_refinements()
        self._show_button()

    def _refinement_chosen(self) -> None:
        self.session.state.choose("refine", self.chosen_refinement)
        self._show_button()

    @property
    def chosen_refinement(self) -> str:
        """A name of :data:`REFINEMENTS`."""
        return str(self.ui.refineCombo.itemData(self.ui.refineCombo.currentIndex))

    def _refinement_reason(self, mode: str) -> str:
        """Why a refinement cannot be used with the chosen model, "" when it can."""
        if mode not in NEEDS_SUPPORT or not self._support_lacks:
            return ""
        text = _("The refinement “{name}” needs the annotated scans. {reason}")
        return text.format(name=_(dict(REFINEMENTS)[mode]), reason=self._support_lacks)

    def _show_refinements(self) -> None:
        """Say of each refinement what it does; those that cannot be used now are greyed, with the reason.

        Until the user chooses one, the best that can be used is chosen.
        """
        combo, model = self.ui.refineCombo, self.models.get(self.chosen_model)
        self._support_lacks = self.session.support.refinement_support(model["structures"])[1] if model else ""
        best = next(mode for mode in PREFERRED_REFINEMENTS if not self._refinement_reason(mode))
        with silenced(combo):
            combo.currentIndex = max(0, combo.findData(self.session.state.choice("refine", best)))
        tips = {
            "off": _("Keep what the model finds"),
            "default": _("Corrects structures whose volume is outside the expected range, where that can be trusted"),
            "location": _(
                "Carries your annotated scans into the new one, about 5 seconds each, and heeds where they have a "
                "structure and how large it is; needs them in the scene"
            ),
            "paper": _("Slow: trains on the annotated scans again for every scan; needs them in the scene"),
        }
        for row in range(combo.count):
            mode = str(combo.itemData(row))
            reason = self._refinement_reason(mode)
            combo.setItemData(row, reason or tips[mode], qt.Qt.ToolTipRole)
            entries = combo.model()
            if hasattr(entries, "item"):
                # Only greys the entry: the Segment button tells the reason wherever the model is not shown as such.
                entries.item(row).setEnabled(not reason)

    def _remember(self) -> None:
        state, ui = self.session.state, self.ui
        state.choose("model", self.chosen_model)
        state.choose("keep_largest", bool(ui.largestCheck.checked))

    def _show_button(self) -> None:
        volumes = self.chosen_volumes
        total = self.ui.scanList.count
        self.ui.scanCount.text = _("{ticked} of {total} ticked").format(ticked=len(volumes), total=total)
        reason = self.missing() or self.session.segment_reason(volumes, self.chosen_model) or self.priors.problem()
        reason = reason or self._refinement_reason(self.chosen_refinement)
        tip = _("Segment {count} scan(s) with “{model}”").format(count=len(volumes), model=self.chosen_model)
        set_reason(self.ui.segmentButton, reason, tip)
        show_reason(self.ui.segmentReason, "" if self.session.is_active("segment") else reason)
        set_reason(self.ui.priorsButton, "" if self.models else _("There is no model yet."), _("Show and edit them"))

    def _show_options(self) -> None:
        state = self.session.state
        results = state.results
        befores = [state.result_node(result, "before") for result in results]
        none = "" if results else _("There is no result yet.")
        reason = none or ("" if any(befores) else _("No result was refined: there is no other one to compare with."))
        set_reason(self.ui.beforeCheck, reason, _("Show the results as they were before refinement"))
        set_reason(self.ui.surfaceCheck, none, _("Show the results as surfaces in the 3D view"))
        # A result that was made again is shown as it is now, whatever was compared before.
        shown = any(before is not None and before.GetDisplayNode().GetVisibility() for before in befores)
        self.ui.beforeCheck.checked = self.results.before = shown
        self.ui.surfaceCheck.checked = bool(results) and bool(state.choice("surfaces", False))

    def _show_before(self) -> None:
        state = self.session.state
        self.results.before = bool(self.ui.beforeCheck.checked)
        for result in state.results:
            node, before = state.result_node(result, "result"), state.result_node(result, "before")
            if node is not None and before is not None:
                show_before(node, before, bool(self.ui.beforeCheck.checked))
        self._make_surfaces()

    def _choose_surfaces(self) -> None:
        self.session.state.choose("surfaces", bool(self.ui.surfaceCheck.checked))
        for result in self.session.state.results:
            for role in ("result", "before"):
                node = self.session.state.result_node(result, role)
                if node is not None and not self.ui.surfaceCheck.checked:
                    node.RemoveClosedSurfaceRepresentation()
        self._make_surfaces()

    def _make_surfaces(self) -> None:
        """Make the surfaces that are wanted and not there yet; results before refinement get them when compared."""
        state, lacking = self.session.state, []
        for result in state.results if self.ui.surfaceCheck.checked else ():
            for role in ("result", "before") if self.results.before else ("result",):
                node = state.result_node(result, role)
                if node is not None and not node.GetSegmentation().ContainsRepresentation(SURFACE):
                    lacking.append(node)
        if lacking:
            with slicer.util.WaitCursor():
                for node in lacking:
                    node.CreateClosedSurfaceRepresentation()
