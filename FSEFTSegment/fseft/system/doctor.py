"""What this machine can do, what will be slow, and what to do about it: the first thing to ask for in a problem report.

Nothing of a patient is in the report, and the user's home folder is written as ``~``.
"""

from __future__ import annotations

import platform
import re
import shutil
import sys
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any

import fseft
from fseft.system.memory import available_memory_bytes, processor_count, total_memory_bytes

#: Packages the engine runs on, with the oldest version that it is made for.
REQUIRED: dict[str, str] = {
    "torch": "2.2", "monai": "1.4", "numpy": "1.26", "SimpleITK": "2.3", "scipy": "1.11", "safetensors": "0.4",
    "einops": "0.7", "platformdirs": "4",
}  # fmt: skip
OPTIONAL: dict[str, str] = {"matplotlib": "3.7"}

_GB = 1e9
LITTLE_MEMORY_BYTES = 6 * _GB
LITTLE_DISK_BYTES = 5 * _GB
LITTLE_GPU_BYTES = 4 * _GB


@dataclass(frozen=True)
class Finding:
    """Something worth knowing.

    Attributes:
        level: "error" (FSEFT cannot work), "warning" (it will be slow or may fail) or "note".
        message: what it is.
        hint: what to do.
    """

    level: str
    message: str
    hint: str


@dataclass(frozen=True)
class Doctor:
    """The examination.

    Attributes:
        report: JSON-ready: "versions", "processor", "devices", "memory", "disk", "backbones", "findings".
        text: the same for people.
    """

    report: dict[str, Any]
    text: str

    @property
    def healthy(self) -> bool:
        """Whether FSEFT can work here."""
        return not any(finding["level"] == "error" for finding in self.report["findings"])


def examine() -> Doctor:
    """Examine this machine and installation.

    Never raises for what it finds, missing packages included: they are imported one by one where they are needed.
    """
    report: dict[str, Any] = {
        "fseft": fseft.__version__,
        "system": f"{platform.system()} {platform.release()} ({platform.machine()})",
        "versions": versions(),
        "processor": processor(),
        "devices": devices(),
        "memory": {"total_bytes": total_memory_bytes(), "available_bytes": available_memory_bytes()},
        "disk": disks(),
        "backbones": backbones(),
    }
    report["findings"] = [vars(finding) for finding in findings(report)]
    return Doctor(report, as_text(report))


def versions() -> dict[str, str | None]:
    """Versions of Python and of the packages; None for one that is not installed."""
    found: dict[str, str | None] = {"python": platform.python_version()}
    for package in (*REQUIRED, *OPTIONAL):
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            found[package] = None
    return found


def processor() -> dict[str, Any]:
    """Cores, and the instructions that make networks fast."""
    found: dict[str, Any] = {"cores": processor_count(), "threads": 0, "vectors": "unknown"}
    found |= {"bfloat16": False, "amx": False, "avx512": False}
    try:
        import torch

        from fseft.compute import cpu_has_bfloat16
    except ImportError:
        return found
    found["threads"] = torch.get_num_threads()
    cpu = getattr(torch.backends, "cpu", None)
    if cpu is not None:
        found["vectors"] = cpu.get_cpu_capability()
    found["bfloat16"] = cpu_has_bfloat16()
    for name, probe in (("amx", "_is_amx_tile_supported"), ("avx512", "_is_avx512_supported")):
        found[name] = bool(getattr(torch.cpu, probe, lambda: False)())
    return found


def devices() -> list[dict[str, Any]]:
    """Devices beside the processor: name, memory in bytes, and whether they answer."""
    found: list[dict[str, Any]] = []
    try:
        import torch
    except ImportError:
        return found
    if torch.cuda.is_available():
        for number in range(torch.cuda.device_count()):
            name = f"cuda:{number}"
            try:
                free, total = torch.cuda.mem_get_info(number)
                title = torch.cuda.get_device_name(number)
                found.append({"device": name, "name": title, "total_bytes": total, "free_bytes": free, "works": True})
            except RuntimeError as problem:
                found.append({"device": name, "works": False, "problem": str(problem).splitlines()[0]})
    if torch.backends.mps.is_available():
        found.append({"device": "mps", "name": "Apple GPU", "works": True})
    return found


