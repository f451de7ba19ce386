"""Crops made on a GPU, as far as a machine without one can tell."""

from __future__ import annotations

import dataclasses
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from fseft.backbones.weights import load_backbone
from fseft.compute import Compute
from fseft.pretraining import augmentation
from fseft.pretraining.distributed import Processes
from fseft.pretraining.loop import Trainer
from fseft.pretraining.sampling import Batch, CropSampler
from fseft.pretraining.settings import AugmentationSettings, PretrainingSettings
from pretend_device import PRETENDED, hear_this_thread, pretended_device
from pretraining_makers import TINY, tiny_pool

ALWAYS = AugmentationSettings(contrast=1.0, thick=1.0, noise=0.0, phase=1.0, cut=1.0, cut_voxels=(3, 6))
EVERYTHING = TINY.replace(augmentation=ALWAYS, contrast_weight=0.1, boundary_weight=0.1, place_points=50)


def fields(batch: Batch) -> dict[str, torch.Tensor]:
    return {field.name: getattr(batch, field.name) for field in dataclasses.fields(batch)}


@pytest.mark.parametrize("settings", [EVERYTHING, TINY.replace(loss="published")])
def test_crops_of_a_gpu_are_those_of_the_cpu(tmp_path: Path, settings: PretrainingSettings) -> None:
    pool = tiny_pool(tmp_path)
    here = [CropSampler(pool, settings).draw(number) for number in range(4)]
    with pretended_device() as device:
        sampler = CropSampler(pool, settings, device)
        there = [sampler.draw(number) for number in range(4)]
        for expected, found in zip(here, there, strict=True):
            for name, value in fields(found).items():
                assert value.device == PRETENDED, name
                assert torch.equal(value.cpu().nan_to_num(-99), fields(expected)[name].nan_to_num(-99)), name
    assert settings.loss == "published" or any(batch.located.any() for batch in here)


@pytest.mark.filterwarnings("ignore:.*Disabling autocast")  # as there is none on the pretended device
def test_training_with_crops_of_a_gpu(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = tiny_pool(tmp_path)
    settings = EVERYTHING.replace(steps=3, minutes=None, report_steps=1, workers=None)

    def losses(device: torch.device) -> list[float]:
        processes = Processes(0, 1, device)
        trainer = Trainer(pool, settings, Compute(device, None), processes, tmp_path / device.type)
        return [entry["loss"] for entry in trainer.run().progress.history]

    monkeypatch.setattr(Processes, "crop_workers", lambda _self, _asked: 0)
    here = losses(torch.device("cpu"))
    hearing = partial(ThreadPoolExecutor, initializer=hear_this_thread)
    monkeypatch.setattr("fseft.pretraining.sampling.ThreadPoolExecutor", hearing)
    with pretended_device() as device:
        assert losses(device) == pytest.approx(here, rel=1e-4)
    # What was learnt there can be used here.
    assert load_backbone(tmp_path / "cuda").specification.id == load_backbone(tmp_path / "cpu").specification.id


def test_noise_has_its_strength_and_repeats() -> None:
    noisy = AugmentationSettings(contrast=0, gain=0, offset_hu=0, thick=0, noise=1, noise_hu=50)
    flat = torch.zeros(24, 24, 24)
    found = [augmentation.vary_appearance(flat, noisy, np.random.default_rng(seed)) for seed in (*range(60), 0)]
    assert torch.equal(found[0], found[-1])
    assert not torch.equal(found[0], found[1])
    # Half of it white, half of it averaged over 27 voxels and tripled: 25 HU on the mean, or 25 * 3 / sqrt(27).
    assert float(torch.stack([one.std() for one in found]).mean()) == pytest.approx(20, abs=5)


def test_the_bent_curve_is_the_interpolated_one() -> None:
    volume = torch.linspace(-2000, 4000, 20**3).reshape(20, 20, 20)
    bent = augmentation._bend(volume, np.random.default_rng(4))
    curve = np.array(augmentation._CURVE_HU)
    shift = np.random.default_rng(4).normal(0, 40, len(curve)) * augmentation._CURVE_SHIFT
    expected = np.interp(volume.numpy(), curve, np.maximum.accumulate(curve + shift))
    np.testing.assert_allclose(bent.numpy(), expected, atol=0.01)
