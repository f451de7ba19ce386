"""What is said under the cases after a proposal."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from slicer.i18n import tr as _

from FSEFTSegmentLib.activity import in_own_names
from FSEFTSegmentLib.drafts import Draft, DraftLine
from FSEFTSegmentLib.panels.card import DASH, millilitres, table_html, unbroken
from FSEFTSegmentLib.panels.common import ADVICE_COLOR


def draft_html(draft: Draft, case_names: Mapping[str, str]) -> str:
    """How each structure of a draft came about, with what to do about the weak ones, as rich text.

    Args:
        draft: what was put into the annotation.
        case_names: names of the annotated scans by those they had in the job.
    """
    title = _("Proposed in “{name}”, to be corrected by you").format(name=draft.volume.GetName())
    parts = [f"<b>{escape(title)}</b>"]
    head = [_("Structure"), "ml", _("From"), _("Agreement"), ""]
    parts.append(table_html(head, [_cells(line) for line in draft.lines]))
    failed = [escape(in_own_names(sentence, case_names)) for sentence in draft.failed]
    return "".join(parts) + "<br>".join(failed)


def _cells(line: DraftLine) -> list[str]:
    advice = f'<span style="color:{ADVICE_COLOR}">&#9650;&nbsp;{unbroken(line.advice)}</span>' if line.advice else ""
    return [
        escape(line.name),
        millilitres(line.volume_ml) if line.volume_ml else DASH,
        unbroken(line.source),
        f"{line.agreement:.2f}" if line.agreement is not None else DASH,
        advice,
    ]
