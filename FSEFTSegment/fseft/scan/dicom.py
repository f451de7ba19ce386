"""DICOM series: which files belong together, and whether they make one straight, complete volume.

Slices are ordered by their position along the normal of the image plane, never by file name or instance number,
and the grid is built from the positions themselves. No tag goes further than the messages of this module.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from fseft.errors import ScanError
from fseft.reporting import SILENT, Reporter
from fseft.scan.checks import Header, check_shape, checked_geometry, header_of
from fseft.scan.geometry import Geometry
from fseft.scan.memory import AvailableBytes, require_memory
from fseft.scan.native_path import native_path
from fseft.scan.nifti import truncated
from fseft.scan.reading import memory_needed, pixels, quiet
from fseft.scan.slices import check_slices, through_plane

#: Fewer slices than this are a preview, not a volume.
FEWEST_SLICES = 3
#: Looking through a folder stops here; a whole archive was chosen by mistake.
MOST_FILES = 50_000

_ENDINGS_WITHOUT_MARK = (".dcm", ".ima", ".dic", ".dicom", "")
_CT_CLASSES = ("1.2.840.10008.5.1.4.1.1.2", "1.2.840.10008.5.1.4.1.1.2.1", "1.2.840.10008.5.1.4.1.1.2.2")


@dataclass(frozen=True)
class SliceFile:
    """One DICOM image file, by its header.

    Attributes:
        file: where it is.
        uid, number, description: of its series.
        modality: "CT", "MR", ...
        localizer: whether it is a planning view.
        positioned: whether it says where in the patient it lies.
        header: size, spacing, origin (the position) and direction as the image library gives them, in LPS mm.
    """

    file: Path
    uid: str
    number: str
    description: str
    modality: str
    localizer: bool
    positioned: bool
    header: Header

    @property
    def frames(self) -> int:
        """Images in this file; more than one in the enhanced kinds of DICOM."""
        return self.header.size[2] if len(self.header.size) > 2 else 1

    def fits(self, other: SliceFile) -> bool:
        """Whether both can be slices of one volume: same series, image size, voxel size and plane."""
        return (
            self.uid == other.uid
            and self.frames == other.frames == 1
            and self.header.size[:2] == other.header.size[:2]
            and np.allclose(self.header.spacing[:2], other.header.spacing[:2], atol=1e-4)
            and np.allclose(self.header.direction, other.header.direction, atol=1e-3)
        )


@dataclass
class Series:
    """Slices of one series that lie in parallel planes."""

    slices: list[SliceFile] = field(default_factory=list)

    @property
    def uid(self) -> str:
        """The series' UID, "" when it was removed."""
        return self.slices[0].uid

    @property
    def count(self) -> int:
        """Number of slices."""
        return sum(s.frames for s in self.slices)

    @property
    def is_volume(self) -> bool:
        """Whether this could be a CT scan."""
        return self.slices[0].modality == "CT" and not self.slices[0].localizer and self.count >= FEWEST_SLICES

    def described(self) -> str:
        """Number, description, slices and UID, for messages."""
        first = self.slices[0]
        told = f'number {first.number or "?"} "{first.description or "no description"}"'
        kind = "" if first.modality == "CT" else f", {first.modality or 'unknown modality'}"
        return f"{told} ({self.count} slices{kind}, UID {first.uid or 'missing'})"

    def matches(self, wanted: str) -> bool:
        """Whether this is the series with that UID or number."""
        return wanted in (self.slices[0].uid, self.slices[0].number)


def list_series(folder: Path, reporter: Reporter = SILENT) -> list[Series]:
    """All image series in a folder, or, when it has no DICOM file itself, in its subfolders.

    Raises:
        ScanError: "dicom-none", "dicom-too-many-files", "dicom-damaged-slice", "scan-unreadable".
    """
    files = _dicom_files(folder)
    groups: list[Series] = []
    with quiet():
        for done, file in enumerate(files):
            if done % 50 == 0:
                reporter.progress("reading", done, len(files), folder.name)
                reporter.check_cancelled()
            found = _slice_file(file)
            if found is None:
                continue
            home = next((g for g in groups if g.slices[0].fits(found)), None)
            if home is None:
                home = Series()
                groups.append(home)
            home.slices.append(found)
    if not groups:
        raise ScanError(
            "dicom-none",
            f"There is no DICOM image in {folder.name}.",
            "Choose the folder that holds the series' files, or a NIfTI, NRRD or MetaImage file.",
        )
    return groups