def disks() -> list[dict[str, Any]]:
    """Free space of the folders that FSEFT writes to."""
    try:
        from fseft.files import cache_home, home
    except ImportError:
        return []
    return [disk("home", home()), disk("cache", cache_home())]


def disk(purpose: str, folder: Path) -> dict[str, Any]:
    """Free space where a folder is, or will be."""
    existing = folder
    while not existing.exists() and existing != existing.parent:
        existing = existing.parent
    try:
        free: int | None = shutil.disk_usage(existing).free
    except OSError:
        free = None
    return {"purpose": purpose, "folder": private(folder), "free_bytes": free}


def private(path: Path) -> str:
    """A path without the user's name where it is below the home folder."""
    try:
        return (Path("~") / path.resolve().relative_to(Path.home().resolve())).as_posix()
    except (ValueError, RuntimeError):
        return str(path)


def backbones() -> list[dict[str, Any]]:
    """Backbones on this machine, each with its weights' checksum verified."""
    try:
        from fseft.backbones.library import backbone_folders
        from fseft.backbones.specification import BackboneSpecification
        from fseft.backbones.weights import SPECIFICATION_FILE, WEIGHTS_FILE, file_sha256
        from fseft.errors import BackboneError
    except ImportError:
        return []
    found = []
    for folder, bundled in backbone_folders():
        entry: dict[str, Any] = {"id": folder.name, "bundled": bundled, "problem": ""}
        try:
            specification = BackboneSpecification.read(folder / SPECIFICATION_FILE)
            if file_sha256(folder / WEIGHTS_FILE) != specification.weights_sha256:
                entry["problem"] = "its weights fail their checksum"
        except FileNotFoundError:
            entry["problem"] = "its weights file is missing"
        except (BackboneError, OSError) as problem:
            entry["problem"] = f"it cannot be read ({problem})"
        found.append(entry)
    return found


def findings(report: dict[str, Any]) -> list[Finding]:
    """What follows from a report, errors first."""
    found = [*_package_findings(report), *_backbone_findings(report), *_speed_findings(report)]
    found += _space_findings(report)
    order = {"error": 0, "warning": 1, "note": 2}
    return sorted(found, key=lambda finding: order[finding.level])


def _package_findings(report: dict[str, Any]) -> list[Finding]:
    found = []
    for package, oldest in REQUIRED.items():
        version = report["versions"].get(package)
        if version is None:
            found.append(Finding("error", f"{package} is not installed.", f"Install it: pip install {package}."))
        elif _numbers(version) < _numbers(oldest):
            hint = f"Update it: pip install --upgrade {package}."
            found.append(Finding("warning", f"{package} {version} is older than {oldest}.", hint))
    if report["versions"].get("matplotlib") is None:
        hint = "For reports with pictures: pip install matplotlib."
        found.append(Finding("note", "matplotlib is not installed.", hint))
    return found


def _numbers(version: str) -> tuple[int, ...]:
    """ "2.13.0+cpu" as (2, 13, 0)."""
    leading = re.match(r"\d+(\.\d+)*", version)
    return tuple(int(part) for part in leading.group(0).split(".")) if leading else ()


def _backbone_findings(report: dict[str, Any]) -> list[Finding]:
    hint = "Reinstall FSEFT." if not report["backbones"] else "Remove it and install or import it again."
    found = [
        Finding("error" if entry["bundled"] else "warning", f"Backbone {entry['id']}: {entry['problem']}.", hint)
        for entry in report["backbones"]
        if entry["problem"]
    ]
    if not any(entry["bundled"] for entry in report["backbones"]):
        usable = any(not entry["problem"] for entry in report["backbones"])
        level = "note" if usable else "error"
        hint = "Reinstall FSEFT, or let FSEFT_RESOURCES name the folder that holds Backbones/."
        found.append(Finding(level, "The backbone that comes with FSEFT is not here.", hint))
    return found


