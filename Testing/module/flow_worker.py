"""A light stand-in for the engine's worker: really reads and writes the files, but thresholds instead of learning."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk


def say(event: str, **content: object) -> None:
    print(json.dumps({"event": event, **content}), flush=True)


def adapt(parameters: dict) -> dict:
    for step in range(5):
        say("progress", phase="training", done=step, total=5, eta_s=1.0, detail="")
        say("metric", name="loss", step=step, value=1.0 / (step + 1))
    table = {}
    for case in parameters["cases"]:
        labels = sitk.GetArrayFromImage(sitk.ReadImage(case["annotation"]))
        scan = sitk.GetArrayFromImage(sitk.ReadImage(case["scan"]))
        assert labels.shape == scan.shape
        for structure in parameters["structures"]:
            table.setdefault(structure["name"], []).append(int((labels == structure["value"]).sum()))
    asked = parameters["method"]
    chosen = "spatial-adapter" if asked == "auto" else asked
    tried = ["zero-shot", "linear-probe", chosen] if asked == "auto" else [chosen] if parameters["validate"] else []
    unknown = {"dice": None, "sd": None, "surface_dice": None, "volume_error_ml": None, "cases": 0}
    known = {"dice": 0.9, "sd": 0.02, "surface_dice": 0.88, "volume_error_ml": 0.4, "cases": len(parameters["cases"])}
    validation = {
        "kind": "leave-one-out" if len(parameters["cases"]) > 1 else "cross-slice",
        "table": {method: dict.fromkeys(table, unknown if method == "zero-shot" else known) for method in tried},
        "chosen": chosen,
        "reason": "It is best",
        "verdict": "Looks good so far. It is best.",
        "advice": "Annotate one more case.",
    }
    return {
        "model": str(Path("library") / parameters["name"]),
        "name": parameters["name"],
        "method": chosen,
        "structures": parameters["structures"],
        "priors": {name: {"low_ml": 1.0, "high_ml": 9.0, "mean_ml": 5.0} for name in table},
        "validation": validation if tried else {},
    }


def outcome(value: int) -> dict:
    why = "Its volume was below the expected range." if value == 1 else "Its volume is as expected."
    return {
        "action": "refined" if value == 1 else "none",
        "why": why,
        "before_ml": 52.1,
        "after_ml": 61.0,
        "changed_ml": 9.0 if value == 1 else 0.0,
        "centre_index": None,
    }


def segment(parameters: dict) -> dict:
    reports, left_out = [], []
    for entry in parameters["scans"]:
        image = sitk.ReadImage(entry["scan"])
        array = sitk.GetArrayFromImage(image)
        if array.min() >= 0 and len(parameters["scans"]) > 1:
            problem = {"code": "scan-not-ct", "message": f"{entry['name']} is not a CT.", "hint": "Choose the CT."}
            left_out.append({"name": entry["name"], **problem})
            continue
        # Two boxes far apart, so that the test knows what should come back.
        labels = np.zeros(array.shape, np.uint8)
        for position, value in enumerate((1, 2)):
            labels[2:5, 2:5, 2 + 5 * position : 6 + 5 * position] = value
        refine = parameters["refine"]
        assert refine != "paper" or parameters["support"]["cases"]
        for case in parameters.get("support", {"cases": []})["cases"]:
            assert sitk.ReadImage(case["annotation"]).GetSize() == sitk.ReadImage(case["scan"]).GetSize()
        files = ["output"] if refine == "off" else ["output", "before"]
        for name in files:
            result = sitk.GetImageFromArray(labels)
            result.CopyInformation(image)
            sitk.WriteImage(result, entry[name], useCompression=True)
        volume = abs(np.linalg.det(np.array(image.GetDirection()).reshape(3, 3))) * np.prod(image.GetSpacing()) / 1000
        structures = [
            {
                "name": f"structure {value}",
                "value": value,
                "volume_ml": float((labels == value).sum() * volume),
                "expected_ml": [0.01, 0.05],
                "flags": ["larger than expected"] if value == 1 else [],
                "notes": ["cut by the scan's border", "in 2 separate pieces"] if value == 2 else [],
                "centre_index": None,
                "predicted_dice": {"value": 0.84, "low": 0.75, "high": 0.92} if value == 1 else None,
                "refinement": None if refine == "off" else outcome(value),
            }
            for value in (1, 2)
        ]
        before = None if refine == "off" else {"output": entry["before"]}
        reports.append(
            {"name": entry["name"], "output": entry["output"], "structures": structures, "flags": [], "before": before}
        )
    return {"model": parameters["model"], "scans": reports, "left_out": left_out}


def propose(parameters: dict) -> dict:
    if parameters["method"] == "atlas":
        for case in parameters["cases"]:
            labels = sitk.GetArrayFromImage(sitk.ReadImage(case["annotation"]))
            assert set(np.unique(labels)) <= {0, *(structure["value"] for structure in parameters["structures"])}
    scans = segment({"model": "", "refine": "off", **parameters})["scans"]
    votes = {"votes": None, "of": None, "agreement": None}
    failed = []
    if parameters["method"] == "atlas":
        votes = {"votes": len(parameters["cases"]), "of": len(parameters["cases"]), "agreement": 0.82}
        failed = ["case 2 does not show the same part of the body."]
    structures = [
        {"name": "structure 1", "volume_ml": 12.34, **votes},
        {"name": "structure 2", "volume_ml": 0.5, **votes, "agreement": votes["agreement"] and 0.41},
    ]
    return {
        "scans": [
            {"name": scan["name"], "output": scan["output"], "structures": structures, "failed": failed}
            for scan in scans
        ]
    }


def suggest(parameters: dict) -> dict:
    scans = {entry["name"]: sitk.ReadImage(entry["scan"]).GetSize() for entry in parameters["scans"]}
    ranking = [{"name": name, "score": 1.0, "why": "It differs most (the nearest is case 1)."} for name in scans]
    advice = {"name": ranking[-1]["name"], "direction": "S", "slices": [], "advice": "Annotate every fourth slice."}
    return {"ranking": ranking[::-1], "limiting_structure": None, "slices": advice}


def main() -> int:
    job = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    say("started", kind=job["kind"])
    if job["parameters"].get("device") == "slow":
        end = time.monotonic() + 30
        while time.monotonic() < end:
            if Path(job["cancel_file"]).exists():
                return 4
            time.sleep(0.01)
    if job["parameters"].get("name") == "failing":
        say("error", code="annotation-empty", message="Nothing is annotated.", hint="Annotate something.", details="t")
        return 2
    kinds = {
        "adapt": adapt,
        "segment": segment,
        "propose": propose,
        "suggest": suggest,
        "doctor": lambda _: {"checks": []},
        "backbone": lambda p: {"backbone": p["backbone"]},
    }
    say("result", result=kinds[job["kind"]](job["parameters"]))
    return 0


if __name__ == "__main__":
    sys.exit(main())
