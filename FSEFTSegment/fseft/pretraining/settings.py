"""What a pretraining run is: the network, the crops, the losses, the schedule."""

from __future__ import annotations

import dataclasses
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from fseft.backbones.specification import IDENTIFIER, IDENTIFIER_WORDS, BackboneSpecification, FeatureLevel
from fseft.errors import InputError
from fseft.setting_rules import Choice, ListOf, Number, Rule, Text, as_json, require

#: Stride of the compact U-Net's coarsest level; crops are multiples of it.
COARSEST_STRIDE = 16

Loss = Literal["points", "published"]

INVALID = "pretraining-setting-invalid"
_SHARE, _ANY, _MORE_THAN_NONE = Number(0, 1), Number(), Number(0, above=True)
_COUNT, _COUNT_OR_NONE = Number(1, whole=True), Number(0, whole=True)
_HU = Number(-math.inf)

_NETWORK_RULES: dict[str, Rule] = {
    "id": Text(IDENTIFIER, f"an identifier: {IDENTIFIER_WORDS}"),
    "title": Text(),
    "detail": _COUNT,
    "widths": ListOf(_COUNT, 4),
    "spacing_mm": ListOf(_MORE_THAN_NONE, 3),
    "windows_hu": ListOf(ListOf(_HU, 2, rising=True)),
    "patch": Number(COARSEST_STRIDE, whole=True, multiple=COARSEST_STRIDE),
}

_AUGMENTATION_RULES: dict[str, Rule] = {
    "largest_zoom": Number(1),
    **dict.fromkeys(("axis_zoom", "rotation", "foreground_jitter", "offset_hu", "noise_hu"), _ANY),
    **dict.fromkeys(("flip", "contrast", "gain", "thick", "noise", "phase", "cut"), _SHARE),
    "cut_voxels": ListOf(_COUNT_OR_NONE, 2, rising=True),
}

_RULES: dict[str, Rule] = {
    "loss": Choice(("points", "published")),
    "crop": Number(COARSEST_STRIDE, whole=True, multiple=COARSEST_STRIDE),
    **dict.fromkeys(("batch", "points", "report_steps"), _COUNT),
    **dict.fromkeys(
        ("foreground_points", "place_points", "least_positives", "warmup_steps", "seed"), _COUNT_OR_NONE
    ),
    **dict.fromkeys(("foreground_crops", "final_rate", "average", "freeze_normalisation_at"), _SHARE),
    **dict.fromkeys(
        ("dice_weight", "cross_entropy_weight", "tissue_weight", "cell_weight", "coordinate_weight", "level_weight",
         "contrast_weight", "boundary_weight", "weight_decay"),
        _ANY,
    ),
    **dict.fromkeys(("learning_rate", "clip", "checkpoint_minutes"), _MORE_THAN_NONE),
    "workers": Number(0, whole=True, optional=True),
    "minutes": Number(0, above=True, optional=True),
    "steps": Number(1, whole=True, optional=True),
}  # fmt: skip


@dataclass(frozen=True)
class NetworkSettings:
    """The backbone to train, a compact U-Net.

    Attributes:
        id: short identifier of the new backbone.
        title: one line for people.
        detail: channels at full resolution.
        widths: channels at strides 2, 4, 8, 16.
        spacing_mm: network grid along right, anterior, superior.
        windows_hu: (low, high) per input channel.
        patch: edge in voxels of one forward pass when the backbone is used (not of training crops).
    """

    id: str = "fseft-mini"
    title: str = "FSEFT mini: compact U-Net for CPUs"
    detail: int = 8
    widths: tuple[int, int, int, int] = (32, 64, 128, 192)
    spacing_mm: tuple[float, float, float] = (1.5, 1.5, 1.5)
    windows_hu: tuple[tuple[float, float], ...] = ((-160.0, 240.0), (-1000.0, 400.0), (0.0, 1500.0))
    patch: int = 96

    def __post_init__(self) -> None:
        require(self, _NETWORK_RULES, INVALID, "network.")

    def specification(self, classes: Sequence[str]) -> BackboneSpecification:
        """The specification of this network with one head row per class."""
        return BackboneSpecification(
            id=self.id,
            title=self.title,
            architecture="compact-unet",
            architecture_parameters={"detail": self.detail, "widths": list(self.widths)},
            spacing_mm=self.spacing_mm,
            windows_hu=self.windows_hu,
            patch=(self.patch,) * 3,
            levels=(
                FeatureLevel(1, self.detail),
                *(FeatureLevel(2 ** (depth + 1), width) for depth, width in enumerate(self.widths[:-1])),
            ),
            classes=tuple(classes),
            antialias=True,
            window_multiple=16,
            overlap=0.25,
        )