def read_dicom(
    path: Path, series: str | None = None, reporter: Reporter = SILENT, available: AvailableBytes | None = None
) -> tuple[np.ndarray, Geometry, Header]:
    """Read one DICOM series.

    Args:
        path: the folder, or one file of the series.
        series: UID or number of the series, when the folder has several.
        reporter: hears progress and warnings.
        available: tells the free memory in bytes.

    Returns:
        The (z, y, x) array with rescale applied, its geometry, and a header without tags.

    Raises:
        ScanError: "dicom-several-series", "dicom-no-such-series", "dicom-mixed-series", "dicom-not-ct",
            "dicom-localizer", "dicom-too-few-slices", "dicom-no-position", those of :func:`list_series` and
            of :func:`fseft.scan.slices.check_slices`.
        ResourceError: "scan-too-large".
    """
    folder = path if path.is_dir() else path.parent
    groups = list_series(folder, reporter)
    if path.is_dir():
        chosen = _choose(groups, series, folder.name)
    else:
        chosen = _series_of(path, groups)
    _check_series(chosen, folder.name)
    with quiet():
        if chosen.slices[0].frames > 1:
            return _read_frames(chosen.slices[0], reporter, available)
        return _read_slices(chosen.slices, reporter, available)


def _choose(groups: Sequence[Series], wanted: str | None, where: str) -> Series:
    """The wanted series; without a wish, the only one that could be a CT scan."""
    if wanted is not None:
        candidates = [g for g in groups if g.matches(wanted.strip())]
        if not candidates:
            told = "; ".join(g.described() for g in groups)
            raise ScanError(
                "dicom-no-such-series",
                f'{where} has no series "{wanted}"; it has {told}.',
                "Give the UID or the number of one of these.",
            )
        candidates = [g for g in candidates if g.is_volume] or candidates
    else:
        candidates = [g for g in groups if g.is_volume] or sorted(groups, key=_plausible)[-1:]
    if len(candidates) == 1:
        return candidates[0]
    told = "; ".join(g.described() for g in candidates)
    if len({g.uid for g in candidates}) == 1:
        raise ScanError(
            "dicom-mixed-series",
            f"One series in {where} holds images of several shapes or planes: {told}.",
            "Split it in 3D Slicer's DICOM module (Advanced, Examine) and save the volume you want as NRRD.",
        )
    raise ScanError(
        "dicom-several-series",
        f"{where} holds {len(candidates)} series: {told}.",
        "Choose one by its UID or number (series=...), or choose one of its files.",
    )


def _plausible(group: Series) -> tuple[bool, bool, int]:
    """Which of several unusable series to complain about: the one nearest to a CT scan."""
    return (group.slices[0].modality == "CT", not group.slices[0].localizer, group.count)


def _series_of(file: Path, groups: Sequence[Series]) -> Series:
    resolved = file.resolve()
    for group in groups:
        if any(s.file.resolve() == resolved for s in group.slices):
            return group
    raise ScanError(
        "scan-unknown-format",
        f"{file.name} is in no format that FSEFT reads, and no DICOM image.",
        "Use NIfTI (.nii, .nii.gz), NRRD (.nrrd, .nhdr), MetaImage (.mha, .mhd), or a folder with a DICOM series.",
    )


def _check_series(series: Series, where: str) -> None:
    first = series.slices[0]
    if first.modality != "CT":
        raise ScanError(
            "dicom-not-ct",
            f"The series in {where} is not CT: its modality is {first.modality or 'not given'}.",
            "Choose a CT series; FSEFT's backbones know Hounsfield units only.",
        )
    if first.localizer:
        raise ScanError(
            "dicom-localizer",
            f"The series in {where} is a localizer (the planning view), not a scan.",
            "Choose the series with the axial slices.",
        )
    if series.count < FEWEST_SLICES:
        raise ScanError(
            "dicom-too-few-slices",
            f"The series in {where} has {series.count} slice(s), which is no volume.",
            "Choose the folder with all the files of the series.",
        )
    if not all(s.positioned for s in series.slices):
        raise ScanError(
            "dicom-no-position",
            f"Slices in {where} do not say where in the patient they lie.",
            "Export the original CT series, not screenshots or secondary captures.",
        )


