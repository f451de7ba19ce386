"""What is said under the cases after a proposal."""

from __future__ import annotations

from collections.abc import Mapping
from html import escape

from slicer.i18n import tr as _

from FSEFTSegmentLib.drafts import Draft
from FSEFTSegmentLib.panels.common import ADVICE_COLOR
from FSEFTSegmentLib.suggestion import in_own_names


def draft_html(draft: Draft, case_names: Mapping[str, str]) -> str:
    """How each structure of a draft came about, the weak ones marked, as rich text.

    Args:
        draft: what was put into the annotation.
        case_names: names of the annotated scans by those they had in the job.
    """
    head = _("Proposed in “{name}”, to be corrected by you:").format(name=draft.volume.GetName())
    parts = [f"<b>{escape(head)}</b>"]
    for line in draft.lines:
        text = f"{escape(line.name)}: {escape(line.text)}"
        parts.append(f'<span style="color:{ADVICE_COLOR}">&#9650; {text}</span>' if line.is_weak else text)
    parts += [escape(in_own_names(sentence, case_names)) for sentence in draft.failed]
    return "<br>".join(parts)
