"""What each part of pretraining buys: same random start, same number of steps, judged by the probe of the features.

    python Testing/benchmarks/pretraining_ablation.py --steps 200 --output benchmark-output --work /tmp/work

Every arm is a whole run of ``fseft pretrain`` with other weights of the loss or other sources, on one thread; then
``probe_backbone.py``'s probe tells how much of novel structures its frozen features hold. A few hundred steps are the
beginning of a run: an arm that is ahead there need not be ahead at the end.
"""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from few_shot_pool import POOL, require_pool  # puts the engine on the path
from fseft.backbones.networks import Backbone
from fseft.backbones.weights import load_backbone, load_specification
from fseft.compute import Compute, choose_compute, use_threads
from fseft.pretraining.command import run_pretraining
from fseft.pretraining.settings import PretrainingSettings
from fseft.pretraining.sources import parse_source
from fseft.reporting import Reporter
from fseft.structures import Structure
from probe_backbone import choose_cases, load_case, probe, random_backbone
from results import figure, markdown, write_outputs

NOVEL = "mandible+larynx+oesophagus"
BASE = "Brainstem+SpinalCord+RightParotid+LeftParotid"


@dataclass(frozen=True)
class Arm:
    """One way to pretrain.

    Attributes:
        title: in the table.
        settings: what differs from the defaults.
        phantoms: whether a quarter of the crops shows phantoms.
        shapes: whether a quarter of the crops shows synthetic scans from the other sources' label shapes.
        template: a patient to whom the others are registered, for places all over the body instead of landmarks.
    """

    title: str
    settings: dict[str, Any] = field(default_factory=dict)
    phantoms: bool = False
    shapes: bool = False
    template: str = ""


_LABELS_ALONE = {"tissue_weight": 0.0, "cell_weight": 0.0, "coordinate_weight": 0.0}
ARMS: dict[str, Arm] = {
    "labels": Arm("labels alone", _LABELS_ALONE),
    "place": Arm("and tissue, place, coordinates"),
    "phantoms": Arm("and tissue, place, coordinates, phantoms", phantoms=True),
    "deep": Arm("and tissue, place, coordinates, deep supervision", {"level_weight": 0.5}),
    "contrast": Arm("and tissue, place, coordinates, dense contrast", {"contrast_weight": 0.1}),
    "boundary": Arm("and tissue, place, coordinates, boundary distance", {"boundary_weight": 1.0}),
    "template": Arm("and tissue, place, coordinates by registration", template="pt_112"),
    "phase": Arm("and tissue, place, coordinates, other contrast phases", {"augmentation": {"phase": 0.5}}),
    "shapes": Arm("and tissue, place, coordinates, label shapes", shapes=True),
    # The network itself: quality of frozen features against the time that one window takes.
    "half": Arm("half as wide", {"network": {"detail": 4, "widths": (16, 32, 64, 96)}}),
    "wider": Arm("half as wide again", {"network": {"detail": 8, "widths": (48, 96, 192, 288)}}),
    "coarse": Arm("2 mm instead of 1.5", {"network": {"spacing_mm": (2.0, 2.0, 2.0)}}),
}


def sources(arm: Arm, cases: int) -> list[str]:
    """The arm's sources as ``--source`` names them: pretraining patients, two torsos, perhaps phantoms."""
    names = json.loads((POOL / "splits.json").read_text(encoding="utf-8"))["pretraining"][:cases]
    torso = POOL.parent / "torso"
    placed = f",template={arm.template}" if arm.template else ""
    found = [
        f"folder:{POOL},cases={'+'.join(names)},structures={BASE}{placed},weight=0.65",
        f"folder:{torso},cases=LIDC-IDRI-0001,except=esophagus+kidney_cyst_left,weight=0.24",
        f"folder:{torso},cases=ts_example_ct,except=esophagus,weight=0.11",
    ]
    if arm.phantoms:
        found.append(f"phantoms:head-neck,count=6,seed=500,except={NOVEL},weight=0.17")
        found.append(f"phantoms:torso,count=6,except={NOVEL},weight=0.16")
    if arm.shapes:
        found.append(f"shapes:{POOL},cases={'+'.join(names)},structures={BASE},count=6,weight=0.17")
        found.append(f"shapes:{torso},cases=ts_example_ct,except=esophagus,count=6,weight=0.16")
    return found


