"""What a setting may be, said once: to refuse a slip before hours of work are based on it, and to say what is right."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from fseft.errors import InputError


class Rule(Protocol):
    """What a value may be."""

    def holds(self, value: object) -> bool:
        """Whether a value is allowed."""

    def words(self) -> str:
        """The same for people, after "It is"."""


@dataclass(frozen=True)
class Number:
    """A finite number.

    Attributes:
        low, high: bounds; both are allowed themselves.
        above: the lower bound is not.
        whole: no fractions.
        multiple: of this number only.
        optional: or nothing, null in JSON.
    """

    low: float = 0.0
    high: float = math.inf
    above: bool = False
    whole: bool = False
    multiple: int = 1
    optional: bool = False

    def holds(self, value: object) -> bool:
        """Whether a value is allowed."""
        if value is None:
            return self.optional
        if isinstance(value, bool) or not isinstance(value, int if self.whole else (int, float)):
            return False
        if not math.isfinite(value) or not self.low <= value <= self.high or (self.above and value == self.low):
            return False
        return self.multiple == 1 or value % self.multiple == 0

    def words(self) -> str:
        """The same for people."""
        kind = "a whole number" if self.whole else "a number"
        if self.multiple > 1:
            kind = f"a multiple of {self.multiple}"
        bounds = ""
        if self.above:
            bounds = f" above {self.low:g}" + (f" and at most {self.high:g}" if math.isfinite(self.high) else "")
        elif math.isfinite(self.high):
            bounds = f" from {self.low:g} to {self.high:g}"
        elif math.isfinite(self.low):
            bounds = f" of at least {self.low:g}"
        return kind + bounds + (", or null" if self.optional else "")


@dataclass(frozen=True)
class Choice:
    """One of some words."""

    options: tuple[str, ...]

    def holds(self, value: object) -> bool:
        """Whether a value is allowed."""
        return isinstance(value, str) and value in self.options

    def words(self) -> str:
        """The same for people."""
        return " or ".join(self.options)


@dataclass(frozen=True)
class Text:
    """A text that is not empty.

    Attributes:
        pattern: what it has to look like, all of it.
        looks: the same for people.
    """

    pattern: str = r"(?s).*\S.*"
    looks: str = "a text"

    def holds(self, value: object) -> bool:
        """Whether a value is allowed."""
        return isinstance(value, str) and re.fullmatch(self.pattern, value) is not None

    def words(self) -> str:
        """The same for people."""
        return self.looks


@dataclass(frozen=True)
class ListOf:
    """Several values of one kind.

    Attributes:
        each: what every entry may be.
        length: how many; None: at least one.
        rising: every entry is larger than the one before.
    """

    each: Rule
    length: int | None = None
    rising: bool = False

    def holds(self, value: object) -> bool:
        """Whether a value is allowed."""
        if not isinstance(value, (list, tuple)) or not value or len(value) != (self.length or len(value)):
            return False
        if not all(self.each.holds(entry) for entry in value):
            return False
        return not self.rising or all(a < b for a, b in pairwise(value))

    def words(self) -> str:
        """The same for people."""
        count = "one or more entries" if self.length is None else f"{self.length} entries"
        order = ", each larger than the one before" if self.rising else ""
        return f"a list of {count}{order}, each of them {self.each.words()}"


def require(settings: object, rules: Mapping[str, Rule], code: str, part: str = "") -> None:
    """Refuse settings that cannot be.

    Args:
        settings: whose attributes are looked at.
        rules: by attribute.
        code: of the error.
        part: what comes before the names in words, such as "network.".

    Raises:
        InputError: with ``code``, for the first attribute that breaks its rule.
    """
    for name, rule in rules.items():
        value = getattr(settings, name)
        if not rule.holds(value):
            raise InputError(code, f"The setting {part}{name} cannot be {as_json(value)}.", f"It is {rule.words()}.")


def as_json(value: object) -> str:
    """A value as a settings file would have it, where it can."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError):
        return repr(value)