def _speed_findings(report: dict[str, Any]) -> list[Finding]:
    found = []
    working = [device for device in report["devices"] if device["works"]]
    for device in report["devices"]:
        if not device["works"]:
            hint = "Update its driver, or install the torch that fits it; FSEFT uses the processor meanwhile."
            found.append(Finding("warning", f"{device['device']} does not answer: {device['problem']}.", hint))
        elif 0 < device.get("total_bytes", 0) < LITTLE_GPU_BYTES:
            hint = "FSEFT computes on the processor what does not fit."
            size = device["total_bytes"] / _GB
            found.append(Finding("note", f"{device['name']} has {size:.0f} GB of memory, which is little.", hint))
    if not working:
        hint = (
            "The light bundled backbone is made for this. The published Swin-UNETR backbones take many minutes a scan, "
            "and methods that change the backbone take hours: use a machine with an NVIDIA GPU for those."
        )
        found.append(Finding("note", "There is no graphics processor to compute on; the processor does it.", hint))
        vectors = str(report["processor"]["vectors"]).upper()
        if vectors in ("DEFAULT", "NO AVX") and platform.machine().lower() in ("x86_64", "amd64"):
            hint = "Expect several times the usual time; a processor from after 2013 has it."
            found.append(Finding("warning", "This processor has no AVX2.", hint))
        if report["processor"]["cores"] < 4:
            hint = "Features of a scan are computed once and kept, so only the first use of a scan is slow."
            count = report["processor"]["cores"]
            found.append(Finding("note", f"Only {count} processor core{'s' * (count > 1)} may be used.", hint))
    return found


def _space_findings(report: dict[str, Any]) -> list[Finding]:
    found = []
    available = report["memory"]["available_bytes"]
    if available is not None and available < LITTLE_MEMORY_BYTES:
        hint = "Close other programs; crop large scans to the region of interest."
        found.append(Finding("warning", f"Only {available / _GB:.1f} GB of memory are free.", hint))
    for entry in report["disk"]:
        free = entry["free_bytes"]
        if free is not None and free < LITTLE_DISK_BYTES:
            variable = "FSEFT_HOME" if entry["purpose"] == "home" else "FSEFT_CACHE"
            message = f"Only {free / _GB:.1f} GB are free for FSEFT's {entry['purpose']} folder ({entry['folder']})."
            hint = f"Free some space, empty the cache, or let {variable} name a folder on another disk."
            found.append(Finding("warning", message, hint))
    return found


def as_text(report: dict[str, Any]) -> str:
    """A report for people."""
    cpu, memory = report["processor"], report["memory"]
    fast = [name for name, there in (("AVX512", cpu["avx512"]), ("AMX", cpu["amx"])) if there]
    fast += ["bfloat16"] if cpu["bfloat16"] else []
    extras = "".join(f", {name}" for name in fast if name != cpu["vectors"])
    lines = [
        f"FSEFT {report['fseft']}, Python {report['versions']['python']}, {report['system']}",
        "packages   " + ", ".join(f"{k} {v or 'missing'}" for k, v in report["versions"].items() if k != "python"),
        f"processor  {cpu['cores']} cores, {cpu['threads']} threads used, vectors {cpu['vectors']}{extras}",
        f"memory     {_size(memory['available_bytes'])} free of {_size(memory['total_bytes'])}",
    ]
    for device in report["devices"]:
        size = (
            f", {_size(device['free_bytes'])} free of {_size(device['total_bytes'])}" if "total_bytes" in device else ""
        )
        lines.append(f"device     {device['device']}: {device.get('name', 'does not answer')}{size}")
    lines += [f"{e['purpose']:<11}{e['folder']}, {_size(e['free_bytes'])} free" for e in report["disk"]]
    for entry in report["backbones"]:
        kind = "bundled" if entry["bundled"] else "installed"
        lines.append(f"backbone   {entry['id']}: {entry['problem'] or kind + ', checksum right'}")
    lines += ["", *(f"{f['level']}: {f['message']} {f['hint']}" for f in report["findings"])]
    return "\n".join(lines).rstrip()


def _size(count: int | None) -> str:
    return "unknown" if count is None else f"{count / _GB:.1f} GB"


if __name__ == "__main__":
    result = examine()
    print(result.text)
    sys.exit(0 if result.healthy else 1)
