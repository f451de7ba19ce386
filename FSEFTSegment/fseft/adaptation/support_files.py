"""Support cases on disk, in the layouts people already have: pairs, folders, nnU-Net and MSD data sets, CSV lists."""

from __future__ import annotations

import csv
import json
import re
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

from fseft.adaptation.adapt import CaseFiles
from fseft.errors import InputError
from fseft.scan.annotation import structures_from_json
from fseft.scan.reading import ending_of, read_header, stem_of
from fseft.scan.segments import segments_in
from fseft.structures import Structure, canonical_name, number_structures

#: Endings that tell a scan from its annotation where both lie in one folder, or are named differently in two.
_SCAN_SUFFIXES = ("_0000", "_ct", "_image", "_img", "_scan")
_LABEL_SUFFIXES = ("_seg", "_segmentation", "_labels", "_label", "_mask", "_annotation")
_SPARSE = ("no", "auto", "x", "y", "z")
_STRUCTURE_FILES = ("labels.json", "dataset.json", "structures.json")
_SHOWN = 6

#: Structures themselves, a JSON file that lists them, or None to look beside the data.
StructureSource = Path | Sequence[Structure] | None

SupportSet = tuple[list[CaseFiles], tuple[Structure, ...]]


def collect_support(source: Path, structures: StructureSource = None) -> SupportSet:
    """Find the support cases that a file or folder describes.

    Understood are a CSV list (see :func:`from_csv`), an nnU-Net or Medical Segmentation Decathlon data set (a folder
    with ``dataset.json``, or that file), a folder with ``images/`` and ``labels/``, and a folder in which scans and
    annotations lie side by side as ``<case>_ct`` and ``<case>_seg``.

    Args:
        source: the CSV file, the folder, or its ``dataset.json``.
        structures: the structures, or a JSON file with "labels"; when None it is looked for beside the data, then
            in ``.seg.nrrd`` files.

    Returns:
        The cases in order of name (of the list in a CSV), and their structures.

    Raises:
        InputError: "support-missing", "support-no-pairs", "support-unmatched", "support-names-twice",
            "support-path-outside", "support-file-missing", "support-malformed", "support-several-channels",
            "support-structures-unknown".
        AnnotationError: "structures-file" when a list of structures cannot be read.
        ScanError: when a segmentation's header cannot be read.
    """
    source = Path(source)
    if not source.exists():
        raise InputError(
            "support-missing", f"There is no file or folder {source.name}.", "Check the path of the support set."
        )
    if source.is_file() and source.suffix.lower() in (".csv", ".tsv", ".txt"):
        return from_csv(source, structures)
    if source.is_file() and source.suffix.lower() == ".json":
        return _from_dataset(source.parent, source, structures)
    if not source.is_dir():
        raise InputError(
            "support-no-pairs",
            f"{source.name} is no list of support cases.",
            "Give a CSV with the columns scan and annotation, a dataset.json, or a folder.",
        )
    description = source / "dataset.json"
    if (source / "imagesTr").is_dir() or _lists_training(description):
        return _from_dataset(source, description, structures)
    if (source / "images").is_dir() and (source / "labels").is_dir():
        pairs = _match_folders(source / "images", source / "labels")
    else:
        pairs = _match_within(source)
    return _complete(pairs, source, structures)


def from_pairs(pairs: Sequence[tuple[Path, Path]], structures: StructureSource = None) -> SupportSet:
    """Support cases from (scan, annotation) paths; named by their files, by their folders where those are alike.

    Raises:
        InputError, AnnotationError: see :func:`collect_support`.
    """
    names = [_case_name(Path(scan)) for scan, _ in pairs]
    if len(set(names)) < len(names):
        names = [f"{Path(scan).resolve().parent.name}/{name}" for (scan, _), name in zip(pairs, names, strict=True)]
    named = [(name, Path(scan), Path(label)) for name, (scan, label) in zip(names, pairs, strict=True)]
    folder = Path(pairs[0][1]).parent if pairs else Path()
    return _complete(named, folder, structures)


