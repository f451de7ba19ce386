"""Phantoms: the same seed gives the same scan, and the anatomy is in its place and of adult size."""

from __future__ import annotations

import numpy as np
import pytest
from fseft.errors import InputError
from fseft.phantom import STRUCTURES, Phantom, make_phantom, published_labels
from fseft.phantom.frame import REGIONS, random_patient
from fseft.phantom.lesions import paint_lesions
from fseft.phantom.painting import Body
from fseft.phantom.tissues import OTHER_STRUCTURES, TISSUES, VALUES
from fseft.structures import PUBLISHED_CLASSES
from scipy import ndimage

LESIONS = {
    "liver tumour",
    "kidney tumour",
    "kidney cyst",
    "lung tumour",
    "pancreas tumour",
    "hepatic vessel tumour",
    "colon tumour",
}

TORSO = (
    "spleen", "right kidney", "left kidney", "gallbladder", "oesophagus", "liver", "stomach", "aorta",
    "inferior vena cava", "portal and splenic vein", "pancreas", "right adrenal gland", "left adrenal gland",
    "duodenum", "bladder", "prostate or uterus", "coeliac trunk", "right lung", "left lung", "hepatic vessel",
    "vertebrae", "intervertebral discs", "spinal cord", "left ribs", "right ribs", "sternum", "left clavicle",
    "right clavicle", "left scapula", "right scapula", "sacrum", "left hip bone", "right hip bone", "left femur",
    "right femur", "heart", "pulmonary artery", "superior vena cava", "trachea", "small bowel", "colon", "left psoas",
    "right psoas", "left erector spinae", "right erector spinae", "costal cartilage", "iliac vessels", "muscle",
    "subcutaneous fat", "left humerus", "right humerus", "thyroid gland",
)  # fmt: skip

HEAD_NECK = (
    "brain", "brain stem", "skull", "mandible", "teeth", "tongue", "larynx", "pharynx", "trachea", "oesophagus",
    "thyroid gland", "left parotid gland", "right parotid gland", "left submandibular gland",
    "right submandibular gland", "left eye", "right eye", "spinal cord", "vertebrae", "left carotid artery",
    "right carotid artery", "left jugular vein", "right jugular vein", "left sternocleidomastoid",
    "right sternocleidomastoid",
)  # fmt: skip


@pytest.fixture(scope="module")
def torsos() -> list[Phantom]:
    return [make_phantom(seed, "torso", (3.5, 3.5, 3.5)) for seed in (0, 1)]


@pytest.fixture(scope="module")
def heads() -> list[Phantom]:
    return [make_phantom(seed, "head-neck", (3.0, 3.0, 3.0)) for seed in (0, 1)]


def mask(phantom: Phantom, name: str) -> np.ndarray:
    return phantom.labels == VALUES[name]


def centre_mm(phantom: Phantom, name: str) -> np.ndarray:
    """LPS centre of mass of a structure."""
    middle = np.array(ndimage.center_of_mass(mask(phantom, name)))[::-1]
    return phantom.scan.geometry.to_world(middle[None])[0]


def volume_ml(phantom: Phantom, name: str) -> float:
    return float(mask(phantom, name).sum()) * phantom.scan.geometry.voxel_volume_ml


def test_the_same_arguments_give_the_same_bytes() -> None:
    arguments = {"region": "abdomen", "spacing_mm": (6.0, 6.0, 6.0), "with_coordinates": True}
    first, second = make_phantom(11, **arguments), make_phantom(11, **arguments)
    assert first.scan.content_key == second.scan.content_key
    assert first.labels.tobytes() == second.labels.tobytes()
    assert first.coordinates is not None
    assert second.coordinates is not None
    assert first.coordinates.tobytes() == second.coordinates.tobytes()
    assert first.structures == second.structures


def test_seeds_give_different_patients() -> None:
    one, other = (make_phantom(s, "abdomen", (6.0, 6.0, 6.0), size=(48, 40, 40)) for s in (1, 2))
    assert (one.labels != other.labels).mean() > 0.1


