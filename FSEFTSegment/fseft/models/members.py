"""What a model's description must hold, member by member.

A checksum proves that nothing changed since the description was written, not that a friend wrote it: models come from
elsewhere as files, and one that is not what it should be must not keep the others from being listed. No torch here.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

Check = Callable[[Any], bool]


def wrong_member(content: Mapping[str, Any]) -> str | None:
    """The first member that is missing or of another kind than it should be, None when all are right."""
    for name, good in _REQUIRED.items():
        if not good(content.get(name)):
            return name
    for name, good in _OPTIONAL.items():
        if name in content and not good(content[name]):
            return name
    return None


def _text(value: Any) -> bool:
    return isinstance(value, str)


def _filled(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


def _count(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _object(value: Any) -> bool:
    return isinstance(value, dict)


def _numbers(value: Any) -> bool:
    return isinstance(value, list) and all(_number(entry) for entry in value)


def _digest(value: Any) -> bool:
    return isinstance(value, str) and len(value) == 64


def _structure(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and _filled(value.get("name"))
        and _count(value.get("value"))
        and 1 <= value["value"] <= 65535
        and _numbers(value.get("color"))
        and len(value["color"]) == 3
        and _text(value.get("terminology"))
    )


def _structures(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(_structure(entry) for entry in value)


def _prior(value: Any) -> bool:
    return (
        isinstance(value, dict)
        and all(_number(value.get(name)) for name in ("mean_ml", "low_ml", "high_ml"))
        and _text(value.get("source"))
        and _numbers(value.get("volumes_ml"))
        and len(value) == 5
    )


def _priors(value: Any) -> bool:
    return isinstance(value, dict) and all(_prior(entry) for entry in value.values())


def _quality(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("typicality", {}), dict)


def _validation(value: Any) -> bool:
    return isinstance(value, dict) and isinstance(value.get("calibration") or {}, dict)


_REQUIRED: dict[str, Check] = {
    "name": _filled,
    "structures": _structures,
    "method": _filled,
    "backbone": _filled,
    "backbone_sha256": _text,
    "shots": _count,
    "weights_sha256": _digest,
    "priors": _priors,
}
_OPTIONAL: dict[str, Check] = {
    "training": _object,
    "validation": _validation,
    "quality": _quality,
    "created": _text,
    "versions": _object,
}
