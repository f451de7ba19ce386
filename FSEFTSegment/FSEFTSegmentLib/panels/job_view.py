"""An activity on the screen: phase, progress, time left, loss plot, log and Cancel."""

from __future__ import annotations

from typing import Any

from slicer.i18n import tr as _

from FSEFTSegmentLib.activity import Activity, Stage
from FSEFTSegmentLib.panels.common import GOOD_COLOR, WARNING_COLOR, load_ui
from FSEFTSegmentLib.panels.loss_plot import draw_curve
from FSEFTSegmentLib.session import Session


class JobView:
    """Shows the session's activity of one kind.

    Args:
        session: whose activity.
        kind: "adapt", "segment"...
        host: takes the view.
    """

    def __init__(self, session: Session, kind: str, host: Any) -> None:
        self.session = session
        self.kind = kind
        self.root, self.ui = load_ui("JobView", host)
        self._points = 0
        self.ui.cancelButton.clicked.connect(lambda *_: session.cancel(kind))
        self.ui.logButton.clicked.connect(lambda *_: self._show_log())
        self.refresh()

    def refresh(self) -> None:
        """Show the activity as it stands."""
        activity = self.session.activity(self.kind)
        self.root.visible = activity is not None
        if activity is None:
            return
        self.ui.phase.text = activity.describe()
        finished = WARNING_COLOR if activity.lacking else GOOD_COLOR
        color = {Stage.FAILED: WARNING_COLOR, Stage.FINISHED: finished}.get(activity.stage, "")
        self.ui.phase.styleSheet = f"color: {color}" if color else ""
        self.ui.bar.visible = activity.is_active
        # A bar that only runs to and fro says "something is happening" where nobody can count.
        counted = activity.fraction > 0
        self.ui.bar.maximum = 1000 if counted else 0
        self.ui.bar.value = round(1000 * activity.fraction) if counted else 0
        self.ui.cancelButton.visible = activity.is_active
        self.ui.cancelButton.enabled = activity.stage not in (Stage.CANCELLING, Stage.LOADING)
        self.ui.cancelButton.toolTip = (
            _("It is about to end.") if not self.ui.cancelButton.enabled else _("Stop it; nothing is changed")
        )
        self._show_curve(activity)
        if self.ui.logButton.checked:
            self._show_log()

    def _show_curve(self, activity: Activity) -> None:
        metrics = activity.job.metrics if activity.job is not None else []
        if not metrics:
            self._points = 0
            self.ui.plot.visible = False
            return
        if len(metrics) != self._points:
            self._points = len(metrics)
            values = [float(m["value"]) for m in metrics if m.get("name") == "loss" and m.get("value") is not None]
            self.ui.plot.visible = len(values) > 1
            if len(values) > 1:
                self.ui.plot.pixmap = draw_curve(values, max(200, self.root.width - 12), 96, self.ui.plot.palette)

    def _show_log(self) -> None:
        activity = self.session.activity(self.kind)
        self.ui.log.visible = self.ui.logButton.checked
        text = activity.log_text() if activity is not None else ""
        if self.ui.log.visible and self.ui.log.plainText != text:
            self.ui.log.plainText = text or _("Nothing to tell.")