def test_structure_numbers_are_constant_and_start_with_the_published_classes() -> None:
    assert tuple(s.name for s in STRUCTURES) == (*PUBLISHED_CLASSES, *OTHER_STRUCTURES)
    assert [s.value for s in STRUCTURES] == list(range(1, len(STRUCTURES) + 1))
    assert len(TISSUES) <= 256


def test_a_torso_has_every_structure(torsos: list[Phantom]) -> None:
    for phantom in torsos:
        present = {s.name for s in phantom.structures}
        assert set(TORSO) <= present, set(TORSO) - present
        assert present == {STRUCTURES[v - 1].name for v in np.unique(phantom.labels) if v}


def test_a_head_and_neck_has_every_structure(heads: list[Phantom]) -> None:
    for phantom in heads:
        present = {s.name for s in phantom.structures}
        assert set(HEAD_NECK) <= present, set(HEAD_NECK) - present


def test_every_kind_of_lesion_occurs() -> None:
    planned: dict[int, set[str]] = {}
    for seed in range(60):
        body = Body()
        paint_lesions(body, random_patient(seed))
        planned[seed] = {layer.tissue for layer in body.layers}
    seen: set[str] = set()
    while not seen >= LESIONS and planned:
        richest = max(planned, key=lambda s: len(planned[s] - seen))
        planned.pop(richest)
        phantom = make_phantom(richest, "torso", (6.0, 6.0, 6.0))
        seen |= {s.name for s in phantom.structures} & LESIONS
    assert seen == LESIONS


def test_left_is_left(torsos: list[Phantom], heads: list[Phantom]) -> None:
    for phantom in [*torsos, *heads]:
        names = {s.name for s in phantom.structures}
        middle = centre_mm(phantom, "vertebrae")[0]
        for name in sorted(n for n in names if n.startswith("left ")):
            other = name.replace("left", "right", 1)
            assert centre_mm(phantom, name)[0] > middle, name
            if other in names:
                assert centre_mm(phantom, other)[0] < middle, other
    for phantom in torsos:
        assert centre_mm(phantom, "liver")[0] < centre_mm(phantom, "stomach")[0] < centre_mm(phantom, "spleen")[0]
        assert centre_mm(phantom, "inferior vena cava")[0] < centre_mm(phantom, "aorta")[0]
        assert centre_mm(phantom, "heart")[0] > centre_mm(phantom, "sternum")[0]


def test_order_along_the_body_and_from_front_to_back(torsos: list[Phantom], heads: list[Phantom]) -> None:
    for phantom in torsos:
        heights = [centre_mm(phantom, n)[2] for n in ("bladder", "left kidney", "liver", "heart", "thyroid gland")]
        assert heights == sorted(heights)
        depths = [centre_mm(phantom, n)[1] for n in ("sternum", "heart", "spinal cord")]
        assert depths == sorted(depths)
    for phantom in heads:
        heights = [centre_mm(phantom, n)[2] for n in ("thyroid gland", "mandible", "left eye", "brain")]
        assert heights == sorted(heights)
        assert centre_mm(phantom, "left eye")[1] < centre_mm(phantom, "brain stem")[1]


#: Plausible adults, in ml; wide, since bodies differ, but narrow enough to catch a shape gone wrong.
ADULT_ML = {
    "liver": (750, 2100), "spleen": (60, 350), "left kidney": (80, 260), "right kidney": (80, 260),
    "pancreas": (30, 130), "gallbladder": (12, 80), "stomach": (90, 700), "bladder": (70, 400), "heart": (380, 1000),
    "left lung": (1000, 3500), "right lung": (1100, 3800), "aorta": (110, 380), "left adrenal gland": (0.8, 8),
    "right adrenal gland": (0.8, 8), "spinal cord": (10, 60), "left psoas": (70, 380),
}  # fmt: skip
HEAD_ML = {
    "brain": (950, 1900), "left parotid gland": (9, 45), "right parotid gland": (9, 45), "mandible": (30, 100),
    "brain stem": (14, 42), "left eye": (3.5, 10), "right eye": (3.5, 10), "thyroid gland": (6, 28), "larynx": (15, 60),
}  # fmt: skip