def from_csv(path: Path, structures: StructureSource = None) -> SupportSet:
    """Support cases from a CSV list with a header line, separated by comma, semicolon or tab.

    Columns: ``scan``, ``annotation``; optional ``name``, ``sparse`` (no, auto, x, y, z) and ``structures`` (names
    annotated in this case, separated by ``|`` or ``;``; empty = all). Relative paths start at the list's folder.

    Raises:
        InputError, AnnotationError: see :func:`collect_support`.
    """
    rows = _read_rows(path)
    cases = []
    for line, row in rows:
        scan, annotation = row.get("scan", ""), row.get("annotation", "")
        if not scan or not annotation:
            raise _malformed(path, f"line {line} has no {'annotation' if scan else 'scan'}")
        sparse = row.get("sparse", "").lower() or "no"
        if sparse not in _SPARSE:
            raise _malformed(path, f"line {line} says {sparse!r} under sparse, which is none of {', '.join(_SPARSE)}")
        only = tuple(name.strip() for name in re.split(r"[|;]", row.get("structures", "")) if name.strip())
        scan_path, label_path = path.parent / scan, path.parent / annotation
        name = row.get("name", "") or _case_name(scan_path)
        cases.append(CaseFiles(scan_path, label_path, name, sparse, only or None))
    found = _structures(cases, path.parent, structures)
    cases = [_with_known_names(case, found, path) for case in cases]
    return _checked(cases, path.name), found


def _read_rows(path: Path) -> list[tuple[int, dict[str, str]]]:
    """(line number, column -> text) of a list, blank lines left out."""
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as problem:
        raise _malformed(path, "is not in UTF-8") from problem
    except OSError as problem:
        raise _malformed(path, f"could not be opened ({problem.strerror or problem})") from problem
    lines = text.splitlines()
    head = lines[0] if lines else ""
    separator = max(",;\t", key=head.count)
    try:
        reader = csv.reader(lines, delimiter=separator, strict=True)
        columns = [column.strip().lower() for column in next(reader, [])]
        if not {"scan", "annotation"} <= set(columns):
            raise _malformed(path, f"has the columns {', '.join(columns) or 'none'}, not scan and annotation")
        rows = []
        for cells in reader:
            if not any(cell.strip() for cell in cells):
                continue
            if len(cells) > len(columns):
                raise _malformed(path, f"line {reader.line_num} has {len(cells)} cells for {len(columns)} columns")
            rows.append((reader.line_num, {c: t.strip() for c, t in zip(columns, cells, strict=False)}))
    except csv.Error as problem:
        raise _malformed(path, f"cannot be read as a table ({problem})") from problem
    return rows


def _with_known_names(case: CaseFiles, structures: Sequence[Structure], path: Path) -> CaseFiles:
    """The case with its structures in the spelling of the support set's."""
    if case.structures is None:
        return case
    names = []
    for wanted in case.structures:
        exact = [s.name for s in structures if s.name == wanted]
        found = exact or [s.name for s in structures if s.canonical == canonical_name(wanted)]
        if len(found) != 1:
            known = ", ".join(s.name for s in structures)
            raise _malformed(path, f"names the structure {wanted!r}, which is none of {known}")
        names.append(found[0])
    return CaseFiles(case.scan, case.annotation, case.name, case.sparse, tuple(names))


def _lists_training(path: Path) -> bool:
    if not path.is_file():
        return False
    content = _read_json(path)
    return isinstance(content.get("training"), list) or isinstance(content.get("dataset"), dict)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8-sig"))
    except OSError as problem:
        raise _malformed(path, f"could not be opened ({problem.strerror or problem})") from problem
    except ValueError as problem:
        raise _malformed(path, "is no JSON file") from problem
    if not isinstance(content, dict):
        raise _malformed(path, "is no JSON object")
    return content


def _from_dataset(folder: Path, description: Path, structures: StructureSource) -> SupportSet:
    """An nnU-Net or MSD data set."""
    content = _read_json(description) if description.is_file() else {}
    if isinstance(content.get("dataset"), dict):
        pairs = [_explicit(folder, description, name, entry) for name, entry in content["dataset"].items()]
    elif isinstance(content.get("training"), list) and content["training"]:
        pairs = [_listed(folder, description, entry) for entry in content["training"]]
    else:
        ending = content.get("file_ending")
        if ending is not None and not isinstance(ending, str):
            raise _malformed(description, "has a file_ending that is no text")
        pairs = _match_channels(folder / "imagesTr", folder / "labelsTr", ending)
    described = description if "labels" in content else None
    return _complete(pairs, folder, structures or described)


