"""The pictures of the bundled backbone's model card.

    python Testing/benchmarks/card_pictures.py phantoms features overlays

* ``phantoms``: synthetic scans and their labels.
* ``features``: the frozen features of a real chest scan, three principal components of each level as red, green, blue.
* ``overlays``: reference, zero-shot and one annotated scan, on the first query of ``few_shot.py``.

They go to ``pictures`` beside the card. The last two need the real scans, whose licences the card names.
"""

from __future__ import annotations

import argparse
import io
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from few_shot_pool import POOL, all_structures, read_pool, score, supports  # puts the engine on the path
from fseft.adaptation.adapt import make_trained_adapter
from fseft.adaptation.settings import AdaptationSettings
from fseft.adaptation.support import make_support_case
from fseft.adapters.head import upsample
from fseft.adapters.initialisation import base_structures
from fseft.adapters.registry import METHODS
from fseft.backbones.library import find_backbone
from fseft.compute import choose_compute, use_threads
from fseft.features.source import FeatureSource
from fseft.features.volume import FeatureVolume
from fseft.files import replace_whole
from fseft.phantom.generator import Phantom, make_phantom
from fseft.report.drawing import new_figure, png_of
from fseft.report.overlay import SOFT_TISSUE_WINDOW_HU, draw_legend, draw_outline, draw_slice
from fseft.report.planes import PLANES, Plane, Standing, occupied, slice_of
from fseft.reporting import Reporter
from fseft.scan.reading import read_scan
from fseft.scan.scan import Scan
from fseft.segmentation.predict import predict_labels
from fseft.structures import Structure
from scipy.ndimage import binary_fill_holes

ROOT = Path(__file__).resolve().parents[2]
CHEST = ROOT / ".." / "shared" / "ct" / "torso" / "LIDC-IDRI-0001_ct.nii.gz"
CARD = ROOT / "Resources" / "Backbones" / "fseft-mini"
BACKGROUND, TEXT, FAINT = "#14161a", "#f0f0f0", "#9aa0aa"
AXIAL, CORONAL, SAGITTAL = PLANES
COLOURS, GREYS = 256, 72
_WIDTH = 11.3  # inches; seven structures fit in one line of the legend

#: Seed, region, appearance, plane and caption of the phantoms shown.
SAMPLES: tuple[tuple[int, str, str, Plane, str], ...] = (
    (7, "torso", "realistic", CORONAL, "torso"),
    (12, "torso", "realistic", CORONAL, "another patient"),
    (7, "torso", "randomised", CORONAL, "randomised look"),
    (5, "head-neck", "realistic", CORONAL, "head and neck"),
    (5, "head-neck", "realistic", SAGITTAL, "head and neck"),
)


def picture_of_phantoms() -> Any:
    """Each sample's scan above its labels."""
    views = [_phantom_view(*sample) for sample in SAMPLES]
    widths = [view[0].shape[1] / view[0].shape[0] for view in views]
    gap, head = 0.06, 0.4  # inches
    height = (_WIDTH - gap * (len(views) + 1)) / sum(widths)
    total = 2 * height + 2 * gap + head
    figure = new_figure(_WIDTH, total, BACKGROUND)
    grid = figure.add_gridspec(
        2, len(views), width_ratios=widths, left=gap / _WIDTH, right=1 - gap / _WIDTH, top=1 - head / total,
        bottom=gap / total, wspace=gap / (height * float(np.mean(widths))), hspace=gap / height,
    )  # fmt: skip
    for column, ((grey, colour), sample) in enumerate(zip(views, SAMPLES, strict=True)):
        for row, image in enumerate((grey, colour)):
            axes = figure.add_subplot(grid[row, column])
            axes.imshow(image, aspect="equal", interpolation="bilinear")
            axes.set_axis_off()
            if row == 0:
                axes.set_title(sample[4], color=TEXT, fontsize=10.5, pad=6)
    return figure