def main() -> None:
    """Parse arguments, train and probe every arm, write the table after each."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--arms", nargs="+", choices=list(ARMS), default=list(ARMS))
    parser.add_argument("--steps", type=int, default=200)
    parser.add_argument("--seed", type=int, default=0, help="of weights and crops: the noise between runs")
    parser.add_argument("--crop", type=int, default=64, help="edge of a training crop in voxels")
    parser.add_argument("--cases", type=int, default=40, help="patients of the pretraining split")
    parser.add_argument("--structures", nargs="+", default=["Mandible", "Larynx", "RightParotid"])
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 3])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2], help="draws of the probe's support sets")
    parser.add_argument("--queries", type=int, default=4)
    parser.add_argument("--pool", type=int, default=4, help="cases that support sets are drawn from")
    parser.add_argument("--random", action="store_true", help="probe random weights too")
    parser.add_argument("--work", type=Path, required=True, help="folder for prepared cases, kept")
    parser.add_argument("--output", type=Path, default=Path("benchmark-output"))
    options = parser.parse_args()
    require_pool()
    use_threads()
    compute = choose_compute("cpu")
    chosen = choose_cases(options.structures, options.queries, options.pool)
    cases = [load_case(case, options.structures) for case in chosen]
    structures = [Structure(name, number) for number, name in enumerate(options.structures, start=1)]
    rows: list[dict[str, Any]] = []
    for name in options.arms:
        arm, folder = ARMS[name], options.output / name
        settings = PretrainingSettings(
            minutes=None, steps=options.steps, crop=options.crop, seed=options.seed, workers=0
        ).with_overrides(arm.settings)
        clock = time.process_time()
        parsed = [parse_source(text) for text in sources(arm, options.cases)]
        result = run_pretraining(parsed, settings, folder, options.work, "cpu", True, Reporter())
        seconds = time.process_time() - clock
        network = load_backbone(folder)
        found = probe(network, cases, structures, options, compute)
        last = result.progress.history[-1]
        own = {"network_seconds": network_seconds(network, compute), "loss": last, "dice": averaged(found)}
        rows.append({"arm": arm.title, "seconds": seconds, **own})
        write(rows, options)
    if options.random:
        scans = [scan for _, scan, _ in cases[options.queries :]]
        network = random_backbone(load_specification(options.output / options.arms[0]), scans, seed=0)
        found = probe(network, cases, structures, options, compute)
        own = {"network_seconds": network_seconds(network, compute), "loss": {}, "dice": averaged(found)}
        rows.append({"arm": "random weights", "seconds": 0.0, **own})
        write(rows, options)


@torch.inference_mode()
def network_seconds(network: Backbone, compute: Compute) -> float:
    """Processor time of the network for a cube of 144 mm, median of five."""
    sides = [round(144 / step / 16) * 16 for step in network.specification.spacing_mm]
    volume = torch.zeros(1, len(network.specification.windows_hu), *sides)
    times = []
    for _ in range(6):
        clock = time.process_time()
        with compute.precision():
            network.eval().features(volume)
        times.append(time.process_time() - clock)
    return float(np.median(times[1:]))


def averaged(found: dict[int, np.ndarray]) -> dict[int, list[float]]:
    """Mean Dice of every structure by shots."""
    return {shots: [float(value) for value in np.nanmean(dice, axis=0)] for shots, dice in found.items()}


def write(rows: list[dict[str, Any]], options: argparse.Namespace) -> None:
    """Write all figures, and print the table so far."""
    cells = [
        [row["arm"], f"{row['network_seconds']:.2f}", str(shots), *map(figure, (*dice, float(np.mean(dice))))]
        for row in rows
        for shots, dice in row["dice"].items()
    ]
    text = markdown(["pretrained with", "network, s", "shots", *options.structures, "mean"], cells) + "\n"
    print("\n" + write_outputs("ablation", rows, text, options.output), flush=True)


if __name__ == "__main__":
    main()
