"""Whether numbers of a run are what they have to be, asked before hours of work are based on them."""

from __future__ import annotations

import math
from typing import Any

from fseft.errors import InputError

#: Largest values of numbers that are not merely positive; shares and chances end at 1.
_SHARES = frozenset(
    (
        *("foreground_crops", "freeze_normalisation_at", "final_rate", "average"),
        *("flip", "contrast", "thick", "noise", "phase", "cut", "gain"),
    )
)
#: What has to be above zero; all other numbers may be zero.
_POSITIVE = frozenset(
    (
        "crop",
        "batch",
        "points",
        "report_steps",
        "learning_rate",
        "clip",
        "steps",
        "detail",
        "patch",
        "checkpoint_minutes",
    )
)
#: Two numbers, the second one larger.
_RANGES = frozenset(("cut_voxels",))
#: What may be left out with null.
_OPTIONAL = frozenset(("minutes", "steps"))


def checked(name: str, value: Any, like: Any) -> Any:
    """A value of a settings file, lists as tuples.

    Args:
        name: of the setting.
        value: as JSON holds it.
        like: its default, whose type and shape it has to have.

    Raises:
        InputError: "pretraining-setting-invalid".
    """
    if value is None and name in _OPTIONAL:
        return None
    if isinstance(like, str):
        return value if isinstance(value, str) and value else _refuse(name, value, "a text")
    if isinstance(like, tuple):
        if not isinstance(value, (list, tuple)) or not value:
            return _refuse(name, value, "a list")
        # Windows are as many as one likes, everything else has as many entries as the default.
        if len(value) != len(like) and not isinstance(like[0], tuple):
            return _refuse(name, value, f"a list of {len(like)} numbers")
        if isinstance(like[0], tuple):
            return tuple(_range(name, entry) for entry in value)
        found = tuple(_number(name, entry, like[0], above_zero=True) for entry in value)
        if name in _RANGES and found[0] >= found[1]:
            return _refuse(name, value, "a smaller and a larger number")
        return found
    return _number(name, value, like, name in _POSITIVE)


def _range(name: str, value: Any) -> tuple[float, float]:
    if not isinstance(value, (list, tuple)) or len(value) != 2:
        return _refuse(name, value, "a list of pairs of a lower and a higher number")
    low, high = (_finite(name, entry) for entry in value)
    return (low, high) if low < high else _refuse(name, value, "a list of pairs of a lower and a higher number")


def _number(name: str, value: Any, like: Any, above_zero: bool) -> Any:
    # Minutes and steps have no number as default, or none at all.
    whole = isinstance(like, int) or name == "steps"
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return _refuse(name, value, "a whole number" if whole else "a number")
    if not math.isfinite(value) or value < 0 or (above_zero and value == 0):
        return _refuse(name, value, "a number above 0" if above_zero else "a number of at least 0")
    if name in _SHARES and value > 1:
        return _refuse(name, value, "a number from 0 to 1")
    return value


def _finite(name: str, value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        return _refuse(name, value, "a number")
    return float(value)


def _refuse(name: str, value: Any, wanted: str) -> Any:
    raise InputError(
        "pretraining-setting-invalid", f"The setting {name} cannot be {value!r}.", f"Give {wanted} instead."
    )