def _read_slices(
    slices: Sequence[SliceFile], reporter: Reporter, available: AvailableBytes | None
) -> tuple[np.ndarray, Geometry, Header]:
    where = slices[0].file.parent.name
    matrix = np.asarray(slices[0].header.direction).reshape(3, 3)
    normal = through_plane(matrix)
    positions = np.array([s.header.origin[:3] for s in slices])
    order = np.argsort(positions @ normal, kind="stable")
    ordered, positions = [slices[i] for i in order], positions[order]
    step = check_slices(positions, normal, where)
    first = ordered[0].header
    header = Header(
        size=(first.size[0], first.size[1], len(ordered)),
        spacing=(first.spacing[0], first.spacing[1], step),
        origin=tuple(positions[0]),
        direction=tuple(np.column_stack([matrix[:, 0], matrix[:, 1], normal]).ravel()),
        components=first.components,
        pixel_id=first.pixel_id,
        metadata={},
    )
    check_shape(header, where)
    geometry = checked_geometry(header, where, reporter)
    require_memory(memory_needed(header), f"Reading {where}", available)
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileNames([native_path(s.file) for s in ordered])
    try:
        array: np.ndarray = sitk.GetArrayFromImage(reader.Execute())
    except RuntimeError as problem:
        raise truncated(f"A slice in {where}") from problem
    return array, geometry, header


def _read_frames(
    file: SliceFile, reporter: Reporter, available: AvailableBytes | None
) -> tuple[np.ndarray, Geometry, Header]:
    check_shape(file.header, file.file.name)
    geometry = checked_geometry(file.header, file.file.name, reporter)
    require_memory(memory_needed(file.header), f"Reading {file.file.name}", available)
    reporter.log(f"{file.file.name} holds all slices in one file; their distances could not be checked.", "warning")
    reader = _dicom_reader(file.file)
    try:
        reader.ReadImageInformation()
        return pixels(reader, file.header), geometry, file.header
    except RuntimeError as problem:
        raise truncated(file.file.name) from problem


def _dicom_files(folder: Path) -> list[Path]:
    """Files that are DICOM by their mark, or could be by their ending; subfolders only when the folder has none."""
    here = sorted(p for p in _files(folder.iterdir(), folder) if _looks_like_dicom(p))
    return here or sorted(p for p in _files(folder.rglob("*"), folder) if _looks_like_dicom(p))


def _files(entries: Iterator[Path], folder: Path) -> Iterator[Path]:
    for count, entry in enumerate(entries):
        if count >= MOST_FILES:
            raise ScanError(
                "dicom-too-many-files",
                f"{folder.name} holds more than {MOST_FILES} files, too many to look through.",
                "Choose the folder of one patient's series.",
            )
        if entry.is_file() and entry.name.upper() != "DICOMDIR":
            yield entry


def _looks_like_dicom(file: Path) -> bool:
    try:
        with file.open("rb") as stream:
            marked = stream.read(132)[128:] == b"DICM"
    except OSError as problem:
        raise ScanError(
            "scan-unreadable",
            f"{file.name} could not be opened: {problem.strerror or problem}.",
            "Check that you may read the files and that their drive is connected.",
        ) from problem
    return marked or (file.suffix.lower() in _ENDINGS_WITHOUT_MARK and not file.name.startswith("."))


def _dicom_reader(file: Path) -> sitk.ImageFileReader:
    reader = sitk.ImageFileReader()
    reader.SetImageIO("GDCMImageIO")
    reader.SetFileName(native_path(file))
    return reader


def _slice_file(file: Path) -> SliceFile | None:
    """The header of an image; None for what is no image (structure sets, reports, other files).

    Raises:
        ScanError: "dicom-damaged-slice" for a CT image that cannot be read, since leaving it out would shorten
            the scan without a word.
    """
    reader = _dicom_reader(file)
    try:
        reader.ReadImageInformation()
    except RuntimeError as problem:
        if _storage_class(file) in _CT_CLASSES:
            raise ScanError(
                "dicom-damaged-slice",
                f"The CT slice {file.name} is damaged or incomplete.",
                "Copy or export the series again.",
            ) from problem
        return None
    header = header_of(reader)
    tags = header.metadata

    def text(tag: str) -> str:
        return tags.get(tag, "").strip(" \0")

    enhanced = text("0008|0016") in _CT_CLASSES[1:]
    return SliceFile(
        file=file,
        uid=text("0020|000e"),
        number=text("0020|0011"),
        description=text("0008|103e"),
        modality=text("0008|0060"),
        localizer="LOCALIZER" in text("0008|0008").upper(),
        positioned=enhanced or bool(text("0020|0032") and text("0020|0037")),
        header=Header(
            header.size, header.spacing, header.origin, header.direction, header.components, header.pixel_id, {}
        ),
    )


def _storage_class(file: Path) -> str:
    """The kind of object: (0002,0002) of the file's preamble, whose encoding is the same in all files."""
    with file.open("rb") as stream:
        start = stream.read(1024)
    at = start.find(b"\x02\x00\x02\x00UI")
    if at < 0:
        return ""
    length = int.from_bytes(start[at + 6 : at + 8], "little")
    return start[at + 8 : at + 8 + length].decode("ascii", "replace").strip(" \0")
