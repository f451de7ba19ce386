"""Places in the body that registration to a template tells: exact where it is, left to landmarks where it fails."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from fseft.errors import InputError
from fseft.location.affine import Affine
from fseft.location.registration import Registration
from fseft.phantom import make_phantom
from fseft.phantom.generator import Phantom
from fseft.preprocessing.grid import make_grid
from fseft.pretraining import registered_frame
from fseft.pretraining.cases import COORDINATE_STRIDE, PreparedCase, open_case
from fseft.pretraining.landmarks import CanonicalFrame
from fseft.pretraining.preparation import Pool, prepare
from fseft.pretraining.sources import LabelledFolder, parse_source
from fseft.pretraining.targets import place_targets
from fseft.scan.scan import Scan
from fseft.scan.writing import write_labelmap, write_scan
from location_makers import oblique_grid, value_of
from pretraining_makers import NETWORK, write_folder

GRID = NETWORK.specification(())
NAMES = ("right parotid gland", "left parotid gland", "brain stem")


@pytest.fixture(scope="module")
def head() -> Phantom:
    return make_phantom(1, "head-neck", (6.0, 6.0, 6.0))


def folder_of_heads(folder: Path, heads: dict[str, Phantom]) -> Path:
    for name, phantom in heads.items():
        write_scan(phantom.scan, folder / f"{name}_ct.nii.gz")
        write_labelmap(phantom.labels, phantom.scan.geometry, folder / f"{name}_seg.nii.gz", phantom.structures)
        labels = {entry: value_of(phantom, entry) for entry in NAMES}
        (folder / f"{name}.json").write_text(json.dumps({"labels": labels}), encoding="utf-8")
    return folder


def centres(case: PreparedCase) -> dict[str, np.ndarray]:
    """Mean canonical coordinates of each structure, mm."""
    arrays = open_case(case)
    assert arrays.coordinates is not None
    labels = arrays.labels[(slice(None, None, COORDINATE_STRIDE),) * 3]
    coordinates = arrays.coordinates.astype(np.float32)
    return {name: np.nanmean(coordinates[labels == n], axis=0) for n, name in enumerate(case.structures, start=1)}


def pool_of(folder: Path, work: Path, template: str) -> Pool:
    return prepare([LabelledFolder(folder, template=template)], GRID, work)


def test_an_exact_registration_gives_exact_places(head: Phantom, monkeypatch: pytest.MonkeyPatch) -> None:
    grid = oblique_grid(head)
    matrix, offset = np.diag((1.1, 0.95, 1.0)), np.array((-20.0, 15.0, -250.0))
    linear = sitk.AffineTransform(3)
    linear.SetMatrix([float(v) for v in matrix.ravel()])
    linear.SetTranslation([float(v) for v in offset])
    reference = grid.image_of(np.zeros(grid.array_shape, np.uint8))
    source = head.scan.geometry.image_of(head.scan.hounsfield)
    scan = Scan(sitk.GetArrayFromImage(sitk.Resample(source, reference, linear, sitk.sitkLinear, -1000)), grid, "seen")
    nothing = np.zeros((*grid.array_shape, 3), np.float16)
    exact = Registration(Affine(matrix, offset), nothing, grid, 1.0, 1.0, 1.0)
    monkeypatch.setattr(registered_frame, "register", lambda *_: exact)
    frame = CanonicalFrame((90.0, 80.0, 70.0), 1.1)
    mine, its = make_grid(scan, GRID), make_grid(head.scan, GRID)
    found = registered_frame.registered_coordinates(scan, mine, head.scan, its, frame)
    assert found is not None
    shown = np.argwhere(np.isfinite(found).all(axis=-1))
    assert 0.2 < len(shown) / found[..., 0].size < 1.0
    for voxel in shown[:: len(shown) // 50]:
        index = np.empty(3)
        for axis, position in zip(mine.axes, voxel * COORDINATE_STRIDE, strict=True):
            index[2 - axis.scan_axis] = axis.first + (-1 if axis.flipped else 1) * axis.ratio * position
        world = linear.TransformPoint([float(v) for v in grid.to_world(index[None])[0]])
        # The phantom's axes are left, back, up and its voxels 6 mm; the network's are right, ahead, up.
        place = head.scan.geometry.to_index(np.array([world]))[0]
        expected = [(-1 if axis.flipped else 1) * (place[2 - axis.scan_axis] - axis.first) * 6.0 for axis in its.axes]
        np.testing.assert_allclose(found[tuple(voxel)], frame.canonical(torch.tensor([expected]))[0], atol=1e-2)


def test_points_go_where_the_transform_takes_them() -> None:
    generator = np.random.default_rng(0)
    grid = make_phantom(1, "head-neck", (9.0, 9.0, 9.0)).scan.geometry
    field = np.zeros((*grid.array_shape, 3), np.float16)
    field[2:-2, 2:-2, 2:-2] = generator.normal(0, 5, (*(n - 4 for n in grid.array_shape), 3))
    registration = Registration(Affine(np.diag((1.1, 1.0, 0.9)), np.array((3.0, -4.0, 5.0))), field, grid, 1, 1, 1)
    points = grid.to_world(generator.uniform(-3, np.array(grid.size) + 2, (200, 3)))
    transform = registration.transform()
    expected = [transform.TransformPoint([float(v) for v in point]) for point in points]
    np.testing.assert_allclose(registration.to_support(points), expected, atol=1e-3)


def test_two_patients_meet_in_the_templates_frame(head: Phantom, tmp_path: Path) -> None:
    other = make_phantom(2, "head-neck", (6.0, 6.0, 6.0))
    folder = folder_of_heads(tmp_path / "scans", {"anna": head, "berta": other})
    template, placed = pool_of(folder, tmp_path / "work", "anna").groups[0]
    assert (template.dense, placed.dense) == (False, True)
    assert template.frame is not None
    assert placed.frame is None
    found = centres(placed)
    arrays = open_case(template)
    for value, name in enumerate(template.structures, start=1):
        own = np.argwhere(arrays.labels == value).mean(axis=0) * template.spacing_mm
        assert np.linalg.norm(found[name] - template.frame.canonical(torch.from_numpy(own)).numpy()) < 12.0, name
    # One without the template is another case, and keeps its landmarks.
    plain = pool_of(folder, tmp_path / "work", "").groups[0][1]
    assert plain.folder != placed.folder
    assert plain.frame is not None
    assert parse_source(f"folder:{folder},template=anna") == LabelledFolder(folder, template="anna")


def test_a_refused_registration_leaves_the_landmarks(
    head: Phantom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    refused = Registration(
        Affine(np.eye(3), np.zeros(3)),
        np.zeros((*head.scan.geometry.array_shape, 3)),
        head.scan.geometry,
        0,
        0,
        0,
        "no",
    )
    monkeypatch.setattr(registered_frame, "register", lambda *_: refused)
    folder = folder_of_heads(tmp_path / "scans", {"anna": head, "berta": head})
    case = pool_of(folder, tmp_path / "work", "anna").groups[0][1]
    assert not case.dense
    assert case.frame is not None


def test_a_template_needs_landmarks_and_a_file(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scans", labels={"liver": 1})
    for template, code in (("anna_0", "pretraining-template-invalid"), ("carla", "pretraining-case-missing")):
        with pytest.raises(InputError) as caught:
            pool_of(folder, tmp_path / "work", template)
        assert caught.value.code == code
    with pytest.raises(InputError) as caught:
        parse_source("shapes:scans,template=anna")
    assert caught.value.code == "pretraining-source-invalid"


def test_unknown_places_teach_nothing(head: Phantom, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def half(_scan: Scan, grid: object, *_rest: object) -> np.ndarray:
        shape = tuple(-(-size // COORDINATE_STRIDE) for size in grid.shape)  # type: ignore[attr-defined]
        places = np.zeros((*shape, 3), np.float32)
        places[: shape[0] // 2] = np.nan
        return places

    monkeypatch.setattr("fseft.pretraining.sources.labelled_folder.registered_coordinates", half)
    folder = folder_of_heads(tmp_path / "scans", {"anna": head, "berta": head})
    case = pool_of(folder, tmp_path / "work", "anna").groups[0][1]
    arrays = open_case(case)
    ends = torch.tensor(((0.0, 10, 10), (arrays.hounsfield.shape[0] - 1, 10, 10)))
    place = place_targets(case, arrays, ends, torch.full((2,), 40.0), False, 9, np.random.default_rng(0))
    assert place.located.tolist() == [False, True]
    assert place.cells[0] == -1
    assert place.cells[1] >= 0
    assert bool(torch.isfinite(place.coordinates).all())
