"""Methods by name. A new method is one file and one line here."""

from __future__ import annotations

from dataclasses import dataclass

from fseft.adapters.adapter import Adapter
from fseft.adapters.linear_probe import LinearProbe
from fseft.adapters.mlp_adapter import MLPAdapter
from fseft.adapters.spatial_adapter import SpatialAdapter
from fseft.adapters.zero_shot import ZeroShot
from fseft.errors import InputError


@dataclass(frozen=True)
class Method:
    """A way to adapt.

    Attributes:
        name: as in commands and models.
        title: as in the interface.
        adapter: the network.
        learning_rate: the published one (paper, section 4.2); 0 trains nothing.
    """

    name: str
    title: str
    adapter: type[Adapter]
    learning_rate: float


METHODS: dict[str, Method] = {
    method.name: method
    for method in (
        Method("zero-shot", "Zero-shot (no training)", ZeroShot, 0.0),
        Method("linear-probe", "Linear probe", LinearProbe, 1e-2),
        Method("mlp-adapter", "MLP adapter", MLPAdapter, 1e-4),
        Method("spatial-adapter", "Spatial adapter", SpatialAdapter, 1e-4),
    )
}


def find_method(name: str, *others: str) -> Method:
    """The method of that name.

    Args:
        name: what was asked for.
        others: further names that the caller takes, for the hint.

    Raises:
        InputError: "method-unknown".
    """
    if name not in METHODS:
        known = ", ".join([*METHODS, *others])
        raise InputError("method-unknown", f"There is no method {name!r}.", f"Choose one of: {known}.")
    return METHODS[name]
