"""Seconds, peak memory and the network's share of one feature volume of a large scan: 512 x 512 x 300 voxels.

    OMP_NUM_THREADS=2 python Testing/benchmarks/feature_volume.py --write scan.nii.gz     # once
    OMP_NUM_THREADS=2 python Testing/benchmarks/feature_volume.py scan.nii.gz

The scan that ``--write`` makes is a phantom's torso, 0.8 x 0.8 x 1.5 mm. The measured process reads it as the command
line would, writes the features as the cache does (memory-mapped files), and reports where the time went: the network,
preparation (body, resampling), the windows' intensities and layout, blending, writing, and the rest.
"""

from __future__ import annotations

import argparse
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "FSEFTSegment"))

from fseft.backbones.library import find_backbone  # noqa: E402
from fseft.backbones.weights import load_backbone  # noqa: E402
from fseft.compute import choose_compute, use_threads  # noqa: E402
from fseft.features import extraction  # noqa: E402
from fseft.features.cache import FeatureCache  # noqa: E402
from fseft.features.windows import plan_windows  # noqa: E402
from fseft.phantom.generator import make_phantom  # noqa: E402
from fseft.preprocessing.grid import NetworkGrid  # noqa: E402
from fseft.scan.reading import read_scan  # noqa: E402
from fseft.scan.writing import write_scan  # noqa: E402

SIZE = (512, 512, 300)
SPACING_MM = (0.8, 0.8, 1.5)


class Stopwatch:
    """Adds up the time spent in functions, and counts their calls."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self.calls: dict[str, int] = {}

    def watch(self, owner: Any, attribute: str, name: str) -> None:
        """Replace a function by one that is timed."""
        original: Callable[..., Any] = getattr(owner, attribute)

        def timed(*args: Any, **kwargs: Any) -> Any:
            clock = time.perf_counter()
            try:
                return original(*args, **kwargs)
            finally:
                self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - clock
                self.calls[name] = self.calls.get(name, 0) + 1

        setattr(owner, attribute, timed)


def main() -> None:
    """Parse arguments, write the scan or measure, print the figures."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scan", type=Path)
    parser.add_argument("--write", action="store_true", help="only write the phantom that is measured")
    parser.add_argument("--backbone", type=Path, help="a backbone folder; default: the bundled one")
    parser.add_argument("--device", default="cpu")
    options = parser.parse_args()
    if options.write:
        write_scan(make_phantom(3, "torso", SPACING_MM, SIZE).scan, options.scan)
        return
    threads = use_threads()
    compute = choose_compute(options.device)
    network = load_backbone(options.backbone or find_backbone("fseft-mini"))
    watch = Stopwatch()
    watch.watch(network, "features", "network")
    watch.watch(extraction, "find_body", "body")
    watch.watch(extraction, "make_grid", "body")
    watch.watch(NetworkGrid, "to_network", "resampling")
    watch.watch(extraction._WindowRunner, "_forward", "windows")
    watch.watch(extraction._SlabBlender, "add", "blending")
    watch.watch(extraction._SlabBlender, "_write", "writing")
    started = time.perf_counter()
    scan = read_scan(options.scan, name="scan")
    reading = time.perf_counter() - started
    before = peak_gb()
    with tempfile.TemporaryDirectory() as folder:
        clock = time.perf_counter()
        volume = FeatureCache(Path(folder), enabled=True).features(
            scan, network.specification, lambda: network, compute
        )
        total = time.perf_counter() - clock
    watch.seconds["windows"] -= watch.seconds["network"]
    windows = plan_windows(volume.grid.shape, network.specification).starts
    print(f"scan      {scan.geometry.size}, {scan.geometry.spacing} mm, read in {reading:.1f} s")
    print(f"grid      {volume.grid.shape}, {len(windows)} windows, {watch.calls['network']} through the network")
    print(
        f"features  {total:.1f} s on {threads} threads, {volume.nbytes / 1e6:.0f} MB, peak {peak_gb():.2f} GB"
        f" ({before:.2f} GB with the scan read)"
    )
    rest = total - sum(watch.seconds.values())
    for name, seconds in [*sorted(watch.seconds.items(), key=lambda item: -item[1]), ("rest", rest)]:
        print(f"  {name:12} {seconds:6.1f} s  {100 * seconds / total:4.0f} %")
    print(f"  {watch.seconds['network'] / watch.calls['network']:.3f} s a window, torch {torch.__version__}")


def peak_gb() -> float:
    """Peak resident memory of this process so far."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024) / 1e9


if __name__ == "__main__":
    main()
