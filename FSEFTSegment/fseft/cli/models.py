"""``fseft models``: the model library."""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from fseft.cli.tables import print_table
from fseft.reporting import Reporter

SUMMARY = "List, show, export, import, roll back and remove adapted models."
EXAMPLES = """\
Examples:
  fseft models list
  fseft models show my-model
  fseft models export my-model my-model.zip
  fseft models import my-model.zip --name theirs
  fseft models history my-model
  fseft models rollback my-model
  fseft models remove my-model"""


_LISTED = 5  # structures of a model in the list; "show" names them all


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command."""
    actions = parser.add_subparsers(dest="action", required=True, metavar="action")
    actions.add_parser("list", help="all models of the library")
    show = actions.add_parser("show", help="everything about one model")
    show.add_argument("model")
    history = actions.add_parser("history", help="earlier versions of a model, kept when it was replaced")
    history.add_argument("model")
    back = actions.add_parser(
        "rollback", help="put an earlier version in the model's place; can be undone the same way"
    )
    back.add_argument("model")
    back.add_argument("version", nargs="?", help="a version of the history; default: the one replaced last")
    export = actions.add_parser("export", help="write a model to a zip file, without its history")
    export.add_argument("model")
    export.add_argument("archive", type=Path)
    add = actions.add_parser("import", help="add an exported model")
    add.add_argument("archive", type=Path)
    add.add_argument("--name", help="another name")
    add.add_argument("--replace", action="store_true", help="overwrite a model of that name")
    remove = actions.add_parser("remove", help="delete a model and its history")
    remove.add_argument("model")


def run(options: argparse.Namespace, reporter: Reporter) -> None:
    """Run the command."""
    from fseft.models import library
    from fseft.models.description import read_description
    from fseft.models.versions import roll_back

    if options.action == "list":
        _list()
    elif options.action == "history":
        _history(library.find_model(options.model))
    elif options.action == "rollback":
        version = roll_back(library.find_model(options.model), options.version)
        made = (version.description or {}).get("created", "unknown")
        print(f"{options.model!r} is now version {version.id}, made {made}; the one it replaces is in its history.")
    elif options.action == "show":
        print(json.dumps(read_description(library.find_model(options.model)), indent=1, ensure_ascii=False))
    elif options.action == "export":
        library.export_model(options.model, options.archive)
        print(f"Wrote {options.archive}")
    elif options.action == "import":
        print(f"Imported as {library.import_model(options.archive, options.name, options.replace).name!r}")
    else:
        library.remove_model(options.model)
        print(f"Removed {options.model!r}")


def _history(folder: Path) -> None:
    from fseft.models.versions import list_versions

    versions = list_versions(folder)
    if not versions:
        print(f"{folder.name!r} has no earlier version.")
        return
    rows = []
    for entry in versions:
        content = entry.description
        if content is None:
            rows.append([entry.id, "-", "-", "-", f"unusable: {entry.problem}"])
            continue
        names = ", ".join(structure["name"] for structure in content["structures"])
        rows.append([entry.id, content["created"], content["method"], str(content["shots"]), names])
    print_table(["version", "made", "method", "cases", "structures"], rows)


def _list() -> None:
    from fseft.models import library

    entries = library.list_models()
    if not entries:
        print(f"No models yet in {library.library_folder()}")
        return
    rows = []
    for entry in entries:
        if entry.description is None:
            rows.append([entry.name, "-", "-", "-", f"unusable: {entry.problem}"])
            continue
        content = entry.description
        names = [str(structure["name"]) for structure in content["structures"]]
        rest = f" and {len(names) - _LISTED} more" if len(names) > _LISTED + 1 else ""
        shown = ", ".join(names[:_LISTED] if rest else names) + rest
        rows.append([entry.name, content["method"], str(content["shots"]), content["backbone"], shown])
    print_table(["model", "method", "cases", "backbone", "structures"], rows)
