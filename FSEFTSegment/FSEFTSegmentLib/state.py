"""The module's state, kept in the scene: structures, support cases, choices and results.

One singleton parameter node holds it, so it is saved with the scene and restored with it. Nodes are held by node
references, which follow their nodes when a scene is loaded into another; the rest is JSON.
"""

from __future__ import annotations

import dataclasses
import json
from dataclasses import dataclass
from typing import Any

import slicer
from fseft.structures import Structure

MODULE = "FSEFTSegment"


@dataclass(frozen=True)
class Case:
    """A support case: its nodes are looked up by ``key``; ``sparse`` when only some slices are annotated."""

    key: int
    sparse: bool = False


@dataclass(frozen=True)
class Result:
    """A segmented scan: its nodes are looked up by ``key``; ``report`` is the worker's."""

    key: int
    model: str
    report: dict[str, Any]


def parameter_node(scene: Any) -> Any:
    """The module's singleton parameter node, made when it is not there."""
    node = scene.GetSingletonNode(MODULE, "vtkMRMLScriptedModuleNode")
    if node is None:
        node = slicer.vtkMRMLScriptedModuleNode()
        node.SetSingletonTag(MODULE)
        node.SetModuleName(MODULE)
        node.SetName(MODULE)
        node.UndoEnabledOn()  # what it says of other nodes goes and comes with them
        node = scene.AddNode(node)
    return node


class ModuleState:
    """Reads and writes the parameter node.

    Args:
        scene: the scene; its parameter node is looked up anew each time, since closing a scene replaces it.
    """

    def __init__(self, scene: Any) -> None:
        self.scene = scene

    @property
    def node(self) -> Any:
        """The parameter node."""
        return parameter_node(self.scene)

    # Structures

    @property
    def structures(self) -> tuple[Structure, ...]:
        """The support set's structures in order."""
        return tuple(
            Structure(s["name"], s["value"], tuple(s["color"]), s["terminology"]) for s in self._json("structures", [])
        )

    def set_structures(self, structures: tuple[Structure, ...]) -> None:
        """Replace the structures; the highest value ever used is remembered, so that values are never reused."""
        highest = max([self.highest_value, *(structure.value for structure in structures)])
        self._set_json("structures", [dataclasses.asdict(structure) for structure in structures])
        self._set_json("highest_value", highest)

    @property
    def highest_value(self) -> int:
        """The highest label value given to a structure so far."""
        return int(self._json("highest_value", 0))

    def is_color_chosen(self, value: int) -> bool:
        """Whether a structure's colour was chosen by a person, rather than coming with its name or its codes."""
        return value in self._json("chosen_colors", [])

    def remember_chosen_color(self, value: int) -> None:
        """From now on a structure keeps its colour when its codes change."""
        self._set_json("chosen_colors", sorted({*self._json("chosen_colors", []), value}))

    # Cases

    @property
    def cases(self) -> tuple[Case, ...]:
        """Support cases in order."""
        return tuple(Case(int(c["key"]), bool(c["sparse"])) for c in self._json("cases", []))

    def set_cases(self, cases: tuple[Case, ...]) -> None:
        """Replace the list; references of cases that are gone are dropped."""
        for key in {case.key for case in self.cases} - {case.key for case in cases}:
            self._reference(f"case{key}.scan", None)
            self._reference(f"case{key}.annotation", None)
        self._set_json("cases", [dataclasses.asdict(case) for case in cases])

    def add_case(self, volume: Any, annotation: Any | None = None) -> Case:
        """Append a case."""
        case = Case(self._next_key())
        self._reference(f"case{case.key}.scan", volume)
        self._reference(f"case{case.key}.annotation", annotation)
        self.set_cases((*self.cases, case))
        return case

    def scan(self, case: Case) -> Any | None:
        """The case's volume node, None when it was removed from the scene."""
        return self.node.GetNodeReference(f"case{case.key}.scan")

    def annotation(self, case: Case) -> Any | None:
        """The case's segmentation node, None when there is none yet."""
        return self.node.GetNodeReference(f"case{case.key}.annotation")

    def set_annotation(self, case: Case, segmentation: Any | None) -> None:
        """Give a case its annotation."""
        self._reference(f"case{case.key}.annotation", segmentation)

    # Results

    @property
    def results(self) -> tuple[Result, ...]:
        """Segmented scans in order whose segmentation is in the scene; the scene's undo and redo bring them back."""
        return tuple(r for r in self._all_results() if self.result_node(r, "result") is not None)

    def _all_results(self) -> tuple[Result, ...]:
        return tuple(Result(int(r["key"]), str(r["model"]), dict(r["report"])) for r in self._json("results", []))

    def set_results(self, results: tuple[Result, ...]) -> None:
        """Replace the list; references of results that are gone are dropped."""
        for key in {result.key for result in self._all_results()} - {result.key for result in results}:
            for role in ("scan", "result", "before"):
                self._reference(f"result{key}.{role}", None)
        self._set_json("results", [dataclasses.asdict(result) for result in results])

    def add_result(self, volume: Any, segmentation: Any, before: Any | None, model: str, report: Any) -> Result:
        """Append a result; an earlier one shown by the same segmentation node is replaced in its place."""
        for result in self.results:
            if self.result_node(result, "result") is segmentation:
                renewed = Result(result.key, model, report)
                self._reference(f"result{result.key}.before", before)
                self.set_results(tuple(renewed if r.key == result.key else r for r in self.results))
                return renewed
        result = Result(self._next_key(), model, report)
        for role, node in (("scan", volume), ("result", segmentation), ("before", before)):
            self._reference(f"result{result.key}.{role}", node)
        self.set_results((*self.results, result))
        return result

    def result_node(self, result: Result, role: str) -> Any | None:
        """The "scan", "result" or "before" node of a result; None when it was removed from the scene."""
        return self.node.GetNodeReference(f"result{result.key}.{role}")

    # Choices

    def choice(self, name: str, default: Any) -> Any:
        """A choice made on the screen (model name, method, device...), JSON-ready."""
        return self._json(f"choice.{name}", default)

    def choose(self, name: str, value: Any) -> None:
        """Remember a choice."""
        if self.choice(name, None) != value:
            self._set_json(f"choice.{name}", value)

    def _next_key(self) -> int:
        key = int(self._json("last_key", 0)) + 1
        self._set_json("last_key", key)
        return key

    def _json(self, name: str, default: Any) -> Any:
        text = self.node.GetParameter(name)
        try:
            return json.loads(text) if text else default
        except ValueError:
            # A scene edited by hand must not keep the module from opening.
            return default

    def _set_json(self, name: str, value: Any) -> None:
        self.node.SetParameter(name, json.dumps(value, ensure_ascii=False))

    def _reference(self, role: str, node: Any | None) -> None:
        self.node.SetNodeReferenceID(role, node.GetID() if node is not None else None)
