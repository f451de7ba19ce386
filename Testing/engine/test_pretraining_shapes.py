"""Synthetic scans from the shapes of real labels: what is kept, what is changed, what may never appear."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from fseft.errors import InputError
from fseft.phantom.frame import Draw
from fseft.pretraining.cases import open_case
from fseft.pretraining.preparation import prepare
from fseft.pretraining.sources import LabelledFolder, LabelShapes, parse_source
from fseft.pretraining.synthesis import Anatomy, exchange_organs, paint, synthesise
from pretraining_makers import NETWORK, write_folder
from scipy import ndimage

GRID = NETWORK.specification(())
SPACING = (1.5, 1.5, 1.5)
SHAPE = (60, 56, 52)


def patient(radius: float, centre: tuple[int, int, int], structures: tuple[str, ...] = ("liver",)) -> Anatomy:
    """A body of 40 HU in air with a ball of 120 HU, the first structure."""
    hounsfield = np.full(SHAPE, -1000.0, dtype=np.float32)
    hounsfield[8:-8, 8:-8, 2:-2] = 40.0
    index = np.indices(SHAPE)
    ball = sum((index[axis] - centre[axis]) ** 2 for axis in range(3)) <= radius**2
    hounsfield[ball] = 120.0
    return Anatomy(hounsfield, ball.astype(np.uint8), structures)


def test_the_same_seed_gives_the_same_scan_and_another_seed_another() -> None:
    base, donor = patient(8, (30, 28, 26)), patient(6, (28, 28, 26))
    first, again, other = (synthesise(base, donor, SPACING, (40, 40, 40), "realistic", seed) for seed in (1, 1, 2))
    assert np.array_equal(first.hounsfield, again.hounsfield)
    assert np.array_equal(first.labels, again.labels)
    assert not np.array_equal(first.labels, other.labels)
    assert first.hounsfield.shape == first.labels.shape == (40, 40, 40)


def test_a_realistic_scan_keeps_the_size_of_an_organ_and_how_its_tissue_looks() -> None:
    base = patient(9, (30, 28, 26))
    for seed in range(4):
        made = synthesise(base, None, SPACING, SHAPE, "realistic", seed)
        organ = ndimage.binary_erosion(made.labels == 1, iterations=3)
        assert 0.4 < (made.labels == 1).sum() / (base.labels == 1).sum() < 2.0
        # Soft organs take up contrast medium: never less than a little below the base's HU.
        assert 90 < float(np.median(made.hounsfield[organ])) < 260
        body = ndimage.binary_erosion((made.labels == 0) & (made.hounsfield > -300), iterations=3)
        assert float(np.median(made.hounsfield[body])) == pytest.approx(40, abs=25)


def test_a_randomised_scan_keeps_shapes_alone() -> None:
    base = patient(9, (30, 28, 26))
    medians = []
    for seed in range(6):
        made = synthesise(base, None, SPACING, SHAPE, "randomised", seed)
        medians.append(float(np.median(made.hounsfield[made.labels == 1])))
    assert max(medians) - min(medians) > 300


def test_organs_are_exchanged_centre_on_centre_and_gaps_are_filled() -> None:
    base, donor = patient(10, (30, 28, 26)), patient(5, (20, 24, 22))
    found = [exchange_organs(base, donor, SPACING, Draw(seed, "x")) for seed in range(8)]
    sizes = {int(labels.sum()) for _, labels in found}
    whole, small = int(base.labels.sum()), int(donor.labels.sum())
    assert sizes == {whole, small}  # about half of the draws exchange it
    hounsfield, labels = next(pair for pair in found if int(pair[1].sum()) == small)
    centre = np.array(ndimage.center_of_mass(labels))
    assert np.abs(centre - (30, 28, 26)).max() <= 2 * 3.0 / 1.5 + 1
    assert np.unique(hounsfield[(base.labels == 1) & (labels == 0)]).tolist() == [40.0]
    assert np.unique(hounsfield[labels == 1]).tolist() == [120.0]
    assert base.hounsfield[30, 28, 26] == 120.0  # the base itself is left alone


def test_an_organ_cut_by_the_donors_border_or_outside_the_body_is_not_planted() -> None:
    base = patient(6, (30, 28, 26))
    cut = patient(6, (30, 28, 2))
    for seed in range(6):
        assert np.array_equal(exchange_organs(base, cut, SPACING, Draw(seed, "x"))[1], base.labels)
    edge = patient(5, (10, 28, 26))
    for seed in range(6):
        hounsfield, labels = exchange_organs(edge, patient(9, (30, 28, 26)), SPACING, Draw(seed, "x"))
        assert not (labels[:5] > 0).any()
        assert hounsfield[labels == 1].min() > -300


def test_every_material_has_its_own_mean() -> None:
    base = patient(9, (30, 28, 26))
    materials, owners, means, textures = paint(base.hounsfield, base.labels)
    assert materials.shape == base.labels.shape
    assert np.array_equal(owners[materials], base.labels)
    inside = materials[30, 28, 26]
    assert means[inside] == pytest.approx(120, abs=1)
    assert (textures >= 1).all()


def test_a_source_of_shapes_prepares_its_anatomies_first(tmp_path: Path) -> None:
    labels = {"RightParotid": 1, "LeftParotid": 4}
    folder = write_folder(tmp_path / "scans", labels=labels, count=2)
    source = parse_source(f"shapes:{folder},count=3,seed=5,randomised=0.5,except=LeftParotid,weight=2")
    assert isinstance(source, LabelShapes)
    assert (source.count, source.seed, source.weight) == (3, 5, 2.0)
    pool = prepare([source], GRID, tmp_path / "work")
    (group,) = pool.groups
    assert len(group) == 3
    assert pool.classes == ("right parotid gland",)
    for case in group:
        assert (case.structures, case.left_out) == (("RightParotid",), ("LeftParotid",))
        arrays = open_case(case)
        assert arrays.labels.max() <= 1  # what is left out is not painted as a label
        assert arrays.hounsfield.shape == arrays.labels.shape
    texts = [path.name + path.read_text("utf-8") for path in (tmp_path / "work").rglob("*.json")]
    assert not any("anna" in text for text in texts)
    stamps = [(case.folder / "hounsfield.npy").stat().st_mtime_ns for case in group]
    assert prepare([source], GRID, tmp_path / "work") == pool
    assert [(case.folder / "hounsfield.npy").stat().st_mtime_ns for case in group] == stamps
    assert "anna" not in source.description


def test_several_processes_make_the_same_cases_as_one(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scans", count=2)
    source = parse_source(f"shapes:{folder},count=3")
    one = prepare([source], GRID, tmp_path / "one")
    two = prepare([source], GRID, tmp_path / "two", workers=2)
    for a, b in zip(one.groups[0], two.groups[0], strict=True):
        assert np.array_equal(open_case(a).hounsfield, open_case(b).hounsfield)


def test_no_scans_cannot_be_made(tmp_path: Path) -> None:
    folder = write_folder(tmp_path / "scans")
    with pytest.raises(InputError) as caught:
        parse_source(f"shapes:{folder},count=0")
    assert caught.value.code == "pretraining-source-invalid"
    assert "count=0" in caught.value.message
    with pytest.raises(InputError) as caught:
        prepare([LabelShapes(LabelledFolder(folder), count=0)], GRID, tmp_path / "work")
    assert caught.value.code == "pretraining-bad-count"