def test_volumes_are_those_of_adults(torsos: list[Phantom], heads: list[Phantom]) -> None:
    cases = [(p, n, r) for p in torsos for n, r in ADULT_ML.items()] + [
        (p, n, r) for p in heads for n, r in HEAD_ML.items()
    ]
    for phantom, name, (low, high) in cases:
        assert low <= volume_ml(phantom, name) <= high, (name, volume_ml(phantom, name), phantom.scan.name)


def test_hounsfield_units_fit_the_labels(torsos: list[Phantom], heads: list[Phantom]) -> None:
    for phantom in torsos:
        hounsfield = phantom.scan.hounsfield

        def median(name: str, values: np.ndarray = hounsfield, p: Phantom = phantom) -> float:
            # The rim mixes with the neighbours, so what is judged is the inside, where a structure has one.
            where = mask(p, name)
            inside = ndimage.binary_erosion(where)
            return float(np.median(values[inside if inside.any() else where]))

        assert hounsfield.dtype == np.int16
        assert median("left lung") < -500
        assert median("right lung") < -500
        assert median("trachea") < -700
        assert -140 < median("subcutaneous fat") < -60
        for name in ("liver", "spleen", "muscle", "left psoas"):
            assert 15 < median(name) < 260, name
        for name in ("left hip bone", "vertebrae", "left femur"):
            assert median(name) > 120, name
        corner = hounsfield[:, :4, :4]
        assert np.median(corner) < -950
    for phantom in heads:
        assert np.median(phantom.scan.hounsfield[mask(phantom, "mandible")]) > 300
        assert np.median(phantom.scan.hounsfield[mask(phantom, "teeth")]) > 800
        assert 10 < np.median(phantom.scan.hounsfield[mask(phantom, "brain")]) < 60


def test_the_cord_lies_in_the_spine_and_the_kidneys_inside_the_body(torsos: list[Phantom]) -> None:
    for phantom in torsos:
        cord, bone = mask(phantom, "spinal cord"), mask(phantom, "vertebrae") | mask(phantom, "intervertebral discs")
        levels = np.flatnonzero(cord.any(axis=(1, 2)))
        inside = 0
        for z in levels:
            rows, columns = np.nonzero(cord[z])
            y, x = int(rows.mean()), int(columns.mean())
            in_front = bone[z, max(0, y - 11) : y, x - 2 : x + 3].any()
            # The arches leave gaps between them, so the back of the canal is looked for some slices around.
            behind = bone[max(0, z - 4) : z + 5, y : y + 11, x - 2 : x + 3].any()
            inside += bool(in_front and behind)
        assert inside >= 0.95 * len(levels)
        body = ndimage.binary_fill_holes(phantom.scan.hounsfield > -300)
        depth = ndimage.distance_transform_edt(body, phantom.scan.geometry.spacing[::-1])
        for name in ("left kidney", "right kidney"):
            assert depth[mask(phantom, name)].min() > 9


def test_organs_are_of_one_piece(torsos: list[Phantom]) -> None:
    for phantom in torsos:
        for name in ("liver", "spleen", "left kidney", "right kidney", "left lung", "heart", "bladder", "pancreas"):
            pieces = np.sort(np.bincount(ndimage.label(mask(phantom, name), np.ones((3, 3, 3)))[0].ravel())[1:])
            assert pieces[-1] > 0.9 * pieces.sum(), (name, pieces)


@pytest.mark.parametrize("region", sorted(REGIONS))
def test_every_region_can_be_made(region: str) -> None:
    phantom = make_phantom(4, region, (8.0, 8.0, 8.0))
    assert phantom.scan.hounsfield.shape == phantom.labels.shape == phantom.scan.geometry.array_shape
    assert phantom.labels.dtype == np.uint16
    assert len(phantom.structures) > 15