@dataclass(frozen=True)
class AugmentationSettings:
    """How a crop differs from the scan it comes from.

    Attributes:
        largest_zoom: crops are scaled by up to this factor either way (log-uniform).
        axis_zoom: standard deviation of a further log-zoom of each axis.
        rotation: standard deviation of the angle about each axis, radians.
        flip: chance of mirroring left and right; labels swap sides.
        foreground_jitter: standard deviation in voxels of a crop's centre around a structure's voxel.
        contrast: chance of bending the HU curve of everything denser than lung.
        gain, offset_hu: range of the gain's deviation from 1, and standard deviation of the offset.
        thick: chance of averaging over three voxels along one axis.
        noise, noise_hu: chance of noise, and its largest standard deviation.
        phase: chance of bringing labelled soft tissue to other grey values, see :mod:`fseft.pretraining.recolouring`.
        cut: chance that one side of the crop lies outside the scan.
        cut_voxels: smallest and largest number of voxels cut.
    """

    largest_zoom: float = 1.25
    axis_zoom: float = 0.04
    rotation: float = 0.12
    flip: float = 0.5
    foreground_jitter: float = 14.0
    contrast: float = 0.3
    gain: float = 0.07
    offset_hu: float = 15.0
    thick: float = 0.3
    noise: float = 0.7
    noise_hu: float = 35.0
    phase: float = 0.0
    cut: float = 0.12
    cut_voxels: tuple[int, int] = (8, 30)

    def __post_init__(self) -> None:
        require(self, _AUGMENTATION_RULES, INVALID, "augmentation.")