def _explicit(folder: Path, description: Path, name: str, entry: Any) -> tuple[str, Path, Path]:
    """An entry of nnU-Net's "dataset" list."""
    images = entry.get("images") if isinstance(entry, dict) else None
    if not isinstance(images, list) or not images:
        raise _malformed(description, f"lists no images for {name}")
    if len(images) > 1:
        raise _several_channels(name)
    return name, _inside(folder, images[0], description), _inside(folder, entry.get("label"), description)


def _listed(folder: Path, description: Path, entry: Any) -> tuple[str, Path, Path]:
    """An entry of MSD's "training" list."""
    if not isinstance(entry, dict) or "image" not in entry or "label" not in entry:
        raise _malformed(description, f"has {str(entry)[:60]!r} in its training list instead of an image and a label")
    if isinstance(entry["image"], list):
        raise _several_channels(str(entry["label"]))
    scan = _inside(folder, entry["image"], description)
    label = _inside(folder, entry["label"], description)
    if not scan.exists() and (scan.with_name(stem_of(scan) + "_0000" + ending_of(scan))).exists():
        scan = scan.with_name(stem_of(scan) + "_0000" + ending_of(scan))  # nnU-Net's older conversion of MSD data
    return _case_name(scan), scan, label


def _inside(folder: Path, text: Any, description: Path) -> Path:
    """A path from a description that was perhaps written by somebody else: only below its folder."""
    if not isinstance(text, str) or not text:
        raise _malformed(description, f"has {text!r} where a file name should be")
    windows, posix = PureWindowsPath(text), PurePosixPath(text)
    if windows.drive or windows.root or posix.is_absolute() or ".." in windows.parts:
        raise InputError(
            "support-path-outside",
            f"{description.name} points outside its own folder: {text}.",
            "Correct the path, or list the cases in a CSV file of your own.",
        )
    return folder.joinpath(*windows.parts)


def _match_channels(images: Path, labels: Path, ending: str | None) -> list[tuple[str, Path, Path]]:
    """nnU-Net's imagesTr/<case>_0000 and labelsTr/<case>."""
    if not images.is_dir() or not labels.is_dir():
        missing = images.name if not images.is_dir() else labels.name
        raise _no_pairs(images.parent.name, f"it has no folder {missing}")
    scans: dict[str, Path] = {}
    for path in _volumes(images, ending):
        case, _, channel = stem_of(path).rpartition("_")
        if not re.fullmatch(r"\d{4}", channel):
            case, channel = stem_of(path), "0000"
        if channel != "0000":
            raise _several_channels(case)
        scans[case] = path
    return _join(scans, {stem_of(path): path for path in _volumes(labels, ending)}, images.parent.name)


def _match_folders(images: Path, labels: Path) -> list[tuple[str, Path, Path]]:
    """Equal names in two folders; endings such as _ct and _seg may differ."""
    scans = {_case_name(path): path for path in _distinct(_volumes(images, folders=True), _case_name)}
    marked = {_label_name(path): path for path in _distinct(_volumes(labels), _label_name)}
    return _join(scans, marked, images.parent.name)


def _match_within(folder: Path) -> list[tuple[str, Path, Path]]:
    """<case>_ct beside <case>_seg in one folder, or <case> beside <case>.seg.nrrd."""
    files = list(_volumes(folder))
    labels = [path for path in files if _label_name(path) != stem_of(path) or ending_of(path) == ".seg.nrrd"]
    scans = [path for path in files if path not in labels]
    return _join(
        {_case_name(path): path for path in _distinct(scans, _case_name)},
        {_label_name(path): path for path in _distinct(labels, _label_name)},
        folder.name,
    )


def _volumes(folder: Path, ending: str | None = None, folders: bool = False) -> list[Path]:
    """Volume files of a folder in order of name, and its sub-folders (DICOM series) where wanted."""
    found = []
    for path in sorted(folder.iterdir()):
        if path.name.startswith("."):
            continue
        wanted = path.name.lower().endswith(ending.lower()) if ending else bool(ending_of(path))
        if (path.is_file() and wanted) or (folders and path.is_dir()):
            found.append(path)
    return found


def _distinct(paths: Iterable[Path], name_of: Any) -> list[Path]:
    """The paths, refused when two of them are the same case."""
    seen: dict[str, Path] = {}
    for path in paths:
        other = seen.setdefault(name_of(path), path)
        if other is not path:
            raise _twice(name_of(path), f"{other.name} and {path.name}")
    return list(seen.values())


