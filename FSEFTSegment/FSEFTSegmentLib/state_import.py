"""A scene loaded into the open one: its structures, cases and results join those that are there.

Slicer keeps one parameter node of a module and lets the loaded scene's take its place, with all that it says; what
the open scene said is therefore kept before and put back after.
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass

from FSEFTSegmentLib.state import ModuleState


@dataclass(frozen=True)
class KeptState:
    """What the parameter node said.

    Attributes:
        parameters: by name.
        references: node identifiers by role.
    """

    parameters: dict[str, str]
    references: dict[str, str]

    @property
    def is_empty(self) -> bool:
        """True where there was no work to keep."""
        return all(self.parameters.get(name, "[]") == "[]" for name in ("structures", "cases", "results"))


def keep_state(state: ModuleState) -> KeptState:
    """What the parameter node says now."""
    node = state.node
    roles = [node.GetNthNodeReferenceRole(n) for n in range(node.GetNumberOfNodeReferenceRoles())]
    references = {role: node.GetNodeReferenceID(role) for role in roles}
    return KeptState(
        {name: node.GetParameter(name) for name in node.GetParameterNames()},
        {role: identifier for role, identifier in references.items() if identifier},
    )


def join_imported(state: ModuleState, kept: KeptState) -> bool:
    """Put back what was kept, and add what came with the loaded scene.

    Into a scene without work the loaded one comes as it was saved. Otherwise a structure that is there already by name
    stays as it is, and a new one gets a label value of its own, since labels go by name everywhere in the scene.

    Returns:
        Whether anything came; a scene without this module's state changes nothing.
    """
    if keep_state(state) == kept:
        return False
    if kept.is_empty:
        return True
    structures = state.structures
    cases = [(case, state.scan(case), state.annotation(case)) for case in state.cases]
    results = [(r, *(state.result_node(r, role) for role in ("scan", "result", "before"))) for r in state.results]
    _put_back(state, kept)
    known = {structure.canonical for structure in state.structures}
    for structure in structures:
        if structure.canonical not in known:
            renumbered = dataclasses.replace(structure, value=state.highest_value + 1)
            state.set_structures((*state.structures, renumbered))
    for case, volume, annotation in cases:
        added = state.add_case(volume, annotation)
        state.set_cases(tuple(dataclasses.replace(c, sparse=case.sparse) if c == added else c for c in state.cases))
    for result, volume, segmentation, before in results:
        state.add_result(volume, segmentation, before, result.model, result.report)
    return bool(structures or cases or results)


def _put_back(state: ModuleState, kept: KeptState) -> None:
    node, now = state.node, keep_state(state)
    for name in now.parameters.keys() - kept.parameters.keys():
        node.UnsetParameter(name)
    for name, value in kept.parameters.items():
        node.SetParameter(name, value)
    for role in now.references.keys() - kept.references.keys():
        node.SetNodeReferenceID(role, None)
    for role, identifier in kept.references.items():
        node.SetNodeReferenceID(role, identifier)
