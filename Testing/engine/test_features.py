"""The feature volume is what a sliding window would give, made once."""

from __future__ import annotations

import dataclasses
import errno
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CPU, make_scan, tiny_specification
from fseft.adapters.head import LinearHead
from fseft.backbones.networks import build_network
from fseft.backbones.networks.compact_unet import CompactUNetBackbone
from fseft.errors import Cancelled, ResourceError
from fseft.features import cache, extraction
from fseft.features.cache import FeatureCache
from fseft.features.extraction import extract_features
from fseft.features.source import FeatureSource
from fseft.preprocessing.body import BodyRegion
from fseft.preprocessing.intensity import AIR_HU, window
from fseft.reporting import Reporter
from fseft.scan.scan import Scan
from monai.inferers import sliding_window_inference


def whole_scan_is_body(scan: Scan) -> BodyRegion:
    shape = scan.hounsfield.shape
    return BodyRegion(np.ones(shape, dtype=bool), (1, 1, 1), (0, 0, 0), shape)


@pytest.mark.parametrize("size", [(40, 36, 30), (70, 52, 61), (33, 90, 20)])
def test_linear_probe_on_features_equals_sliding_window_of_backbone_and_probe(
    size: tuple[int, int, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(extraction, "find_body", whole_scan_is_body)
    torch.manual_seed(1)
    overlap = 1 / 3  # an interval of 32, which MONAI and we reach alike
    specification = dataclasses.replace(tiny_specification(), levels=tiny_specification().levels[:1], overlap=overlap)
    network = build_network(specification).eval()
    probe = LinearHead([4], [1], 3).eval()
    scan, _ = make_scan(1, size)
    volume = extract_features(network, scan, CPU)
    hounsfield = torch.from_numpy(volume.grid.to_network(scan.hounsfield, True, AIR_HU))
    windowed = window(hounsfield, specification.windows_hu)[None]
    with torch.inference_mode():
        ours = probe([level[None] for level in volume.crop((0, 0, 0), volume.grid.shape)])
        theirs = sliding_window_inference(
            windowed,
            tuple(min(48, n) for n in windowed.shape[2:]),
            1,
            lambda patch: probe(network.features(patch)[:1]),
            overlap=overlap,
            mode="gaussian",
        )
    spread = float(theirs.std())
    assert float((ours - theirs).abs().max()) < 4e-3 * max(1.0, spread)


def test_deeper_levels_are_blended_at_their_own_resolution() -> None:
    torch.manual_seed(2)
    network = build_network(tiny_specification()).eval()
    scan, _ = make_scan(1, (70, 52, 61))
    volume = extract_features(network, scan, CPU)
    for level, array in zip(volume.levels, volume.arrays, strict=True):
        assert array.shape == (level.channels, *(n // level.stride for n in volume.grid.shape))
        assert array.dtype == np.float16
        assert np.isfinite(array).all()
        assert float(array.astype(np.float32).std()) > 0


def test_features_at_points_equal_upsampled_features() -> None:
    torch.manual_seed(3)
    network = build_network(tiny_specification()).eval()
    volume = extract_features(network, make_scan(1)[0], CPU)
    points = np.stack([np.random.default_rng(0).integers(0, n, 50) for n in volume.grid.shape], axis=1)
    head = LinearHead([4, 8, 8, 12], [1, 2, 4, 8], 2)
    whole = head([level[None] for level in volume.crop((0, 0, 0), volume.grid.shape)])[0]
    weights = torch.cat([weight[:, :, 0, 0, 0] for weight in head.weights], dim=1)
    at_points = volume.at_points(points) @ weights.T + head.bias
    expected = whole[:, points[:, 0], points[:, 1], points[:, 2]].T
    assert torch.allclose(at_points, expected, atol=1e-3)


def test_crop_pads_with_zeros_beyond_the_volume() -> None:
    network = build_network(tiny_specification()).eval()
    volume = extract_features(network, make_scan(1)[0], CPU)
    inside = volume.crop((16, 16, 0), (16, 16, 16))
    padded = volume.crop((16, 16, 0), (16, 16, 16), context=2)
    for plain, wide in zip(inside, padded, strict=True):
        assert torch.equal(wide[:, 2:-2, 2:-2, 2:-2], plain)
        assert float(wide[..., :2].abs().max()) == 0.0


def test_windows_of_air_cost_no_forward_pass(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network(tiny_specification()).eval()
    scan, _ = make_scan(1)
    wide = np.full((30, 36, 120), -1000, dtype=np.int16)
    wide[:, :, :40] = scan.hounsfield
    geometry = dataclasses.replace(scan.geometry, size=(120, 36, 30))
    passes = []
    original = CompactUNetBackbone.features

    def counting(self: CompactUNetBackbone, patch: torch.Tensor) -> list[torch.Tensor]:
        passes.append(patch.shape)
        return original(self, patch)

    monkeypatch.setattr(CompactUNetBackbone, "features", counting)
    monkeypatch.setattr(extraction, "find_body", _left_third)
    extract_features(network, Scan(wide, geometry), CPU)
    with_body = len(passes)
    passes.clear()
    monkeypatch.setattr(extraction, "find_body", whole_scan_is_body)
    extract_features(network, Scan(wide, geometry), CPU)
    assert 0 < with_body < len(passes)


def _left_third(scan: Scan) -> BodyRegion:
    mask = np.zeros(scan.hounsfield.shape, dtype=bool)
    mask[:, :, :40] = True
    return BodyRegion(mask, (1, 1, 1), (0, 0, 0), mask.shape)


def test_same_scan_twice_runs_the_backbone_once(source: FeatureSource, monkeypatch: pytest.MonkeyPatch) -> None:
    passes = []
    original = CompactUNetBackbone.features

    def counting(self: CompactUNetBackbone, patch: torch.Tensor) -> list[torch.Tensor]:
        passes.append(1)
        return original(self, patch)

    monkeypatch.setattr(CompactUNetBackbone, "features", counting)
    scan, _ = make_scan(2)
    first = source.features(scan)
    count = len(passes)
    again = source.features(Scan(scan.hounsfield.copy(), scan.geometry, "another name"))
    assert count > 0
    assert len(passes) == count
    for one, other in zip(first.arrays, again.arrays, strict=True):
        assert np.array_equal(one, other)
    assert again.grid == first.grid
    assert np.array_equal(again.body, first.body)


def test_cache_is_bounded_clearable_and_can_be_switched_off(
    source: FeatureSource, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    volumes = [source.features(make_scan(seed)[0]) for seed in range(3)]
    entries = source.cache.entries()
    assert len(entries) == 3
    for age, entry in enumerate(reversed(entries)):
        meta = source.cache.folder / entry.key / "features.json"
        os.utime(meta, (time.time() - 100 * age, time.time() - 100 * age))
    oldest = entries[0].key
    room_for_two = FeatureCache(source.cache.folder, sum(e.nbytes for e in entries) - 1)
    assert room_for_two.shrink() > 0
    assert oldest not in {e.key for e in room_for_two.entries()}
    assert len(room_for_two.entries()) == 2
    assert source.cache.clear() > 0
    assert source.cache.entries() == []
    assert volumes[0].arrays[0].shape[0] == 4
    monkeypatch.setenv("FSEFT_CACHE", "off")
    off = FeatureSource(source.folder, CPU)
    off.features(make_scan(5)[0])
    assert off.cache.entries() == []


def test_cache_names_no_patient_and_no_file(source: FeatureSource) -> None:
    scan, _ = make_scan(3)
    source.features(Scan(scan.hounsfield, scan.geometry, "Doe^Jane"))
    for path in source.cache.folder.rglob("*"):
        assert "Doe" not in path.name
        if path.is_file():
            assert b"Doe" not in path.read_bytes()


def test_cancelling_leaves_no_feature_volume(source: FeatureSource) -> None:
    class Impatient(Reporter):
        def check_cancelled(self) -> None:
            raise Cancelled()

    with pytest.raises(Cancelled):
        source.features(make_scan(4)[0], Impatient())
    assert source.cache.entries() == []
    assert [p for p in source.cache.folder.iterdir() if not p.name.startswith(".")] == []


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"grid": 3, "levels": []}'])
def test_a_damaged_volume_is_computed_again(source: FeatureSource, private_folders: Path, content: str) -> None:
    scan, _ = make_scan()
    source.features(scan)
    (entry,) = (private_folders / "features").iterdir()
    (entry / "features.json").write_text(content, encoding="utf-8")
    assert source.features(scan).arrays
    assert len((entry / "features.json").read_text(encoding="utf-8")) > 100


def test_a_full_disk_is_told_before_it_is_written_to(
    source: FeatureSource, private_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The space of a volume is claimed at once: a write to a map of a full disk would end the process."""
    scan, _ = make_scan()

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(cache, "_reserve", full)
    with pytest.raises(ResourceError) as caught:
        source.features(scan)
    assert caught.value.code == "disk-full"
    assert "FSEFT_CACHE" in caught.value.hint
    assert list((private_folders / "features").iterdir()) == []
    monkeypatch.undo()
    path = private_folders / "claimed"
    with path.open("wb") as stream:
        stream.truncate(1 << 20)
    cache._reserve(path)
    assert path.stat().st_size == 1 << 20
    if hasattr(os, "posix_fallocate"):
        assert path.stat().st_blocks * 512 >= 1 << 20


def test_a_cache_that_is_emptied_meanwhile_is_told_as_that(
    source: FeatureSource, private_folders: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = cache.extract_features

    def emptied(*arguments: object) -> object:
        volume = original(*arguments)
        shutil.rmtree(private_folders / "features")
        return volume

    monkeypatch.setattr(cache, "extract_features", emptied)
    with pytest.raises(ResourceError) as caught:
        source.features(make_scan()[0])
    assert "was emptied meanwhile" in caught.value.message
    monkeypatch.undo()
    source.features(make_scan()[0])


def test_exhausted_memory_gives_way_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    network = build_network(tiny_specification()).eval()
    original = CompactUNetBackbone.features
    batches = []

    def hungry(self: CompactUNetBackbone, patch: torch.Tensor) -> list[torch.Tensor]:
        batches.append(len(patch))
        if len(patch) > 1:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2 GiB")
        return original(self, patch)

    class Listener(Reporter):
        def __init__(self) -> None:
            self.heard: list[str] = []

        def log(self, message: str, level: str = "info") -> None:
            self.heard.append(message)

    monkeypatch.setattr(CompactUNetBackbone, "features", hungry)
    monkeypatch.setattr(extraction, "CPU_BATCH", 4)
    listener = Listener()
    scan, _ = make_scan(1, (90, 52, 30))
    crowded = extract_features(network, scan, CPU, listener)
    monkeypatch.setattr(CompactUNetBackbone, "features", original)
    calm = extract_features(network, scan, CPU)
    assert max(batches) > 1
    assert listener.heard
    assert "memory" in listener.heard[0].lower()
    for one, other in zip(crowded.arrays, calm.arrays, strict=True):
        assert np.allclose(one.astype(np.float32), other.astype(np.float32), atol=1e-2)