def _phantom_view(seed: int, region: str, appearance: Any, plane: Plane, _: str) -> tuple[np.ndarray, np.ndarray]:
    """A slice through most structures as grey and as coloured RGB images of equal height."""
    phantom = make_phantom(seed, region, (2.0, 2.0, 2.0), appearance=appearance)
    standing = Standing.of(phantom.scan.geometry)
    labels = standing.turn(phantom.labels)
    index = _richest(labels, plane)
    image = slice_of(standing.turn(phantom.scan.hounsfield), plane, index).astype(np.float32)
    marked = slice_of(labels, plane, index)
    box = occupied(image, marked > 0)
    image, marked = image[box], marked[box]
    low, high = SOFT_TISSUE_WINDOW_HU if appearance == "realistic" else tuple(np.percentile(image, (2, 99)))
    grey = np.repeat(np.clip((image - low) / (high - low), 0, 1)[..., None], 3, axis=-1)
    colours = _colours(phantom)[marked]
    coloured = np.where(marked[..., None] > 0, 0.78 * colours + 0.22 * grey, 0.45 * grey)
    return grey, coloured


def _richest(labels: np.ndarray, plane: Plane) -> int:
    """The slice of the middle half that shows most structures."""
    size = labels.shape[plane.normal]
    inner = range(size // 4, 3 * size // 4, 2)
    return max(inner, key=lambda index: len(np.unique(np.take(labels, index, axis=plane.normal))))


def _colours(phantom: Phantom) -> np.ndarray:
    """RGB by label value: quiet for fat and muscle, which are everywhere, bright for organs."""
    table = np.zeros((int(phantom.labels.max()) + 1, 3))
    quiet = {"subcutaneous fat": (0.30, 0.27, 0.18), "muscle": (0.42, 0.20, 0.18)}
    for structure in phantom.structures:
        table[structure.value] = quiet.get(structure.name, structure.color)
    return table


def picture_of_features(source: FeatureSource) -> Any:
    """CT and the principal components of every level, coronal and axial."""
    scan = read_scan(CHEST, name="chest")
    volume = source.features(scan)
    middle = [extent // 2 for extent in volume.grid.shape]
    hounsfield = volume.grid.to_network(scan.hounsfield, source.specification.antialias, -1024.0)
    shown = (1, middle[1]), (2, int(0.42 * volume.grid.shape[2]))
    coloured = [_principal(volume, level) for level in range(len(volume.levels))]
    height = [hounsfield.shape[2], hounsfield.shape[1]]
    width = _WIDTH
    column = width / (len(coloured) + 1)
    total = column * sum(height) / hounsfield.shape[0] + 0.55
    figure = new_figure(width, total, BACKGROUND)
    grid = figure.add_gridspec(
        2, len(coloured) + 1, height_ratios=height, left=0.005, right=0.995, top=1 - 0.45 / total, bottom=0.005,
        wspace=0.02, hspace=0.02,
    )  # fmt: skip
    low, high = -160.0, 240.0
    for row, (axis, index) in enumerate(shown):
        grey = np.clip((_slice(hounsfield, axis, index) - low) / (high - low), 0, 1)
        images = [np.repeat(grey[..., None], 3, axis=-1), *(_slice(rgb, axis, index) for rgb in coloured)]
        for number, image in enumerate(images):
            axes = figure.add_subplot(grid[row, number])
            axes.imshow(image, aspect="equal", interpolation="bilinear")
            axes.set_axis_off()
            if row == 0:
                level = volume.levels[number - 1]
                caption = "CT" if number == 0 else f"stride {level.stride}, {level.channels} channels"
                axes.set_title(caption, color=TEXT, fontsize=10.5, pad=6)
    return figure


def _principal(volume: FeatureVolume, level: int) -> np.ndarray:
    """(x, y, z, 3) red, green, blue of a level's three strongest principal components, dark outside the body."""
    stride, array = volume.levels[level].stride, volume.arrays[level]
    inside = volume.body[::stride, ::stride, ::stride][tuple(slice(0, n) for n in array.shape[1:])]
    flat = array.reshape(array.shape[0], -1)
    chosen = np.random.default_rng(0).choice(np.flatnonzero(inside.ravel()), 20000)
    sample = flat[:, chosen].astype(np.float32)
    mean, deviation = sample.mean(axis=1, keepdims=True), sample.std(axis=1, keepdims=True) + 1e-6
    _, vectors = np.linalg.eigh(np.cov((sample - mean) / deviation))
    strongest = vectors[:, ::-1][:, :3].T
    projected = strongest @ ((flat.astype(np.float32) - mean) / deviation)
    bounds = np.percentile(projected[:, chosen], (2, 98), axis=1)
    scaled = (projected - bounds[0][:, None]) / (bounds[1] - bounds[0])[:, None]
    raised = upsample(torch.from_numpy(scaled.reshape(3, *array.shape[1:]))[None].float(), stride)[0].numpy()
    rgb = np.clip(raised, 0, 1).transpose(1, 2, 3, 0)
    shown = np.stack([binary_fill_holes(plane) for plane in np.moveaxis(volume.body, 2, 0)], axis=2)  # lungs too
    return np.where(shown[..., None], rgb, 0.08).astype(np.float32)


def _slice(array: np.ndarray, axis: int, index: int) -> np.ndarray:
    """A slice of a network-grid array (right, anterior, superior): right on the left, front or head on top."""
    image = np.take(array, index, axis=axis).swapaxes(0, 1)
    return image[::-1, ::-1]


def picture_of_overlays(source: FeatureSource, queries: int = 4, pool_size: int = 6) -> Any:
    """Reference, zero-shot and one-shot outlines on the first query, with the Dice of each."""
    structures = all_structures()
    cases = list(read_pool(structures, queries + pool_size))
    compute = replace(source.compute, half=None)
    supporting = [_Case(*pair) for pair in cases[:pool_size]]
    ((_, chosen),) = supports(supporting, 1, [0])
    support = [make_support_case("support", source.features(c.scan), c.annotation, structures) for c in chosen]
    query = _Case(*cases[pool_size])
    features = source.features(query.scan)
    reference = np.zeros(query.annotation.labels.shape, dtype=np.uint8)
    for number, structure in enumerate(structures, start=1):
        for known in query.annotation.structures:
            if known.name == structure.name:
                reference[query.annotation.labels == known.value] = number
    columns: list[tuple[str, np.ndarray]] = [("reference", reference)]
    base = list(base_structures(structures, source.specification))
    for title, method, learnt, cases_used in (
        ("zero-shot (base structures)", "zero-shot", base, []),
        ("one annotated scan", "linear-probe", list(structures), support),
    ):
        adapter, _ = make_trained_adapter(
            METHODS[method], learnt, cases_used, source, AdaptationSettings(), compute, Reporter()
        )
        found = predict_labels(adapter, features, compute)
        dice = np.mean([value[0] for value in score(query, found, learnt).values()])
        numbers = np.array([0, *(list(structures).index(s) + 1 for s in learnt)], dtype=np.uint8)
        columns.append((f"{title}, Dice {dice:.2f}", numbers[found]))
    return _outlined(query.scan, columns, _numbered(structures))


class _Case:
    """A patient of the pool."""

    def __init__(self, scan: Scan, annotation: Any) -> None:
        self.scan, self.annotation = scan, annotation


def _numbered(structures: Sequence[Structure]) -> list[Structure]:
    """The structures by their output number, in colours that can be told apart."""
    colours = ("#ff6b6b", "#ffd166", "#06d6a0", "#4cc9f0", "#c77dff", "#ff9f1c", "#ff4fa3")
    names = {"SpinalCord": "spinal cord", "RightParotid": "right parotid", "LeftParotid": "left parotid",
             "Brainstem": "brain stem", "Esophagus": "oesophagus"}  # fmt: skip
    numbered = []
    for number, (structure, colour) in enumerate(zip(structures, colours, strict=False), start=1):
        red, green, blue = (int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5))
        name = names.get(structure.name, structure.name.lower())
        numbered.append(replace(structure, name=name, value=number, color=(red, green, blue)))
    return numbered


def _outlined(scan: Scan, columns: Sequence[tuple[str, np.ndarray]], structures: Sequence[Structure]) -> Any:
    standing = Standing.of(scan.geometry)
    image = standing.turn(scan.hounsfield)
    turned = [standing.turn(labels) for _, labels in columns]
    rows: list[tuple[np.ndarray, list[np.ndarray], tuple[float, float]]] = []
    for plane in (AXIAL, CORONAL):
        index = _richest(turned[0], plane)
        grey = slice_of(image, plane, index)
        marked = [slice_of(labels, plane, index) for labels in turned]
        box = _body_box(grey)
        grey = grey[box]
        rows.append((grey, [one[box] for one in marked], standing.extent_mm(plane, grey.shape)))
    width = _WIDTH
    heights = [width / len(columns) * size[1] / size[0] for _, _, size in rows]
    total = sum(heights) + 0.95
    figure = new_figure(width, total, BACKGROUND)
    grid = figure.add_gridspec(
        len(rows), len(columns), height_ratios=heights, left=0.005, right=0.995, top=1 - 0.4 / total,
        bottom=0.4 / total, wspace=0.02, hspace=0.02,
    )  # fmt: skip
    for row, (grey, marked, size) in enumerate(rows):
        for column, labels in enumerate(marked):
            axes = figure.add_subplot(grid[row, column])
            draw_slice(axes, grey, SOFT_TISSUE_WINDOW_HU, size)
            for structure in structures:
                draw_outline(axes, labels == structure.value, structure.color, size)
            if row == 0:
                axes.set_title(columns[column][0], color=TEXT, fontsize=10.5, pad=6)
    draw_legend(figure, structures, 0.0)
    return figure


def _body_box(grey: np.ndarray) -> tuple[slice, slice]:
    """Rows and columns of a slice that show anything, and three more on each side."""
    there = grey > -500
    spans = [np.flatnonzero(there.any(axis=axis)) for axis in (1, 0)]
    rows, columns = (slice(max(0, int(span[0]) - 3), int(span[-1]) + 4) for span in spans)
    return rows, columns


def write(figure: Any, path: Path, smooth: bool) -> None:
    """Write a picture with 256 colours, which keeps the file small.

    Args:
        figure: to write.
        path: of the PNG file.
        smooth: mix colours point by point, for gradients; else greys stay grey, other colours share what is left.
    """
    from PIL import Image

    picture = Image.open(io.BytesIO(png_of(figure))).convert("RGB")
    if smooth:
        palette = picture.quantize(COLOURS, method=Image.Quantize.MEDIANCUT)
    else:
        points = np.asarray(picture).reshape(1, -1, 3)
        coloured = points[:, np.ptp(points[0].astype(int), axis=1) > 14]
        colours = Image.fromarray(np.ascontiguousarray(coloured)).quantize(COLOURS - GREYS)
        entries = [
            *(round(255 * i / (GREYS - 1)) for i in range(GREYS) for _ in range(3)),
            *(colours.getpalette() or []),
        ]
        palette = Image.new("P", (1, 1))
        palette.putpalette(entries[: 3 * COLOURS])
    dither = Image.Dither.FLOYDSTEINBERG if smooth else Image.Dither.NONE
    picture = picture.quantize(palette=palette, dither=dither)
    with replace_whole(path) as partial:
        picture.save(partial, format="PNG", optimize=True)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB, {picture.size[0]} x {picture.size[1]}", flush=True)


def main() -> None:
    """Parse arguments, draw, write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pictures", nargs="+", choices=["phantoms", "features", "overlays"])
    parser.add_argument("--output", type=Path, default=CARD / "pictures")
    options = parser.parse_args()
    if not POOL.is_dir() and options.pictures != ["phantoms"]:
        sys.exit("Only the phantoms can be drawn without the real scans, which are not here.")
    use_threads()
    source = FeatureSource(find_backbone("fseft-mini"), choose_compute("cpu"))
    options.output.mkdir(parents=True, exist_ok=True)
    for name in options.pictures:
        if name == "phantoms":
            figure = picture_of_phantoms()
        else:
            figure = picture_of_features(source) if name == "features" else picture_of_overlays(source)
        write(figure, options.output / f"{name}.png", smooth=name == "features")


if __name__ == "__main__":
    main()
