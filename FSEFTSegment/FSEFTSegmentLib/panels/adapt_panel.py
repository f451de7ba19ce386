"""Section 2 of the screen: making a model from the annotated scans."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import qt
from slicer.i18n import tr as _

from FSEFTSegmentLib import library
from FSEFTSegmentLib.activity import about
from FSEFTSegmentLib.adaptation import CONTINUE
from FSEFTSegmentLib.panels.card import card_html, methods_table_html
from FSEFTSegmentLib.panels.common import confirm, guarded, load_ui, on_chosen, set_reason, show_reason, silenced
from FSEFTSegmentLib.panels.job_view import JobView
from FSEFTSegmentLib.session import Session

AUTO = "auto"
METHODS = (
    (AUTO, "Automatic - the best on cases left out"),
    ("spatial-adapter", "Spatial adapter"),
    ("mlp-adapter", "MLP adapter"),
    ("linear-probe", "Linear probe"),
    ("zero-shot", "Zero-shot - no training"),
    (CONTINUE, "Continue - a few steps from the model of this name"),
)
METHOD_TIPS = {
    AUTO: "Tries every method on each annotated scan in turn, and what registering the other scans to it would give, "
    "then learns with the best; many minutes where there is no graphics card",
    "spatial-adapter": "Looks at the neighbourhood of every voxel; usually best with several annotated scans",
    "mlp-adapter": "Looks at single voxels; often best with one annotated scan",
    "linear-probe": "The quickest; what takes longest is computing the features, once for each scan",
    "zero-shot": "What the backbone knows already; nothing is learned",
    CONTINUE: "After annotations were corrected or added: goes on from the model of this name, with its method and its "
    "backbone, in seconds; earlier versions are kept in the library",
}
#: How long a registration takes on two slow cores.
REGISTRATION_S = 5
DEVICES = (
    ("auto", "Automatic"),
    ("cuda", "Graphics card (CUDA)"),
    ("mps", "Apple graphics"),
    ("cpu", "Processor (CPU)"),
)


class AdaptPanel:
    """Name, method, backbone, device, the button, progress, and the card.

    Args:
        session: what is shown.
        host: takes the panel.
        missing: why the worker cannot run yet ("" when it can).
        manage_backbones: opens the list of backbones.
    """

    def __init__(
        self, session: Session, host: Any, missing: Callable[[], str], manage_backbones: Callable[[], None]
    ) -> None:
        self.session = session
        self.missing = missing
        self.root, self.ui = load_ui("AdaptPanel", host)
        for combo, entries in ((self.ui.methodCombo, METHODS), (self.ui.deviceCombo, DEVICES)):
            with silenced(combo):
                for value, text in entries:
                    combo.addItem(_(text), value)
        for row, (method, _text) in enumerate(METHODS):
            self.ui.methodCombo.setItemData(row, _(METHOD_TIPS[method]), qt.Qt.ToolTipRole)
        self.job_view = JobView(session, "adapt", self.ui.jobHost)
        self.ui.adaptButton.clicked.connect(guarded(self.adapt))
        self.ui.backboneButton.clicked.connect(guarded(manage_backbones))
        self.ui.nameEdit.textEdited.connect(lambda *_: self._choose())
        self.ui.validateCheck.clicked.connect(lambda *_: self._choose())
        for combo in (self.ui.methodCombo, self.ui.backboneCombo, self.ui.deviceCombo):
            on_chosen(combo, self._choose)
        self.refresh("models")

    def refresh(self, topic: str) -> None:
        """Show what changed."""
        if topic == "models":
            self._fill()
        if topic == "adapt":
            self.job_view.refresh()
        if topic in ("structures", "cases", "models", "adapt", "dependencies"):
            self._show_button()
        if topic in ("models", "adapt", "cases"):
            self._show_card()

    def adapt(self) -> None:
        """Start, after asking where a model would be replaced."""
        name = self.ui.nameEdit.text.strip()
        if library.model_exists(name) and not confirm(
            _(
                "There already is a model “{name}”. Replace it by one made from the present annotations? "
                "The earlier one is kept: Library › Roll back brings it back."
            ).format(name=name)
        ):
            return
        self._choose()
        state = self.session.state
        self.session.adapt(
            {
                "name": name,
                "method": state.choice("method", AUTO),
                "validate": bool(state.choice("validate", False)),
                "backbone": state.choice("backbone", "fseft-mini"),
                "device": state.choice("device", "auto"),
            }
        )

    def _fill(self) -> None:
        """Show the choices kept in the scene, and the backbones installed."""
        ui, state = self.ui, self.session.state
        with silenced(ui.backboneCombo, ui.methodCombo, ui.deviceCombo, ui.nameEdit):
            ui.backboneCombo.clear()
            for backbone in library.list_backbones():
                if backbone.installed:
                    title = backbone.title or backbone.id
                    ui.backboneCombo.addItem(title.partition(":")[0], backbone.id)
                    ui.backboneCombo.setItemData(ui.backboneCombo.count - 1, title, qt.Qt.ToolTipRole)
            if ui.backboneCombo.count == 0:
                ui.backboneCombo.addItem(_("none installed"), "")
            for combo, name, default in (
                (ui.backboneCombo, "backbone", "fseft-mini"),
                (ui.methodCombo, "method", AUTO),
                (ui.deviceCombo, "device", "auto"),
            ):
                combo.currentIndex = max(0, combo.findData(state.choice(name, default)))
            if ui.nameEdit.text != state.choice("name", ""):
                ui.nameEdit.text = state.choice("name", "")
        self._show_validation()

    def _choose(self) -> None:
        ui, state = self.ui, self.session.state
        state.choose("name", ui.nameEdit.text)
        for combo, name in ((ui.methodCombo, "method"), (ui.backboneCombo, "backbone"), (ui.deviceCombo, "device")):
            state.choose(name, combo.itemData(combo.currentIndex))
        if self.ui.validateCheck.enabled:
            state.choose("validate", bool(ui.validateCheck.checked))
        self._show_validation()
        self._show_button()

    def _method(self) -> str:
        return str(self.ui.methodCombo.itemData(self.ui.methodCombo.currentIndex))

    def _show_validation(self) -> None:
        """The automatic method always checks; for the others it is a wish."""
        check, automatic = self.ui.validateCheck, self._method() == AUTO
        set_reason(
            check,
            _("The automatic method always does: it takes the method that is best there.") if automatic else "",
            _("Train again without each case in turn and compare with its annotation; takes several times as long"),
        )
        with silenced(check):
            check.checked = automatic or bool(self.session.state.choice("validate", False))

    def _show_button(self) -> None:
        name, count = self.ui.nameEdit.text.strip(), 0
        if self.session.is_active("adapt"):
            # Asked at every step of a job: what there is to learn from is not looked at again.
            reason = self.session.adapt_reason()
        else:
            statuses = self.session.support.statuses()
            count = sum(status.is_usable for status in statuses)
            self._show_method(count)
            reason = self.missing() or self.session.adapt_reason(statuses)
        if not reason and not name:
            reason = _("Give the model a name.")
        if not reason:
            reason = library.name_problem(name)
        continues = self._method() == CONTINUE
        if not reason and continues:
            reason = library.continue_problem(name)
        set_reason(self.ui.backboneCombo, _("The model's own backbone is used.") if continues else "", "")
        if not reason and not continues and not self.ui.backboneCombo.itemData(self.ui.backboneCombo.currentIndex):
            reason = _("Install a backbone first: press Manage.")
        set_reason(
            self.ui.adaptButton, reason, _("Learn the structures from {count} annotated scan(s)").format(count=count)
        )
        show_reason(self.ui.adaptReason, "" if self.session.is_active("adapt") else reason)

    def _show_method(self, count: int) -> None:
        """Say beforehand what takes long in the automatic method: it grows with the square of the annotated scans."""
        pairs = count * (count - 1)
        automatic = self._method() == AUTO
        text = _(
            "Automatic also registers the {count} annotated scans to each other, {pairs} times about {seconds} seconds "
            "({time} in all, then remembered), to compare with."
        ).format(count=count, pairs=pairs, seconds=REGISTRATION_S, time=about(pairs * REGISTRATION_S))
        show_reason(self.ui.methodNote, text if automatic and pairs else "")

    def _show_card(self) -> None:
        content = self.session.state.choice("card", None)
        show = bool(content) and not self.session.is_active("adapt")
        self.ui.card.visible = show
        if show:
            self.ui.card.text = card_html(content)
            self.ui.card.toolTip = methods_table_html(content)
