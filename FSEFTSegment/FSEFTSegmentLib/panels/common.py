"""What all panels share: loading their ``.ui`` files, reasons of disabled buttons, and asking the user."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from typing import Any

import qt
import slicer
from fseft.errors import FseftError
from slicer.i18n import tr as _

from FSEFTSegmentLib.activity import failure_of_exception

RESOURCES = os.path.join(os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__)))), "Resources")

#: Readable on light and on dark backgrounds.
WARNING_COLOR = "#d9534f"
GOOD_COLOR = "#2e9e5b"
ADVICE_COLOR = "#c77c11"


class Widgets:
    """The named widgets of a loaded ``.ui`` file as attributes."""

    def __init__(self, root: Any) -> None:
        waiting = [root]
        while waiting:
            widget = waiting.pop()
            if not widget:
                # PythonQt hands out wrappers of nothing for children that are just going away.
                continue
            name = widget.objectName
            if name and not hasattr(self, name):
                setattr(self, name, widget)
            waiting.extend(widget.children())


def load_ui(name: str, host: Any | None = None) -> tuple[Any, Any]:
    """Load ``Resources/UI/<name>.ui``; returns the widget and its named children.

    Args:
        name: of the file.
        host: a widget with a layout that takes the loaded one.
    """
    root = slicer.util.loadUI(os.path.join(RESOURCES, "UI", name + ".ui"))
    if host is not None:
        host.layout().addWidget(root)
    widgets = Widgets(root)
    for widget in vars(widgets).values():
        if widget.inherits("QLabel") and widget.wordWrap and widget.textFormat != qt.Qt.RichText:
            # A long name without a space in a sentence must not make the whole panel as wide as itself. Tables may:
            # they would be cut.
            widget.minimumWidth = 1
    return root, widgets


def make_timer(interval_ms: int, action: Callable[[], Any], once: bool = False) -> Any:
    """A timer that is not started yet.

    Args:
        interval_ms: between two calls.
        action: what is called.
        once: call once after each start.
    """
    timer = qt.QTimer()
    timer.interval = interval_ms
    # Not a property here: PythonQt keeps that name for the static function.
    timer.setSingleShot(once)
    timer.timeout.connect(lambda *_: action())
    return timer


def set_reason(button: Any, reason: str, tip: str = "") -> None:
    """Enable a button, or disable it with the reason as its tool tip."""
    button.enabled = not reason
    button.toolTip = reason or tip


def show_reason(label: Any, reason: str) -> None:
    """Say below a disabled button why it is, where a tool tip might not be looked for."""
    label.text = reason
    label.visible = bool(reason)


def on_chosen(combo: Any, action: Callable[[], Any]) -> None:
    """Call ``action`` when the user chooses an entry of a combo box."""

    def slot(*_arguments: Any) -> None:
        action()

    try:
        # Qt 5 has two signals of that name; the signature tells PythonQt which one is meant.
        combo.connect("activated(int)", slot)
    except (AttributeError, TypeError):
        combo.activated.connect(slot)


def icon_of_color(color: tuple[float, float, float], size: int = 14) -> Any:
    """A coloured square."""
    pixmap = qt.QPixmap(size, size)
    pixmap.fill(qt.QColor(*(round(255 * channel) for channel in color)))
    return qt.QIcon(pixmap)


def read_only_item(text: str, tip: str = "") -> Any:
    """A table cell that cannot be edited."""
    item = qt.QTableWidgetItem(text)
    item.setFlags(qt.Qt.ItemIsSelectable | qt.Qt.ItemIsEnabled)
    item.setToolTip(tip or text)
    return item


def set_columns(table: Any, stretched: int, others: tuple[int, ...] = ()) -> None:
    """One column takes the space that is left, the others what they need."""
    header = table.horizontalHeader()
    header.minimumSectionSize = 24
    header.setSectionResizeMode(stretched, qt.QHeaderView.Stretch)
    for column in others:
        header.setSectionResizeMode(column, qt.QHeaderView.ResizeToContents)
    table.verticalHeader().visible = False
    table.verticalHeader().defaultSectionSize = 24


def outline_boxes(view: Any) -> None:
    """Let unticked boxes in a list be seen: Slicer's dark theme outlines them with less than its background.

    The outline is made from the colour of the window. A style sheet would not follow when the theme is changed.
    """
    palette = qt.QPalette()
    palette.setColor(qt.QPalette.Window, qt.QColor("#a0a0a0"))
    view.palette = palette


def fit_height(table: Any, fewest: int, most: int) -> None:
    """Make a table as high as its rows, within limits, so that it neither wastes space nor hides much."""
    rows = min(max(table.rowCount, fewest), most)
    height = 24 * rows + 28
    table.minimumHeight = height
    table.maximumHeight = height


@contextlib.contextmanager
def silenced(*widgets: Any) -> Iterator[None]:
    """Fill widgets without hearing their signals."""
    before = [widget.blockSignals(True) for widget in widgets]
    try:
        yield
    finally:
        for widget, blocked in zip(widgets, before, strict=True):
            widget.blockSignals(blocked)


def ask_text(title: str, label: str, text: str = "") -> str:
    """A line of text, "" when cancelled."""
    answer = qt.QInputDialog.getText(slicer.util.mainWindow(), title, label, qt.QLineEdit.Normal, text)
    if isinstance(answer, tuple):
        return str(answer[0]) if answer[1] else ""
    return str(answer or "")


def ask_folder(title: str) -> str:
    """An existing folder, "" when cancelled."""
    return str(qt.QFileDialog.getExistingDirectory(slicer.util.mainWindow(), title) or "")


def ask_file_to_write(title: str, name: str, kinds: str) -> str:
    """A file to write, "" when cancelled; the dialog asks before an existing one is chosen."""
    answer = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, name, kinds)
    return str((answer[0] if isinstance(answer, tuple) else answer) or "")


def ask_file_to_read(title: str, kinds: str) -> str:
    """An existing file, "" when cancelled."""
    answer = qt.QFileDialog.getOpenFileName(slicer.util.mainWindow(), title, "", kinds)
    return str((answer[0] if isinstance(answer, tuple) else answer) or "")


def confirm(text: str, title: str = "FSEFT") -> bool:
    """Ask yes or no; yes where nobody can answer, as Slicer says of its testing mode but does not do."""
    return bool(slicer.app.testingEnabled()) or bool(slicer.util.confirmYesNoDisplay(text, windowTitle=title))


@contextlib.contextmanager
def errors_shown() -> Iterator[None]:
    """Show an error as one sentence and what to do, with the details on demand."""
    try:
        yield
    except Exception as problem:
        failure = failure_of_exception(problem)
        details = failure.code if isinstance(problem, FseftError) else f"{failure.code}\n{failure.details}"
        slicer.util.errorDisplay(f"{failure.message}\n\n{failure.hint}", windowTitle="FSEFT", detailedText=details)


def guarded(action: Callable[..., Any]) -> Callable[..., None]:
    """A slot that shows its errors and ignores what signals pass along."""

    def slot(*_arguments: Any) -> None:
        with errors_shown():
            action()

    return slot


def elided_names(names: tuple[str, ...], limit: int = 3) -> str:
    """A few names, then how many more."""
    if len(names) <= limit:
        return ", ".join(names)
    return _("{names} and {count} more").format(names=", ".join(names[:limit]), count=len(names) - limit)
