"""Section 4 of the screen: correcting results, and taking them out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

from fseft.structures import Structure
from slicer.i18n import tr as _

from FSEFTSegmentLib.mrml.exports import FORMATS, distinct_items, export_steps, export_targets, write_table
from FSEFTSegmentLib.mrml.results import structures_of_report
from FSEFTSegmentLib.panels.common import (
    ask_file_to_write,
    ask_folder,
    confirm,
    errors_shown,
    guarded,
    load_ui,
    on_chosen,
    set_reason,
    silenced,
)
from FSEFTSegmentLib.segmentation import LoadedResult, table_rows
from FSEFTSegmentLib.session import Session
from FSEFTSegmentLib.state import Case, Result
from FSEFTSegmentLib.steps import StepRunner

CONTENTS = (("results", "Results"), ("annotations", "Annotations"), ("selected", "Selected result only"))
FORMAT_TITLES = (("seg.nrrd", "Segmentation (.seg.nrrd)"), ("nii.gz", "NIfTI (.nii.gz)"), ("nrrd", "NRRD (.nrrd)"))


class ReviewPanel:
    """Correct and add to the support set; export.

    Args:
        session: what is shown.
        host: takes the panel.
        selected: the result selected in the table of results.
        annotate: opens a case for correction.
        schedule: runs a function soon.
    """

    def __init__(
        self,
        session: Session,
        host: Any,
        selected: Callable[[], Result | None],
        annotate: Callable[[Case], None],
        schedule: Callable[[Callable[[], None]], None],
    ) -> None:
        self.session = session
        self.selected = selected
        self.annotate = annotate
        self.runner = StepRunner(schedule)
        self.root, self.ui = load_ui("ReviewPanel", host)
        for combo, entries in ((self.ui.contentCombo, CONTENTS), (self.ui.formatCombo, FORMAT_TITLES)):
            with silenced(combo):
                for value, text in entries:
                    combo.addItem(_(text), value)
        self.ui.correctButton.clicked.connect(guarded(self.correct))
        self.ui.exportButton.clicked.connect(guarded(self.export))
        self.ui.tableButton.clicked.connect(guarded(self.export_table))
        on_chosen(self.ui.contentCombo, lambda: self.refresh("selection"))
        self.refresh("results")

    def refresh(self, topic: str) -> None:
        """Show what can be done now."""
        if topic not in ("results", "cases", "selection", "structures"):
            return
        none = _("There is no result yet: segment a scan first.")
        reason = "" if self.session.state.results else none
        chosen = reason or self._against_selected()
        set_reason(
            self.ui.correctButton, chosen, _("Make this result an annotation, correct it, and press Adapt again")
        )
        busy = _("An export is being written.") if self.runner.is_running else ""
        only_selected = self.ui.contentCombo.itemData(self.ui.contentCombo.currentIndex) == "selected"
        lacking = "" if self._items() else (only_selected and chosen) or _("There is nothing to export yet.")
        set_reason(self.ui.exportButton, busy or lacking)
        set_reason(self.ui.tableButton, busy or reason, _("Volumes, expected ranges, flags and notes of all results"))

    def correct(self) -> None:
        """Make the selected result an annotation and open it, after asking where the scan has an annotation."""
        result = self.selected()
        if result is not None and self._may_replace_annotation(result):
            structures = self._structures_of(result)
            case = self.session.support.correct(result)
            known = {structure.canonical for structure in self.session.state.structures}
            for structure in structures:
                if structure.canonical not in known:
                    self.session.support.add_structures_of(self.session.state.annotation(case))
                    break
            self.annotate(case)

    def export(self) -> None:
        """Ask for a folder and write labelmaps into it."""
        kind = str(self.ui.formatCombo.itemData(self.ui.formatCombo.currentIndex))
        if kind not in FORMATS:
            return
        pairs, structures = self._items(), self._export_structures()
        folder = ask_folder(_("Export labelmaps"))
        if not folder or not pairs:
            return
        items = distinct_items(pairs)
        existing = [path.name for path in export_targets(items, Path(folder), kind) if path.exists()]
        overwrite = bool(existing)
        if existing and not confirm(
            _("{count} file(s) are there already, for example {name}. Replace them?").format(
                count=len(existing), name=existing[0]
            )
        ):
            return
        self._say(_("Writing…"))
        self.runner.start(
            export_steps(items, structures, Path(folder), kind, overwrite), self._exported, self._export_failed
        )
        self.refresh("results")

    def export_table(self) -> None:
        """Ask for a file and write the results' table."""
        name = ask_file_to_write(_("Export table"), "volumes.csv", "CSV (*.csv)")
        if name:
            path = Path(name if name.lower().endswith(".csv") else name + ".csv")
            # The dialog asked already, unless the suffix was added here.
            overwrite = path == Path(name)
            if not overwrite and path.exists():
                overwrite = confirm(_("{name} is there already. Replace it?").format(name=path.name))
                if not overwrite:
                    return
            write_table(self._rows(), path, overwrite)
            self._say(_("Written: {name}").format(name=path.name))

    def _rows(self) -> list[dict[str, Any]]:
        state = self.session.state
        rows = []
        for result in state.results:
            loaded = LoadedResult(
                state.result_node(result, "scan"), state.result_node(result, "result"), None, result.report
            )
            rows += table_rows([loaded], result.model)
        return rows

    def _against_selected(self) -> str:
        """Why nothing can be done with the selected result, "" when something can."""
        selected = self.selected()
        if selected is None:
            return _("Select a result in the table above.")
        if self.session.state.result_node(selected, "scan") is None:
            return _("The scan of this result is no longer in the scene.")
        return ""

    def _may_replace_annotation(self, result: Result) -> bool:
        state, volume = self.session.state, self.session.state.result_node(result, "scan")
        for case, status in zip(state.cases, self.session.support.statuses(), strict=True):
            if volume is not None and state.scan(case) is volume and status.annotated:
                return confirm(
                    _(
                        "“{scan}” is annotated already. Use this result instead? The annotation there is stays in the "
                        "scene: “Use existing annotation” takes it again."
                    ).format(scan=volume.GetName())
                )
        return True

    def _chosen_results(self) -> list[Result]:
        if self.ui.contentCombo.itemData(self.ui.contentCombo.currentIndex) == "selected":
            result = self.selected()
            return [result] if result is not None else []
        return list(self.session.state.results)

    def _items(self) -> list[tuple[Any, Any]]:
        """Segmentation and volume of everything that is to be exported."""
        state = self.session.state
        if self.ui.contentCombo.itemData(self.ui.contentCombo.currentIndex) == "annotations":
            pairs = [(state.annotation(case), state.scan(case)) for case in state.cases]
        else:
            pairs = [
                (state.result_node(result, "result"), state.result_node(result, "scan"))
                for result in self._chosen_results()
            ]
        return [(node, volume) for node, volume in pairs if node is not None and volume is not None]

    def _export_structures(self) -> tuple[Structure, ...]:
        """The structures whose values the files hold: the support set's, or those the results were made with."""
        if self.ui.contentCombo.itemData(self.ui.contentCombo.currentIndex) == "annotations":
            return self.session.state.structures
        found: dict[str, Structure] = {}
        for result in self._chosen_results():
            for structure in self._structures_of(result):
                found.setdefault(structure.name, structure)
        return tuple(found.values())

    def _structures_of(self, result: Result) -> tuple[Structure, ...]:
        from FSEFTSegmentLib.mrml.segments import list_segments

        node = self.session.state.result_node(result, "result")
        shown = {info.name: info for info in list_segments(node)} if node is not None else {}
        entries = []
        for entry in result.report.get("structures", []):
            info = shown.get(entry["name"])
            color = list(info.color) if info is not None else [0.9, 0.6, 0.4]
            terminology = info.terminology if info is not None else ""
            entries.append({"name": entry["name"], "value": entry["value"], "color": color, "terminology": terminology})
        return structures_of_report(entries)

    def _exported(self, paths: list[Path]) -> None:
        self._say(_("Written: {count} file(s) in {folder}").format(count=len(paths), folder=str(paths[0].parent)))
        self.refresh("results")

    def _export_failed(self, problem: Exception) -> None:
        self._say("")
        self.refresh("results")
        with errors_shown():
            raise problem

    def _say(self, text: str) -> None:
        self.ui.exportMessage.text = text
        self.ui.exportMessage.visible = bool(text)
