"""``fseft backbones``: what can be adapted."""

from __future__ import annotations

import argparse
from pathlib import Path

from fseft.cli.tables import print_table
from fseft.reporting import Reporter

SUMMARY = "List, show, download, import and remove backbones."
EXAMPLES = """\
Examples:
  fseft backbones list
  fseft backbones show fseft-mini
  fseft backbones import fseft weights.pth
  fseft backbones download suprem-swinunetr"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    actions.add_parser("list", help="bundled, installed and published backbones")
    show = actions.add_parser("show", help="specification, source and licence")
    show.add_argument("backbone")
    download = actions.add_parser("download", help="fetch a published backbone")
    download.add_argument("backbone")
    add = actions.add_parser("import", help="take a published weight file, or a backbone folder")
    add.add_argument("backbone", help="which backbone the file is")
    add.add_argument("file", type=Path)
    remove = actions.add_parser("remove", help="delete an installed backbone")
    remove.add_argument("backbone")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.backbones import library

    if options.action == "list":
        rows = []
        for status in library.available_backbones():
            state = "bundled" if status.bundled else "installed" if status.installed else "not installed"
            size = f"{status.size_bytes / 1e6:.0f}" if status.size_bytes else "-"
            rows.append([status.id, state, size, status.title if status.installed else status.how_to_get])
        print_table(["backbone", "state", "MB", ""], rows)
    elif options.action == "show":
        _show(options.backbone)
    elif options.action == "download":
        print(f"Installed {library.download_backbone(options.backbone, reporter).id!r}")
    elif options.action == "import":
        print(f"Installed {library.import_backbone(options.file, options.backbone).id!r}")
    else:
        library.remove_backbone(options.backbone)
        print(f"Removed {options.backbone!r}")
        from fseft.models.library import list_models

        left = [e.name for e in list_models() if (e.description or {}).get("backbone") == options.backbone]
        if left:
            print(f"Models that need it and cannot be used until it is imported again: {', '.join(left)}")


def _show(identifier: str) -> None:
    from fseft.backbones import library
    from fseft.backbones.weights import load_specification

    known = {status.id: status.specification for status in library.available_backbones()}
    specification = known.get(identifier) or load_specification(library.find_backbone(identifier))
    spacing = " x ".join(f"{s:g}" for s in specification.spacing_mm)
    levels = ", ".join(f"{level.channels} at stride {level.stride}" for level in specification.levels)
    for label, text in (
        ("backbone", f"{specification.id}: {specification.title}"),
        ("network", specification.architecture),
        ("grid", f"{spacing} mm, windows of {' x '.join(str(n) for n in specification.patch)} voxels"),
        ("features", levels),
        ("classes", ", ".join(specification.classes)),
        ("source", specification.source),
        ("licence", specification.licence),
        ("citation", specification.citation),
        ("sha256", specification.weights_sha256),
    ):
        if text:
            print(f"{label:>9}  {text}")
