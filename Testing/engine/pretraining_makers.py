"""A small run for the tests of pretraining: two scans, a tiny network, crops of 16 voxels."""

from __future__ import annotations

import json
from pathlib import Path

from conftest import make_scan
from fseft.pretraining.preparation import Pool, prepare
from fseft.pretraining.settings import AugmentationSettings, NetworkSettings, PretrainingSettings
from fseft.pretraining.sources import LabelledFolder
from fseft.scan.writing import write_labelmap, write_scan
from fseft.structures import Structure

NETWORK = NetworkSettings(
    id="tiny",
    title="Tiny",
    detail=2,
    widths=(4, 4, 4, 4),
    spacing_mm=(3.0, 3.0, 3.0),
    windows_hu=((-160.0, 240.0), (-1000.0, 1000.0)),
    patch=32,
)
TINY = PretrainingSettings(
    network=NETWORK,
    crop=16,
    batch=2,
    points=300,
    foreground_points=100,
    place_points=80,
    least_positives=5,
    warmup_steps=2,
    minutes=None,
    steps=3,
    workers=0,
    report_steps=1,
)
STILL = AugmentationSettings(largest_zoom=1.0, axis_zoom=0.0, rotation=0.0, flip=0.0, contrast=0.0, noise=0.0, cut=0.0)
LABELS = {"RightParotid": 1, "LeftParotid": 4}


def write_folder(folder: Path, count: int = 2, labels: dict[str, int] | None = None, **notes: object) -> Path:
    """Scans of a ball at the right (1) and a rod at the left (4) in the layout of labelled folders."""
    structures = (Structure("ball", 1), Structure("rod", 4))
    for seed in range(count):
        scan, drawn = make_scan(seed)
        write_scan(scan, folder / f"anna_{seed}_ct.nii.gz")
        write_labelmap(drawn, scan.geometry, folder / f"anna_{seed}_seg.nii.gz", structures)
        content = {"labels": LABELS if labels is None else labels, **notes}
        (folder / f"anna_{seed}.json").write_text(json.dumps(content), encoding="utf-8")
    return folder


def tiny_pool(folder: Path) -> Pool:
    """The prepared pool of :func:`write_folder`'s scans."""
    write_folder(folder / "scans")
    return prepare([LabelledFolder(folder / "scans")], NETWORK.specification(()), folder / "work")
