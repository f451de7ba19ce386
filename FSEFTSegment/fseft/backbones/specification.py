"""What a backbone is: everything needed to run it and to know where it came from."""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from fseft.errors import BackboneError

#: What a backbone may be called: it names a folder.
IDENTIFIER = r"[a-z0-9][a-z0-9._-]{0,63}"
IDENTIFIER_WORDS = "lower-case letters, digits, dots, hyphens and underscores"


@dataclass(frozen=True)
class FeatureLevel:
    """One decoder level a backbone offers.

    Attributes:
        stride: network voxels per feature voxel along each axis; 1 is full resolution.
        channels: features per voxel.
    """

    stride: int
    channels: int


@dataclass(frozen=True)
class BackboneSpecification:
    """A backbone's contract with the rest of the engine.

    Attributes:
        id: short identifier, also the folder's name.
        title: one line for people.
        architecture: a name known to :mod:`fseft.backbones.networks`.
        architecture_parameters: keyword arguments of that network.
        spacing_mm: network grid spacing along right, anterior, superior.
        windows_hu: one (low, high) HU window per input channel, each mapped to 0..1 and clipped.
        patch: network voxels of one forward pass, a multiple of every stride.
        overlap: fraction two neighbouring windows share.
        window_multiple: windows may shrink to multiples of this on small scans; 0 pads them to a whole patch.
        antialias: average when the network grid is coarser than the scan (the published ones sample linearly).
        levels: what ``features`` returns, finest first.
        classes: pretraining classes, one head row each.
        source, licence, citation: where the weights come from and on what terms.
        weights_sha256: digest of ``weights.safetensors``; also the identity that adapted models refer to.
        download: ``{"url", "sha256", "bytes"}`` of a foreign weight file, for backbones that are not bundled.
    """

    id: str
    title: str
    architecture: str
    architecture_parameters: dict[str, Any]
    spacing_mm: tuple[float, float, float]
    windows_hu: tuple[tuple[float, float], ...]
    patch: tuple[int, int, int]
    levels: tuple[FeatureLevel, ...]
    classes: tuple[str, ...]
    overlap: float = 0.25
    window_multiple: int = 0
    antialias: bool = False
    source: str = ""
    licence: str = ""
    citation: str = ""
    weights_sha256: str = ""
    download: dict[str, Any] = field(default_factory=dict)

    @property
    def largest_stride(self) -> int:
        """The coarsest level's stride: windows start at its multiples."""
        return max(level.stride for level in self.levels)

    @property
    def bytes_per_voxel(self) -> float:
        """Bytes of a half-precision feature volume per network voxel, all levels together."""
        return sum(2 * level.channels / level.stride**3 for level in self.levels)

    def to_json(self) -> dict[str, Any]:
        """A JSON-ready dictionary, read back by :meth:`from_json`."""
        return {"format": "fseft-backbone", "version": 1, **dataclasses.asdict(self)}

    @classmethod
    def from_json(cls, content: dict[str, Any]) -> BackboneSpecification:
        """Parse a specification.

        Raises:
            BackboneError: "backbone-specification-invalid" when it is not one.
        """
        try:
            if content["format"] != "fseft-backbone" or content["version"] != 1:
                raise ValueError(f"format {content['format']!r} version {content['version']!r}")
            fields = {f.name for f in dataclasses.fields(cls)}
            values = {key: value for key, value in content.items() if key in fields}
            values["spacing_mm"] = tuple(float(s) for s in values["spacing_mm"])
            values["patch"] = tuple(int(n) for n in values["patch"])
            values["windows_hu"] = tuple((float(low), float(high)) for low, high in values["windows_hu"])
            values["levels"] = tuple(FeatureLevel(int(v["stride"]), int(v["channels"])) for v in values["levels"])
            values["classes"] = tuple(str(name) for name in values["classes"])
            return cls(**values)
        except (KeyError, TypeError, ValueError) as problem:
            raise BackboneError(
                "backbone-specification-invalid",
                f"The backbone's specification cannot be read: {problem}.",
                "Import the backbone again from its original file.",
            ) from problem

    @classmethod
    def read(cls, path: Path) -> BackboneSpecification:
        """Read ``specification.json``.

        Raises:
            BackboneError: when it is missing or malformed.
        """
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError) as problem:
            raise BackboneError(
                "backbone-specification-invalid",
                f"The backbone's specification {path.name} cannot be read: {problem}.",
                "Import the backbone again from its original file.",
            ) from problem
        return cls.from_json(content)
