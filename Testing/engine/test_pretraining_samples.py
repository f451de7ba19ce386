"""Class names, landmarks, crops and their targets."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from fseft.phantom import make_phantom
from fseft.pretraining.augmentation import Placement, draw_placement, resample_crop, vary_appearance
from fseft.pretraining.cases import open_case
from fseft.pretraining.class_map import class_of, classes_of, known_classes, mirrored, ordered_classes
from fseft.pretraining.landmarks import canonical_of_body, find_frame
from fseft.pretraining.sampling import CropSampler, stream
from fseft.pretraining.settings import AugmentationSettings
from fseft.pretraining.targets import CELLS, class_table, class_targets, draw_points, place_targets, smoothed_at
from pretraining_makers import NETWORK, STILL, TINY, tiny_pool
from scipy.ndimage import uniform_filter


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("vertebrae_L3", ("vertebrae", "bone")),
        ("rib_left_10", ("ribs", "bone")),
        ("left ribs", ("ribs", "bone")),
        ("hip_right", ("hip bone", "bone")),
        ("left femur", ("femur", "bone")),
        ("lung_upper_lobe_left", ("left lung",)),
        ("lung_middle_lobe_right", ("right lung",)),
        ("left lung", ("left lung",)),
        ("lung tumour", ("lung tumour",)),
        ("RightParotid", ("right parotid gland",)),
        ("SpinalCord", ("spinal cord",)),
        ("kidney_cyst_left", ("kidney cyst",)),
        ("kidney_left", ("left kidney",)),
        ("portal_vein_and_splenic_vein", ("portal and splenic vein",)),
        ("heart_myocardium", ("heart",)),
        ("mandible", ("mandible", "bone")),
    ],
)
def test_foreign_names(name: str, expected: tuple[str, ...]) -> None:
    assert classes_of(name) == expected


def test_a_whole_is_known_only_from_enough_of_its_parts() -> None:
    assert known_classes(["mandible", "liver"]) == {"mandible", "liver"}
    assert known_classes(["vertebrae_L1", "rib_left_1"]) == {"vertebrae", "ribs", "bone"}
    assert "bone" not in known_classes(["vertebrae_L1", "rib_left_1"], ["Mandible"])
    assert known_classes(["Brainstem"]) == {"brain stem"}
    assert known_classes(["brain", "Brainstem"]) == {"brain", "brain stem"}
    assert known_classes(["brain"], ["Brainstem"]) == frozenset()


def test_class_order_and_mirror() -> None:
    classes = ordered_classes(["zygoma", "left kidney", "bone", "right kidney", "aorta"])
    assert classes == ("right kidney", "left kidney", "aorta", "bone", "zygoma")
    assert mirrored(classes) == [1, 0, 2, 3, 4]


def test_frame_from_landmarks() -> None:
    right, left = np.array((130.0, 50.0, 70.0)), np.array((9.0, 60.0, 72.0))
    frame = find_frame({"right parotid gland": right, "left parotid gland": left})
    assert frame is not None
    assert frame.scale == pytest.approx(1.1)
    assert np.allclose(frame.canonical(torch.from_numpy((right + left) / 2)[None]), 0)
    one = find_frame({"brain stem": np.array((70.0, 40.0, 80.0)), "left parotid gland": left})
    assert one is not None
    assert one.origin_mm == (70.0, 60.0, 72.0)
    assert find_frame({"left parotid gland": left}) is None


def test_phantoms_share_the_canonical_frame() -> None:
    centres = []
    for seed in (1, 2):
        phantom = make_phantom(seed, "head-neck", (6.0, 6.0, 6.0), with_coordinates=True)
        assert phantom.coordinates is not None
        canonical = canonical_of_body(phantom.coordinates)
        values = {s.name: s.value for s in phantom.structures}
        right = canonical[phantom.labels == values["right parotid gland"]].mean(axis=0)
        left = canonical[phantom.labels == values["left parotid gland"]].mean(axis=0)
        centres.append((right + left) / 2)
        assert right[0] - left[0] == pytest.approx(110, abs=15)
    assert np.abs(np.array(centres)).max() < 6


def test_crops_without_variation_are_the_scan() -> None:
    rng = np.random.default_rng(0)
    hounsfield = rng.integers(-1000, 1000, (30, 28, 26)).astype(np.int16)
    labels = rng.integers(0, 4, hounsfield.shape).astype(np.uint8)
    centre = np.array((14.5, 12.5, 10.5))
    placement = draw_placement(centre, STILL, rng)
    volume, marked = resample_crop(hounsfield, labels, placement, 16)
    assert np.allclose(volume.numpy(), hounsfield[7:23, 5:21, 3:19], atol=0.05)
    assert np.array_equal(marked.numpy(), labels[7:23, 5:21, 3:19])
    assert np.allclose(placement.positions(torch.zeros(1, 3), 16), (7, 5, 3))
    flipped, _ = resample_crop(hounsfield, labels, Placement(centre, np.eye(3), True), 16)
    assert np.allclose(flipped.numpy(), volume.numpy()[::-1], atol=0.05)


def test_a_turned_crop_shows_what_lies_at_its_positions() -> None:
    """Voxels and positions are computed apart: a sampled voxel's target has to belong to what the network sees."""
    rng = np.random.default_rng(1)
    x, y, z = np.meshgrid(*[np.arange(40)] * 3, indexing="ij")
    hounsfield = (3 * x + 5 * y - 7 * z).astype(np.int16)  # linear: sampling it linearly is exact
    labels = (x // 20 + 2 * (y // 20) + 4 * (z // 20)).astype(np.uint8)
    varied = AugmentationSettings(flip=1.0, rotation=0.2)
    placement = draw_placement(np.array((20.0, 18.0, 21.0)), varied, rng)
    assert placement.mirrored
    volume, marked = resample_crop(hounsfield, labels, placement, 16)
    voxels = rng.integers(0, 16, (200, 3))
    positions = placement.positions(torch.from_numpy(voxels), 16).numpy()
    assert np.allclose(volume.numpy()[tuple(voxels.T)], positions @ (3.0, 5.0, -7.0), atol=0.1)
    inside = (np.abs(positions % 1 - 0.5) > 0.05).all(axis=1)  # rounding at half a voxel may go either way
    at = np.rint(positions[inside]).astype(int)
    assert np.array_equal(marked.numpy()[tuple(voxels[inside].T)], labels[tuple(at.T)])


def test_smoothing_at_points_is_the_average_of_their_neighbours() -> None:
    volume = torch.from_numpy(np.random.default_rng(2).normal(0, 100, (7, 8, 9)).astype(np.float32))
    expected = torch.from_numpy(uniform_filter(volume.numpy().astype(np.float64), 3, mode="nearest")).float()
    assert torch.allclose(smoothed_at(volume, torch.arange(volume.numel())), expected.reshape(-1), atol=1e-3)


def test_crops_beyond_the_scan_hold_air_and_background() -> None:
    hounsfield, labels = np.full((20, 20, 20), 40, np.int16), np.ones((20, 20, 20), np.uint8)
    volume, marked = resample_crop(hounsfield, labels, Placement(np.array((0.0, 10, 10)), np.eye(3), False), 16)
    assert float(volume[:7].max()) == -1024.0
    assert int(marked[:7].max()) == 0
    assert float(volume[9:].min()) == pytest.approx(40, abs=0.01)
    far, empty = resample_crop(hounsfield, labels, Placement(np.array((99.0, 99, 99)), np.eye(3), False), 16)
    assert float(far.max()) == -1024.0
    assert not empty.any()


def test_appearance_changes_and_stays_finite() -> None:
    volume = torch.linspace(-1024, 2000, 16**3).reshape(16, 16, 16)
    always = AugmentationSettings(contrast=1.0, thick=1.0, noise=1.0)
    varied = vary_appearance(volume, always, np.random.default_rng(3))
    assert varied.shape == volume.shape
    assert bool(torch.isfinite(varied).all())
    assert float((varied - volume).abs().mean()) > 1
    still = dataclasses.replace(STILL, gain=0.0, offset_hu=0.0, thick=0.0)
    assert torch.equal(vary_appearance(volume, still, np.random.default_rng(3)), volume)


def test_point_weights_undo_the_surplus_of_labelled_voxels() -> None:
    labels = torch.zeros(16, 16, 16, dtype=torch.long)
    labels[:4, :4, :4], labels[8:, 8:, 8:] = 1, 4
    points, weights = draw_points(labels, 20000, 5000, np.random.default_rng(0))
    drawn = labels.reshape(-1)[points]
    for value, size in ((1, 64), (4, 512)):
        assert float(weights[drawn == value].sum() / weights.sum()) == pytest.approx(size / 4096, rel=0.15)
        # Beside what falls there by chance, a small structure gets as many voxels as a large one.
        assert int((drawn == value).sum()) == pytest.approx(2500 + 20000 * size / 4096, rel=0.1)
    _, plain = draw_points(torch.zeros_like(labels), 100, 50, np.random.default_rng(0))
    assert plain.tolist() == [1.0] * 150


def test_mirrored_targets_swap_sides(tmp_path: Path) -> None:
    pool = tiny_pool(tmp_path)
    assert pool.classes == ("left parotid gland", "right parotid gland")
    table = class_table(pool.groups[0][0], pool.classes)
    labels = torch.tensor([0, 1, 2])  # background, RightParotid, LeftParotid
    plain, known = class_targets(table, labels, False)
    assert plain.tolist() == [[False, False], [False, True], [True, False]]
    assert class_targets(table, labels, True)[0].tolist() == [[False, False], [True, False], [False, True]]
    assert known.all()


def test_places_are_around_the_landmarks(tmp_path: Path) -> None:
    case = tiny_pool(tmp_path).groups[0][0]
    arrays = open_case(case)
    assert case.frame is not None
    origin = np.array(case.frame.origin_mm) / NETWORK.spacing_mm[0]
    ahead = np.array((1.0, 0.0, 0.0))
    positions = torch.from_numpy(np.stack([origin, origin + 5 * ahead, origin + 200 * ahead, origin])).float()
    smoothed = torch.tensor([40.0, 40.0, 40.0, -1000.0])
    place = place_targets(case, arrays, positions, smoothed, False, 100, np.random.default_rng(0))
    assert place.located.tolist() == [True, True, False, False]
    expected = 15.0 / case.frame.scale / 50.0
    assert float(place.coordinates[1, 0]) == pytest.approx(expected, abs=1e-4)
    assert place.cells[0] >= 0
    assert place.cells.max() < CELLS
    assert place.cells[2:].tolist() == [-1, -1]
    turned = place_targets(case, arrays, positions, smoothed, True, 100, np.random.default_rng(0))
    assert float(turned.coordinates[1, 0]) == pytest.approx(-expected, abs=1e-4)
    assert int(place_targets(case, arrays, positions, smoothed, False, 1, np.random.default_rng(0)).located.sum()) == 1


def test_crops_repeat_and_travel(tmp_path: Path) -> None:
    sampler = CropSampler(tiny_pool(tmp_path), TINY)
    first, other = sampler.draw(5), sampler.draw(6)
    again = pickle.loads(pickle.dumps(sampler)).draw(5)  # as workers receive it
    for field in dataclasses.fields(first):
        assert torch.equal(getattr(first, field.name), getattr(again, field.name)), field.name
    assert not torch.equal(first.windowed, other.windowed)
    assert first.windowed.shape == (1, 2, 16, 16, 16)
    assert first.positive.shape == (1, 400, 2)


def test_streams_of_two_processes_are_one_stream(tmp_path: Path) -> None:
    sampler = CropSampler(tiny_pool(tmp_path), TINY)
    whole = next(stream(sampler, 4, first=2))
    halves = [next(stream(sampler, 2, first=2, rank=rank, processes=2)) for rank in range(2)]
    assert torch.equal(whole.windowed, torch.cat([half.windowed for half in halves]))


def test_cut_voxels_teach_nothing(tmp_path: Path) -> None:
    cut = dataclasses.replace(STILL, cut=1.0, cut_voxels=(6, 8), offset_hu=0.0, gain=0.0, thick=0.0)
    crop = CropSampler(tiny_pool(tmp_path), TINY.replace(augmentation=cut)).draw(3)
    ignored = crop.weights[0] == 0
    assert ignored.any()
    air = crop.windowed[0, 1].reshape(-1)[crop.points[0]]
    assert float(air[ignored].max()) == 0.0
    assert not crop.located[0][ignored].any()
    assert (crop.cells[0][ignored] == -1).all()


def test_class_of_is_stable() -> None:
    for name in ("vertebrae", "bone", "left kidney", "gluteal muscle", "right lung"):
        assert class_of(name) == name
