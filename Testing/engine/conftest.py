"""Fixtures of the engine's tests: private folders, a tiny backbone, and small scans with known structures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from fseft.backbones.networks import build_network
from fseft.backbones.specification import BackboneSpecification, FeatureLevel
from fseft.backbones.weights import save_backbone
from fseft.compute import Compute
from fseft.features.cache import FeatureCache
from fseft.features.source import FeatureSource
from fseft.preprocessing.intensity import window
from fseft.scan.geometry import Geometry
from fseft.scan.scan import Scan
from fseft.structures import Structure

CPU = Compute(torch.device("cpu"), None)
STRUCTURES = (Structure("ball", 1), Structure("rod", 4))


@pytest.fixture(autouse=True)
def private_folders(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """No test reads or writes the user's own models, backbones or cache."""
    folder = tmp_path_factory.mktemp("home")
    monkeypatch.setenv("FSEFT_HOME", str(folder))
    monkeypatch.delenv("FSEFT_CACHE", raising=False)
    return folder


def tiny_specification(**changes: object) -> BackboneSpecification:
    """A compact U-Net small enough to run in milliseconds."""
    values: dict[str, object] = {
        "id": "tiny",
        "title": "Tiny backbone for tests",
        "architecture": "compact-unet",
        "architecture_parameters": {"detail": 4, "widths": [8, 8, 12, 12]},
        "spacing_mm": (3.0, 3.0, 3.0),
        "windows_hu": ((-160.0, 240.0), (-1000.0, 1000.0)),
        "patch": (48, 48, 48),
        "levels": (FeatureLevel(1, 4), FeatureLevel(2, 8), FeatureLevel(4, 8), FeatureLevel(8, 12)),
        "classes": ("liver", "ball"),
        "antialias": True,
        "window_multiple": 16,
    }
    return BackboneSpecification(**{**values, **changes})  # type: ignore[arg-type]


@pytest.fixture(scope="session")
def tiny_backbone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folder of a tiny backbone with random weights whose batch normalisation has seen data."""
    torch.manual_seed(0)
    network = build_network(tiny_specification())
    # Random weights; the normalisation sees scans, so that features have the scale of a trained backbone's.
    for module in network.modules():
        if isinstance(module, torch.nn.BatchNorm3d):
            module.momentum = None
    network.train()
    with torch.no_grad():
        for seed in range(100, 104):
            scan, _ = make_scan(seed, (48, 48, 32))
            hounsfield = torch.from_numpy(scan.hounsfield.transpose(2, 1, 0).astype(np.float32))
            network.features(window(hounsfield[None], network.specification.windows_hu))
    folder = tmp_path_factory.mktemp("backbones") / "tiny"
    save_backbone(network.eval(), folder)
    return folder


@pytest.fixture
def source(tiny_backbone: Path, private_folders: Path) -> FeatureSource:
    """Feature volumes under the tiny backbone, cached privately."""
    return FeatureSource(tiny_backbone, CPU, FeatureCache(private_folders / "features"))


def make_scan(
    seed: int = 0, size: tuple[int, int, int] = (40, 36, 30), spacing_mm: float = 3.0
) -> tuple[Scan, np.ndarray]:
    """A soft-tissue block with a bright ball at the patient's right and a dark rod at the left.

    Returns:
        The scan and its labels (z, y, x): 1 ball, 4 rod.
    """
    generator = np.random.default_rng(seed)
    nx, ny, nz = size
    geometry = Geometry(size, (spacing_mm,) * 3, (-50.0, -40.0, 10.0 * seed), (1.0, 0, 0, 0, 1.0, 0, 0, 0, 1.0))
    z, y, x = np.meshgrid(np.arange(nz), np.arange(ny), np.arange(nx), indexing="ij")
    hounsfield = np.full(geometry.array_shape, -1000.0)
    body = ((x - nx / 2) / (nx / 2 - 2)) ** 2 + ((y - ny / 2) / (ny / 2 - 2)) ** 2 < 1
    hounsfield[body] = 20.0
    centre = np.array([nx * 0.32, ny * 0.5, nz * 0.5]) + generator.uniform(-2, 2, 3)
    ball = (x - centre[0]) ** 2 + (y - centre[1]) ** 2 + (z - centre[2]) ** 2 < (5.5 + generator.uniform(0, 1)) ** 2
    rod = (x - nx * 0.7) ** 2 + (y - ny * 0.5) ** 2 < 9.5
    labels = np.zeros(geometry.array_shape, dtype=np.uint16)
    labels[rod], labels[ball] = 4, 1
    hounsfield[rod], hounsfield[ball] = -90.0, 160.0
    hounsfield += generator.normal(0, 8, hounsfield.shape)
    return Scan(np.rint(hounsfield).astype(np.int16), geometry, f"scan{seed}"), labels
