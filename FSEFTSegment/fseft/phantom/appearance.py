"""From tissues to Hounsfield units: contrast phase, texture, blur, noise and artefacts."""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy import ndimage

from fseft.phantom.deformation import Lattice
from fseft.phantom.frame import Draw, Patient
from fseft.phantom.tissues import TISSUE_IDS, TISSUES
from fseft.structures import without_side

Appearance = Literal["realistic", "randomised"]
Axes = tuple[np.ndarray, np.ndarray, np.ndarray]

_LOWEST, _HIGHEST = -1024, 3071
_AIR_LIKE = np.array([t.hounsfield < -300 for t in TISSUES])


def render(
    tissues: np.ndarray, axes_mm: Axes, spacing_mm: tuple[float, float, float], patient: Patient, appearance: Appearance
) -> np.ndarray:
    """Hounsfield units, (z, y, x) int16, of painted tissues.

    Args:
        tissues: (z, y, x) tissue numbers.
        axes_mm: positions along the grid's axes (x, y, z) relative to the body's origin; anchors the texture.
        spacing_mm: (x, y, z).
        patient: whose seed decides phase, noise and the rest.
        appearance: "realistic", or "randomised" far beyond what CT looks like.
    """
    draw = patient.draw(f"appearance {appearance}")
    means, textures = _tissue_values(draw)
    if appearance == "randomised":
        means, textures = randomise(means, textures, TISSUE_IDS["air"], draw)
    volume = scan(tissues, means, textures, axes_mm, spacing_mm, patient.fat_mm[1], appearance, draw)
    _add_streaks(volume, tissues, axes_mm, draw)
    if draw.chance(0.12):
        _cut_field_of_view(volume, draw)
    np.clip(volume, _LOWEST, _HIGHEST, out=volume)
    return np.rint(volume).astype(np.int16)


def scan(
    materials: np.ndarray,
    means: np.ndarray,
    textures: np.ndarray,
    axes_mm: Axes,
    spacing_mm: tuple[float, float, float],
    fat_mm: float,
    appearance: Appearance,
    draw: Draw,
) -> np.ndarray:
    """What a scanner makes of painted materials: texture, blur and noise; (z, y, x) float32 HU, not clipped.

    Args:
        materials: (z, y, x) numbers of materials.
        means, textures: HU of every material, and the standard deviation of its slow changes.
        axes_mm: positions along the grid's axes (x, y, z); anchors the texture.
        spacing_mm: (x, y, z).
        fat_mm: of the patient's front; large patients let less through.
        appearance: see :func:`render`.
        draw: random numbers.
    """
    volume = means[materials]
    grain = Lattice.random(draw.rng, draw.between(7, 11)).sample(axes_mm)
    grain *= textures[materials]
    volume += grain
    if appearance == "randomised":
        volume = _bend(volume, axes_mm, draw)
    volume = _blur(volume, spacing_mm, draw, appearance)
    volume += _noise(materials.shape, spacing_mm, fat_mm, draw, appearance)
    return volume


