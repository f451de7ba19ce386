"""One self-contained HTML file per job: text, tables and pictures, nothing loaded from anywhere."""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

from fseft.evaluation.table import METRICS, EvaluationTable
from fseft.files import replace_whole

#: By which a page is known for one of FSEFT's.
GENERATOR = '<meta name="generator" content="FSEFT">'

_PNG = b"\x89PNG\r\n\x1a\n"
_STYLE = """
:root { color-scheme: light dark; --line: #8884; --soft: #8881; }
body { font: 15px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; border-bottom: 1px solid var(--line); }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; margin: .6rem 0; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding-bottom: .3rem; }
th, td { padding: .25rem .7rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
th { background: var(--soft); } td.number { text-align: right; white-space: nowrap; }
figure { margin: 1rem 0; } img { max-width: 100%; height: auto; }
figcaption, footer { color: #777; font-size: .9rem; }
"""


@dataclass(frozen=True)
class Table:
    """Rows of text and numbers under a header."""

    header: Sequence[str]
    rows: Sequence[Sequence[Any]]
    caption: str = ""


@dataclass(frozen=True)
class Picture:
    """The content of a PNG file; ``caption`` is shown below it and read aloud in its place."""

    png: bytes
    caption: str


@dataclass(frozen=True)
class Section:
    """A heading with paragraphs, tables and pictures in that order."""

    heading: str
    paragraphs: Sequence[str] = ()
    tables: Sequence[Table] = ()
    pictures: Sequence[Picture] = ()


def html_page(title: str, sections: Sequence[Section], footer: str = "") -> str:
    """A page; every text is escaped, so that no name of a structure or file can become code.

    Raises:
        ValueError: a picture is no PNG; a programming error.
    """
    body = "\n".join(_section(section) for section in sections)
    foot = f"<footer>{escape(footer)}</footer>\n" if footer else ""
    # The policy forbids scripts and every address: the file shows what it holds and asks nobody for more.
    policy = "default-src 'none'; img-src data:; style-src 'unsafe-inline'"
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f"{GENERATOR}\n"
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{_STYLE}</style>\n</head>\n<body>\n"
        f"<h1>{escape(title)}</h1>\n{body}\n{foot}</body>\n</html>\n"
    )


def write_html(path: Path, title: str, sections: Sequence[Section], footer: str = "") -> Path:
    """Write a page whole.

    Raises:
        ResourceError: "disk-full" or "cannot-write".
    """
    with replace_whole(path) as partial:
        partial.write_text(html_page(title, sections, footer), encoding="utf-8")
    return path


def section_of(heading: str, content: Mapping[str, Any], pictures: Sequence[Picture] = ()) -> Section:
    """A section that shows a job's result as it is: plain values in one table, lists of objects in one each.

    Args:
        heading: its heading.
        content: JSON-like. Long lists of numbers (curves) are left to pictures.
        pictures: to follow the tables.
    """
    plain = [(name, value) for name, value in content.items() if _is_plain(value)]
    tables = [Table(("", ""), plain)] if plain else []
    for name, value in content.items():
        if isinstance(value, Mapping) and value:
            tables.append(_table_of_mapping(name, value))
        elif isinstance(value, (list, tuple)) and value and all(isinstance(entry, Mapping) for entry in value):
            tables.append(_table_of_objects(name, value))
    return Section(heading, (), tables, pictures)


def evaluation_section(table: EvaluationTable, heading: str = "Evaluation") -> Section:
    """An evaluation: structures with mean and deviation, then every case."""
    names = ("dice", "surface_dice", "hd95_mm", "volume_error_ml", "volume_error_percent")
    titles = ("Dice", f"surface Dice ({table.tolerance_mm:g} mm)", "HD95 mm", "volume error ml", "volume error %")
    summary = [
        [s.structure, s.cases, s.missed, *(_mean(s.spreads[name].mean, s.spreads[name].sd) for name in names)]
        for s in table.summaries()
    ]
    rows = [[row.case, row.structure, *(getattr(row.metrics, name) for name in METRICS)] for row in table.rows]
    text = (
        "Mean ± standard deviation over the cases, on the scans' own grid. Cases in which a structure is in neither "
        "labelmap are left out; where only one has it, Dice is 0 and the distance infinite, which the mean distance "
        "leaves out."
    )
    header = ("case", "structure", *(name.replace("_", " ") for name in METRICS))
    tables = [Table(("structure", "cases", "missed", *titles), summary), Table(header, rows, "Every case")]
    return Section(heading, (text,), tables)


def _mean(mean: float, sd: float) -> str:
    return format_value(mean) if math.isnan(sd) else f"{format_value(mean)} ± {format_value(sd)}"


def _is_plain(value: Any) -> bool:
    short_list = isinstance(value, (list, tuple)) and 0 < len(value) <= 12 and all(isinstance(v, str) for v in value)
    return value is None or isinstance(value, (str, int, float)) or short_list


def _table_of_mapping(name: str, content: Mapping[str, Any]) -> Table:
    """Objects by name become rows with the name in front; anything else two columns."""
    if all(isinstance(value, Mapping) for value in content.values()):
        columns = list(dict.fromkeys(key for value in content.values() for key in value))
        rows = [[key, *(value.get(column) for column in columns)] for key, value in content.items()]
        return Table(("", *columns), rows, _words(name))
    return Table(("", ""), [(key, value) for key, value in content.items() if _is_plain(value)], _words(name))


def _table_of_objects(name: str, entries: Sequence[Mapping[str, Any]]) -> Table:
    columns = list(dict.fromkeys(key for entry in entries for key in entry))
    return Table(columns, [[entry.get(column) for column in columns] for entry in entries], _words(name))


def _words(name: str) -> str:
    return name.replace("_", " ")


def format_value(value: Any) -> str:
    """A value for people: three significant decimals, a dash for nothing, yes and no."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "–"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, float):
        if math.isinf(value):
            return "∞" if value > 0 else "-∞"
        return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}" if abs(value) < 1 else f"{value:.1f}"
    if isinstance(value, (list, tuple)):
        return ", ".join(format_value(entry) for entry in value)
    if isinstance(value, Mapping):
        return ", ".join(f"{_words(str(key))} {format_value(entry)}" for key, entry in value.items())
    return str(value)


def _section(section: Section) -> str:
    parts = [f"<h2>{escape(section.heading)}</h2>"]
    parts += [f"<p>{escape(paragraph)}</p>" for paragraph in section.paragraphs]
    parts += [_table(table) for table in section.tables]
    parts += [_picture(picture) for picture in section.pictures]
    return "<section>\n" + "\n".join(parts) + "\n</section>"


def _table(table: Table) -> str:
    caption = f"<caption>{escape(table.caption)}</caption>" if table.caption else ""
    head = "".join(f'<th scope="col">{escape(_words(str(cell)))}</th>' for cell in table.header)
    head = f"<thead><tr>{head}</tr></thead>" if any(table.header) else ""
    rows = "\n".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in table.rows)
    return f'<div class="scroll"><table>{caption}{head}<tbody>\n{rows}\n</tbody></table></div>'


def _cell(value: Any) -> str:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    kind = ' class="number"' if number else ""
    return f"<td{kind}>{escape(format_value(value))}</td>"


def _picture(picture: Picture) -> str:
    if not picture.png.startswith(_PNG):
        raise ValueError("a picture of a report is a PNG")
    data = base64.b64encode(picture.png).decode("ascii")
    text = escape(picture.caption)
    return f'<figure><img alt="{text}" src="data:image/png;base64,{data}"><figcaption>{text}</figcaption></figure>'
