"""The network grid and exactly back: sides, sizes and voxels survive."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
from conftest import make_scan, tiny_specification
from fseft.backbones.specification import BackboneSpecification
from fseft.preprocessing.grid import NetworkGrid, make_grid
from fseft.preprocessing.resampling import linear_matrix, resample
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan

CT = Path(__file__).resolve().parents[2] / ".." / "shared" / "ct"
AT_1_5_MM = dataclasses.replace(tiny_specification(), spacing_mm=(1.5, 1.5, 1.5), patch=(96, 96, 96))


def orientations() -> list[tuple[tuple[int, ...], tuple[int, ...]]]:
    """The 24 proper axis orders and flips of a grid."""
    found = []
    for order in itertools.permutations(range(3)):
        for signs in itertools.product((1, -1), repeat=3):
            matrix = np.zeros((3, 3))
            for column, (row, sign) in enumerate(zip(order, signs, strict=True)):
                matrix[row, column] = sign
            if np.linalg.det(matrix) > 0:
                found.append((order, signs))
    return found


def reorient(scan: Scan, labels: np.ndarray, order: tuple[int, ...], signs: tuple[int, ...]) -> tuple[Scan, np.ndarray]:
    """The same patient stored with other index axes; each voxel keeps its place in the world."""
    old = scan.geometry
    direction = np.zeros((3, 3))
    first = np.zeros(3)
    for new_axis, (old_axis, sign) in enumerate(zip(order, signs, strict=True)):
        direction[:, new_axis] = sign * old.direction_matrix[:, old_axis]
        first[old_axis] = 0 if sign > 0 else old.size[old_axis] - 1
    geometry = Geometry(
        tuple(old.size[a] for a in order),  # type: ignore[arg-type]
        tuple(old.spacing[a] for a in order),  # type: ignore[arg-type]
        tuple(old.to_world(first[None])[0]),  # type: ignore[arg-type]
        tuple(direction.ravel()),  # type: ignore[arg-type]
    )

    def turn(array: np.ndarray) -> np.ndarray:
        xyz = array.transpose(2, 1, 0).transpose(order)
        return np.ascontiguousarray(np.flip(xyz, [a for a, s in enumerate(signs) if s < 0]).transpose(2, 1, 0))

    return Scan(turn(scan.hounsfield), geometry, scan.name), turn(labels)


def there_and_back(grid: NetworkGrid, labels: np.ndarray, values: tuple[int, ...]) -> np.ndarray:
    network = grid.labels_to_network(labels, values)
    result = np.zeros(labels.shape, dtype=np.uint16)
    for value in values:
        for where, slab in grid.to_scan_slabs((network == value).astype(np.float32)):
            result[where][np.broadcast_to(slab, result[where].shape) > 0.5] = value
    return result


def dice(a: np.ndarray, b: np.ndarray) -> float:
    return 2.0 * float((a & b).sum()) / float(a.sum() + b.sum())


def anisotropic_scan() -> tuple[Scan, np.ndarray]:
    scan, labels = make_scan(3, (44, 36, 30))
    geometry = dataclasses.replace(scan.geometry, spacing=(2.0, 2.5, 4.0))
    return Scan(scan.hounsfield, geometry, "anisotropic"), labels


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (2.0, 2.5, 4.0), (0.7, 0.9, 3.0)])
def test_labels_go_where_their_share_is_largest(spacing: tuple[float, float, float]) -> None:
    scan, labels = make_scan(3, (44, 36, 30))
    labels = labels.astype(np.uint16)
    labels[1, 1:4, 1:5] = 9  # a label that is not asked for, which is not background either
    scan = Scan(scan.hounsfield, dataclasses.replace(scan.geometry, spacing=spacing), scan.name)
    grid = make_grid(scan, tiny_specification())
    shares = np.stack([grid.to_network((labels == v).astype(np.float32), True, 0.0) for v in (1, 2)])
    others = np.maximum(0.0, 1.0 - grid.to_network((labels > 0).astype(np.float32), True, 0.0))
    expected = np.where(shares.max(axis=0) > others, shares.argmax(axis=0) + 1, 0)
    found = grid.labels_to_network(labels, (1, 2))
    assert (found > 0).any()
    assert (found != expected).mean() < 1e-4  # a tie may be rounded either way


def test_network_axes_point_right_front_up() -> None:
    scan, _ = make_scan(0)
    grid = make_grid(scan, tiny_specification())
    # make_scan is stored as LPS: x grows to the left, y to the back, z upwards.
    assert [axis.flipped for axis in grid.axes] == [True, True, False]
    assert [axis.scan_axis for axis in grid.axes] == [2, 1, 0]


@pytest.mark.parametrize(("order", "signs"), orientations())
def test_axis_orders_and_flips_give_the_same_network_volume(order: tuple[int, ...], signs: tuple[int, ...]) -> None:
    scan, labels = anisotropic_scan()
    turned, turned_labels = reorient(scan, labels, order, signs)
    plain, other = make_grid(scan, tiny_specification()), make_grid(turned, tiny_specification())
    assert plain.shape == other.shape
    ours = plain.to_network(scan.hounsfield, True, -1024)
    theirs = other.to_network(turned.hounsfield, True, -1024)
    assert np.abs(ours - theirs).max() < 0.5  # HU; nothing but the order of additions differs
    back = there_and_back(other, turned_labels, (1, 4))
    expected, _ = reorient(
        Scan(there_and_back(plain, labels, (1, 4)).astype(np.int16), scan.geometry), labels, order, signs
    )
    assert np.array_equal(back, expected.hounsfield)


@pytest.mark.parametrize("angle", [0.0, 0.2])
def test_equal_spacing_brings_every_voxel_back(angle: float) -> None:
    """At the network's own spacing the way there and back is the identity, oblique grids included."""
    scan, labels = make_scan(1, (60, 52, 50), spacing_mm=1.5)
    turn = np.array([[np.cos(angle), -np.sin(angle), 0], [np.sin(angle), np.cos(angle), 0], [0, 0, 1]])
    geometry = dataclasses.replace(scan.geometry, direction=tuple(turn.ravel()))
    grid = make_grid(Scan(scan.hounsfield, geometry), AT_1_5_MM)
    assert np.array_equal(there_and_back(grid, labels, (1, 4)), labels)