def _join(scans: dict[str, Path], labels: dict[str, Path], what: str) -> list[tuple[str, Path, Path]]:
    common = sorted(scans.keys() & labels.keys())
    if not common:
        raise _no_pairs(what, "no scan has an annotation of the same name")
    alone = sorted([scans[n].name for n in scans.keys() - labels.keys()])
    alone += sorted([labels[n].name for n in labels.keys() - scans.keys()])
    if alone:
        more = f" and {len(alone) - _SHOWN} more" if len(alone) > _SHOWN else ""
        raise InputError(
            "support-unmatched",
            f"In {what} these files have no partner: {', '.join(alone[:_SHOWN])}{more}.",
            "Name a scan and its annotation alike, or move what does not belong to the support set elsewhere.",
        )
    return [(name, scans[name], labels[name]) for name in common]


def _case_name(path: Path) -> str:
    return _without(stem_of(path) if ending_of(path) else path.name, _SCAN_SUFFIXES)


def _label_name(path: Path) -> str:
    return _without(stem_of(path), _LABEL_SUFFIXES)


def _without(stem: str, suffixes: Sequence[str]) -> str:
    for suffix in suffixes:
        if stem.lower().endswith(suffix) and len(stem) > len(suffix):
            return stem[: -len(suffix)]
    return stem


def _complete(pairs: Sequence[tuple[str, Path, Path]], folder: Path, structures: StructureSource) -> SupportSet:
    cases = _checked([CaseFiles(scan, label, name) for name, scan, label in pairs], folder.name)
    return cases, _structures(cases, folder, structures)


def _checked(cases: list[CaseFiles], what: str) -> list[CaseFiles]:
    if not cases:
        raise _no_pairs(what, "it lists no case")
    seen: set[str] = set()
    for case in cases:
        if case.name in seen:
            raise _twice(case.name, what)
        seen.add(case.name)
        for path in (case.scan, case.annotation):
            if not path.exists():
                raise InputError(
                    "support-file-missing",
                    f"The file {path.name} of case {case.name!r} is not there.",
                    f"It should be in {path.parent}; correct the list, or take the case out.",
                )
        if case.scan.resolve() == case.annotation.resolve():
            raise InputError(
                "support-same-file",
                f"Case {case.name!r} has {case.scan.name} both as its scan and as its annotation.",
                "Give the labelmap or segmentation as the annotation.",
            )
    return cases


def _structures(cases: Sequence[CaseFiles], folder: Path, structures: StructureSource) -> tuple[Structure, ...]:
    """From the JSON file named or found, else from what segmentation files call their segments."""
    if isinstance(structures, Path):
        return structures_from_json(structures)
    if structures:
        return tuple(structures)
    for name in _STRUCTURE_FILES:
        if (folder / name).is_file():
            return structures_from_json(folder / name)
    names: dict[str, str] = {}
    for case in cases:
        if ending_of(case.annotation) in (".seg.nrrd", ".nrrd"):
            for segment in segments_in(read_header(case.annotation).metadata, case.annotation.name):
                names.setdefault(canonical_name(segment.name), segment.name)
    if not names:
        raise InputError(
            "support-structures-unknown",
            "Nothing says which structures the annotations' values stand for.",
            'Put a labels.json with {"labels": {"liver": 1}} beside the data, name every structure with its value '
            "(--structure liver=1), or use segmentation files (.seg.nrrd).",
        )
    return number_structures(names.values())


def _malformed(path: Path, why: str) -> InputError:
    return InputError("support-malformed", f"{path.name} {why}.", "Correct the file and try again.")


def _no_pairs(what: str, why: str) -> InputError:
    return InputError(
        "support-no-pairs",
        f"No support case was found in {what}: {why}.",
        "Put scans into images/ and annotations of the same names into labels/, or list them in a CSV file.",
    )


def _twice(name: str, where: str) -> InputError:
    return InputError(
        "support-names-twice", f"Two support cases are called {name!r} ({where}).", "Give every case its own name."
    )


def _several_channels(case: str) -> InputError:
    message = f"Case {case!r} has several images (channels); a CT has one."
    return InputError("support-several-channels", message, "Keep the CT only.")