def test_size_and_spacing_are_exact_and_a_patch_agrees_with_the_whole() -> None:
    patch = make_phantom(5, "torso", (2.5, 3.0, 4.0), size=(50, 40, 30))
    assert patch.scan.geometry.size == (50, 40, 30)
    assert patch.scan.geometry.spacing == (2.5, 3.0, 4.0)
    whole = make_phantom(5, "torso", (4.0, 4.0, 4.0))
    # Every voxel of the patch is looked up in the whole scan of the same patient.
    index = np.stack(np.meshgrid(*(np.arange(n) for n in patch.scan.geometry.size), indexing="ij"), axis=-1)
    world = patch.scan.geometry.to_world(index.reshape(-1, 3))
    there = np.rint(whole.scan.geometry.to_index(world)).astype(int)
    ok = np.all((there >= 0) & (there < whole.scan.geometry.size), axis=1)
    x, y, z = there[ok].T
    own = patch.labels.transpose(2, 1, 0).reshape(-1)[ok]
    assert ok.mean() > 0.9
    assert (own == whole.labels[z, y, x]).mean() > 0.8


def test_oblique_scans_turn_the_grid_not_the_patient() -> None:
    straight = make_phantom(6, "abdomen", (5.0, 5.0, 5.0))
    oblique = make_phantom(6, "abdomen", (5.0, 5.0, 5.0), oblique=True)
    matrix = oblique.scan.geometry.direction_matrix
    assert np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(matrix) > 0.99
    assert np.abs(matrix - np.eye(3)).max() > 0.03
    for name in ("left kidney", "right kidney", "spleen"):
        # The deformation follows the grid's axes, so organs agree to some millimetres, not exactly.
        assert np.linalg.norm(centre_mm(straight, name) - centre_mm(oblique, name)) < 30, name


def test_coordinates_name_the_same_anatomy_in_every_patient() -> None:
    places = []
    for seed in (1, 2, 3):
        phantom = make_phantom(seed, "abdomen", (5.0, 5.0, 5.0), with_coordinates=True)
        assert phantom.coordinates is not None
        assert phantom.coordinates.dtype == np.float16
        assert phantom.coordinates.shape == (*phantom.labels.shape, 3)
        places.append(phantom.coordinates[mask(phantom, "left kidney")].astype(float).mean(axis=0))
        assert np.all(np.diff(phantom.coordinates[..., 2].astype(float).mean(axis=(1, 2))) > 0)
    assert np.ptp(places, axis=0).max() < 20


def test_randomised_appearance_keeps_the_labels() -> None:
    real = make_phantom(7, "chest", (5.0, 5.0, 5.0))
    wild = make_phantom(7, "chest", (5.0, 5.0, 5.0), appearance="randomised")
    assert np.array_equal(real.labels, wild.labels)
    assert np.abs(real.scan.hounsfield.astype(int) - wild.scan.hounsfield).mean() > 30


def test_published_labels_merge_the_bones(torsos: list[Phantom]) -> None:
    merged = published_labels(torsos[0].labels)
    assert merged.max() <= len(PUBLISHED_CLASSES)
    bones = mask(torsos[0], "vertebrae") | mask(torsos[0], "left femur") | mask(torsos[0], "sternum")
    assert np.all(merged[bones] == VALUES["bone"])
    assert np.array_equal(merged == VALUES["liver"], mask(torsos[0], "liver"))
    assert not merged[mask(torsos[0], "muscle")].any()


@pytest.mark.parametrize(
    ("arguments", "code"),
    [
        ({"region": "knee"}, "phantom-unknown-region"),
        ({"spacing_mm": (0.0, 1.0, 1.0)}, "phantom-bad-grid"),
        ({"size": (10, 10, 0)}, "phantom-bad-grid"),
        ({"appearance": "cartoon"}, "phantom-unknown-appearance"),
        ({"seed": -1}, "phantom-bad-seed"),
    ],
)
def test_bad_arguments_are_named(arguments: dict, code: str) -> None:
    with pytest.raises(InputError) as caught:
        make_phantom(**{"seed": 1, **arguments})
    assert caught.value.code == code