def test_real_labels_survive_at_1_5_mm() -> None:
    path = CT / "torso" / "ts_example_ct_seg.nii.gz"
    if not path.exists():
        pytest.skip("the development CT data is not on this machine")
    image = sitk.ReadImage(str(path))
    resampled = sitk.Resample(
        image, [n * 2 for n in image.GetSize()], sitk.Transform(), sitk.sitkNearestNeighbor, image.GetOrigin(),
        [s / 2 for s in image.GetSpacing()], image.GetDirection(), 0,
    )  # fmt: skip
    labels = sitk.GetArrayFromImage(resampled)
    assert resampled.GetSpacing() == pytest.approx((1.5, 1.5, 1.5))
    scan = Scan(np.full(labels.shape, 40, dtype=np.int16), Geometry.of_image(resampled))
    back = there_and_back(make_grid(scan, AT_1_5_MM), labels.astype(np.uint16), (1, 2, 5, 7, 11))
    for value in (1, 2, 5, 7, 11):
        assert dice(labels == value, back == value) >= 0.99


def test_sides_are_kept_on_every_voxel() -> None:
    """A structure at the patient's right comes back at the right whatever the storage order."""
    scan, labels = anisotropic_scan()
    for order, signs in orientations():
        turned, turned_labels = reorient(scan, labels, order, signs)
        back = there_and_back(make_grid(turned, tiny_specification()), turned_labels, (1, 4))
        x_of = []
        for value in (1, 4):
            index = np.argwhere(back == value)[:, ::-1]
            x_of.append(turned.geometry.to_world(index)[:, 0])
        assert x_of[0].max() < x_of[1].min()  # LPS: smaller x is the patient's right, where the ball is


def test_volume_in_ml_is_right_to_the_voxel() -> None:
    from fseft.segmentation.volumes import measure

    scan, labels = anisotropic_scan()
    sizes = measure(labels, (1, 4), scan.geometry)
    assert sizes[0].volume_ml == pytest.approx(int((labels == 1).sum()) * 2.0 * 2.5 * 4.0 / 1000)
    assert not sizes[0].cut_by_border
    assert sizes[1].cut_by_border  # the rod runs through the whole scan


def test_linear_matrix_averages_and_clamps() -> None:
    matrix = linear_matrix(np.array([-2.0, 0.5, 9.0]), 4)
    assert matrix.tolist() == [[1, 0, 0, 0], [0.5, 0.5, 0, 0], [0, 0, 0, 1]]
    wide = linear_matrix(np.array([3.0]), 8, support=2.0)
    assert wide[0, 2:5].tolist() == [0.25, 0.5, 0.25]


def test_resample_equals_the_dense_product() -> None:
    generator = np.random.default_rng(0)
    volume = generator.normal(size=(37, 9, 8)).astype(np.float32)
    matrices = tuple(generator.normal(size=(5, n)).astype(np.float32) for n in volume.shape)
    expected = np.einsum("az,by,cx,zyx->abc", *matrices, volume)
    assert np.allclose(resample(volume, matrices), expected, atol=1e-3)  # type: ignore[arg-type]


def test_windows_shrink_only_where_the_backbone_allows() -> None:
    scan, _ = make_scan(0, (40, 36, 12))
    flexible = make_grid(scan, tiny_specification())
    rigid: BackboneSpecification = dataclasses.replace(tiny_specification(), window_multiple=0)
    assert flexible.shape[2] == 16
    assert make_grid(scan, rigid).shape[2] == 48