@dataclass(frozen=True)
class PretrainingSettings:
    """All numbers of a run; the defaults are those of the bundled backbone's first run.

    Attributes:
        network: the backbone.
        augmentation: variation of crops.
        loss: "points" (Dice and cross-entropy on sampled voxels with tissue, place and coordinate targets) or
            "published" (the masked soft Dice of the paper's section 3.1 on every voxel, nothing else).
        crop: edge of a training crop in network voxels, a multiple of 16.
        batch: crops of a step in each process.
        foreground_crops: share of crops centred near a labelled structure.
        points, foreground_points: voxels sampled anywhere in a crop, and more of them in labelled structures.
        place_points: of those, at most so many serve the place and coordinate targets.
        least_positives: sampled voxels that a class needs in a crop to have a Dice term.
        dice_weight, cross_entropy_weight, tissue_weight, cell_weight, coordinate_weight: of the loss terms.
        level_weight: of the class terms that every feature level is given alone (deep supervision); 0 leaves them out.
        contrast_weight: of finding voxels again in another appearance of their crop; 0 makes no second appearance.
        boundary_weight: of the distance to the surfaces of known classes; 0 leaves it out.
        learning_rate: peak of AdamW; ``final_rate`` is the share of it left at the end of the cosine.
        warmup_steps: linear warm-up.
        weight_decay: of AdamW.
        clip: largest gradient norm.
        average: decay of the exponential moving average of the weights, which is what is exported.
        freeze_normalisation_at: fraction of the run after which batch normalisation keeps its statistics.
        minutes: wall-clock budget of training, or None.
        steps: step budget, or None; the first budget that is used up ends the run.
        seed: of weights, crops and phantoms.
        workers: processes that make crops on the CPU; 0 makes them in the training process, on its device; None, see
            :meth:`fseft.pretraining.distributed.Processes.crop_workers`.
        checkpoint_minutes: time between checkpoints.
        report_steps: steps between two reported means of the losses.
    """

    network: NetworkSettings = field(default_factory=NetworkSettings)
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    loss: Loss = "points"
    crop: int = 64
    batch: int = 2
    foreground_crops: float = 0.65
    points: int = 4000
    foreground_points: int = 2000
    place_points: int = 1500
    least_positives: int = 20
    dice_weight: float = 1.0
    cross_entropy_weight: float = 5.0
    tissue_weight: float = 0.3
    cell_weight: float = 0.3
    coordinate_weight: float = 1.0
    level_weight: float = 0.0
    contrast_weight: float = 0.0
    boundary_weight: float = 0.0
    learning_rate: float = 2e-3
    final_rate: float = 0.02
    warmup_steps: int = 100
    weight_decay: float = 1e-3
    clip: float = 2.0
    average: float = 0.998
    freeze_normalisation_at: float = 0.55
    minutes: float | None = 60.0
    steps: int | None = None
    seed: int = 0
    workers: int | None = None
    checkpoint_minutes: float = 4.0
    report_steps: int = 25

    def __post_init__(self) -> None:
        require(self, _RULES, INVALID)
        if self.minutes is None and self.steps is None:
            raise InputError("pretraining-endless", "Neither minutes nor steps are given.", "Give at least one budget.")
        if self.batch * (self.crop // COARSEST_STRIDE) ** 3 < 2:
            raise InputError(
                INVALID,
                f"One crop of {self.crop} voxels leaves a single value to normalise on the coarsest level.",
                "Give a larger crop, or a batch of 2 or more.",
            )
        if self.loss == "published" and (self.contrast_weight or self.boundary_weight or self.level_weight):
            raise InputError(
                INVALID,
                'The loss "published" has no further terms.',
                'Leave out level_weight, contrast_weight and boundary_weight, or choose the loss "points".',
            )

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary."""
        return dataclasses.asdict(self)

    def replace(self, **changes: object) -> PretrainingSettings:
        """A copy with some numbers changed."""
        return dataclasses.replace(self, **changes)  # type: ignore[arg-type]

    def with_overrides(self, values: dict[str, Any]) -> PretrainingSettings:
        """A copy with overrides of a JSON object; ``network`` and ``augmentation`` may be partial.

        Raises:
            InputError: "pretraining-setting-unknown", or "pretraining-setting-invalid".
        """
        return _overridden(self, values)


def _overridden(settings: Any, values: dict[str, Any], part: str = "") -> Any:
    changes: dict[str, Any] = {}
    for name, value in values.items():
        if name not in _names(settings):
            raise _unknown(part + name)
        current = getattr(settings, name)
        if not dataclasses.is_dataclass(current):
            changes[name] = _as_tuples(value)
        elif isinstance(value, dict):
            changes[name] = _overridden(current, value, f"{name}.")
        else:
            raise InputError(
                INVALID,
                f"The setting {name} cannot be {as_json(value)}.",
                f"It holds settings of its own: {', '.join(sorted(_names(current)))}.",
            )
    return dataclasses.replace(settings, **changes)


def _as_tuples(value: Any) -> Any:
    """A value of JSON, its lists as tuples."""
    return tuple(map(_as_tuples, value)) if isinstance(value, list) else value


def read_overrides(path: Path) -> dict[str, Any]:
    """Overrides from a JSON file.

    Raises:
        InputError: "pretraining-settings-unreadable".
    """
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise InputError(
            "pretraining-settings-unreadable", f"{path.name} cannot be read: {problem.strerror}.", "Check the path."
        ) from problem
    except ValueError as problem:
        raise InputError(
            "pretraining-settings-unreadable",
            f"{path.name} is no JSON: {problem}.",
            'Write, for example, {"crop": 64, "augmentation": {"phase": 0.5}}.',
        ) from problem
    if not isinstance(content, dict):
        raise InputError(
            "pretraining-settings-unreadable",
            f"{path.name} holds no settings.",
            "Give a JSON file with an object of settings.",
        )
    return content


def _names(settings: object) -> set[str]:
    return {f.name for f in dataclasses.fields(settings)}  # type: ignore[arg-type]


def _unknown(name: str) -> InputError:
    return InputError(
        "pretraining-setting-unknown",
        f"There is no setting {name!r}.",
        "pretraining.json of a finished run lists them all, with their values.",
    )