def _tissue_values(draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Mean HU and texture of every tissue in this scan."""
    phase = draw.rng.choice(["native", "arterial", "venous"], p=[0.3, 0.3, 0.4])
    dose = draw.between(0.75, 1.15)
    arterial = {"native": 0.0, "arterial": 1.0, "venous": 0.0}[phase] * dose
    venous = {"native": 0.0, "arterial": 0.15, "venous": 1.0}[phase] * dose
    arterial, venous = (draw.between(0.6, 1.0) * arterial, venous) if phase == "arterial" else (arterial, venous)
    calibration = draw.around(0, 3)
    by_pair: dict[str, float] = {}
    means = np.empty(len(TISSUES), dtype=np.float32)
    for i, t in enumerate(TISSUES):
        # The two sides of a pair are made of the same stuff and differ only a little.
        pair = without_side(t.name)
        shift = by_pair.setdefault(pair, draw.around(0, t.spread))
        means[i] = t.hounsfield + arterial * t.arterial + venous * t.venous + shift + draw.around(0, t.spread * 0.15)
    _swallow_contrast(means, draw)
    means[~_AIR_LIKE] += calibration
    textures = np.array([t.texture for t in TISSUES], dtype=np.float32) * draw.between(0.7, 1.4)
    return means, textures


def _swallow_contrast(means: np.ndarray, draw: Draw) -> None:
    """Sometimes the patient drank contrast medium."""
    if draw.chance(0.3):
        for name in ("stomach content", "small bowel content", "duodenum content"):
            means[TISSUE_IDS[name]] += draw.between(60, 260)


def randomise(means: np.ndarray, textures: np.ndarray, air: int, draw: Draw) -> tuple[np.ndarray, np.ndarray]:
    """Pull materials towards random values, so that only shapes remain to be learned from; ``air`` mostly stays."""
    share = 1.0 if draw.chance(0.4) else draw.between(0.4, 1.0)
    random = draw.rng.uniform(-1000, 1000, len(means)).astype(np.float32)
    mixed = (1 - share) * means + share * random
    if draw.chance(0.7):
        mixed[air] = means[air]
    scale = draw.rng.uniform(0.5, 6.0, len(means)).astype(np.float32)
    return mixed.astype(np.float32), np.minimum(textures * scale + 3, 150)


def _bend(volume: np.ndarray, axes_mm: Axes, draw: Draw) -> np.ndarray:
    """A random slow gradient and a random gamma curve."""
    gradient = Lattice.random(draw.rng, draw.between(120, 260)).sample(axes_mm)
    volume = volume + gradient * np.float32(draw.between(0, 120))
    gamma = np.float32(np.exp(draw.around(0, 0.3)))
    unit = np.clip((volume + 1024) / 2048, 0, 2)
    return (np.exp(gamma * np.log(np.maximum(unit, 1e-3))) * 2048 - 1024).astype(np.float32)


def _blur(volume: np.ndarray, spacing_mm: tuple[float, float, float], draw: Draw, appearance: Appearance) -> np.ndarray:
    """Partial volume and the scanner's sharpness."""
    wide = 1.4 if appearance == "realistic" else 2.4
    in_plane, through = draw.between(0.5, wide), draw.between(0.5, wide)
    for axis, (spacing, sigma) in enumerate(zip(reversed(spacing_mm), (through, in_plane, in_plane), strict=True)):
        volume = _smooth(volume, float(np.hypot(sigma / spacing, 0.38)), axis)
    return volume


def _smooth(volume: np.ndarray, sigma: float, axis: int) -> np.ndarray:
    reach = max(1, int(np.ceil(2.2 * sigma)))
    kernel = np.exp(-0.5 * (np.arange(-reach, reach + 1) / sigma) ** 2)
    return ndimage.correlate1d(volume, kernel / kernel.sum(), axis=axis, mode="nearest")


def _noise(
    shape: tuple[int, ...], spacing_mm: tuple[float, float, float], fat_mm: float, draw: Draw, appearance: Appearance
) -> np.ndarray:
    """Noise correlated as by a soft or a sharp reconstruction kernel."""
    strong = 14.0 if appearance == "realistic" else 60.0
    # Thick slices average noise away; large patients let less through.
    level = draw.between(4, strong) * (0.8 + fat_mm / 50) * np.sqrt(2.0 / max(min(spacing_mm[2], 6), 0.5))
    noise = draw.rng.standard_normal(shape, dtype=np.float32)
    for axis, spacing in ((1, spacing_mm[1]), (2, spacing_mm[0])):
        noise = _smooth(noise, float(np.clip(draw.between(0.5, 1.1) / spacing, 0.3, 1.5)), axis)
    sample = noise[:: max(1, shape[0] // 8)]
    noise *= np.float32(min(level, strong * 1.8) / max(float(sample.std()), 1e-6))
    return noise


def _add_streaks(volume: np.ndarray, tissues: np.ndarray, axes_mm: Axes, draw: Draw) -> None:
    """Rays from tooth fillings, and horizontal stripes through the shoulders of some patients."""
    metal = (TISSUE_IDS["tooth filling"], TISSUE_IDS["metal"])
    strength = draw.between(60, 320)
    shift = draw.between(0, np.pi)
    for z in range(tissues.shape[0]):
        hits = (tissues[z] == metal[0]) | (tissues[z] == metal[1])
        if not hits.any():
            continue
        rows, columns = np.nonzero(hits)
        dy = (axes_mm[1] - axes_mm[1][rows].mean())[:, None]
        dx = (axes_mm[0] - axes_mm[0][columns].mean())[None, :]
        angle, far = np.arctan2(dy, dx), np.hypot(dx, dy)
        rays = np.cos(7 * angle + shift) + 0.8 * np.cos(12 * angle + 2.3 * shift) + 0.6 * np.cos(23 * angle)
        rays *= np.minimum(1, len(rows) / 6) * strength * np.exp(-far / 45)
        volume[z] += np.where(tissues[z] != TISSUE_IDS["air"], rays, rays * 0.2).astype(np.float32)
    if draw.chance(0.4):
        amount = draw.between(8, 35)
        height = axes_mm[2]
        level = np.exp(-(((height - 245) / 22) ** 2)) + 0.5 * np.exp(-(((height + 285) / 25) ** 2))
        stripes = draw.rng.standard_normal(volume.shape[:2]).astype(np.float32) * (amount * level[:, None]).astype(
            np.float32
        )
        reach = np.exp(-((axes_mm[0] / 130) ** 2)).astype(np.float32)
        volume += stripes[:, :, None] * reach * (tissues != TISSUE_IDS["air"])


def _cut_field_of_view(volume: np.ndarray, draw: Draw) -> None:
    """Nothing is reconstructed outside a circle."""
    _, height, width = volume.shape
    y, x = np.ogrid[:height, :width]
    radius = draw.between(0.96, 1.08)
    outside = ((x - width / 2) / (width / 2)) ** 2 + ((y - height / 2) / (height / 2)) ** 2 > radius**2
    volume[:, outside] = _LOWEST
