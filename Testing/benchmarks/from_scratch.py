"""The baseline without a backbone: the bundled network with random weights, trained on the k annotated scans alone.

    python Testing/benchmarks/from_scratch.py --shots 1 5 --seeds 0 --queries 4 --pool 6 --minutes 6
    python Testing/benchmarks/from_scratch.py --start bundled --learning-rate 1e-3 --steps 600  # fine-tuning
    python Testing/benchmarks/from_scratch.py --start frozen --learning-rate 5e-3 --steps 500  # other views, every step
    python Testing/benchmarks/from_scratch.py --start bundled --learning-rate 1e-3 --steps 1500 --everyone --half

Support sets, queries and scoring are those of ``few_shot_pool.py``. Preprocessing, crop size, augmentation, optimiser
and schedule are those of pretraining, the loss is that of the adapters (Dice and cross-entropy over all structures at
once). Every model has the same budget, processor time of one core in which it also makes its crops, or steps; the state
of the loss at the end says whether that was enough. ``--start`` begins with the bundled weights instead, which are
trained on, or left as they are under a linear head that sees new views at every step. ``--everyone`` learns from all
patients that are no query, as ``many_shots.py`` does: how far these annotations can be met at all.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from few_shot_pool import (  # puts the engine on the path
    Annotated,
    all_structures,
    benchmark_parser,
    mean_dice,
    read_pool,
    require_pool,
    score,
    supports,
)
from fseft.adaptation.losses import few_shot_loss
from fseft.adapters.adapter import Adapter
from fseft.adapters.initialisation import make_adapter
from fseft.adapters.registry import find_method
from fseft.backbones.library import find_backbone
from fseft.backbones.networks import Backbone, build_network
from fseft.backbones.specification import BackboneSpecification
from fseft.backbones.weights import load_backbone, load_specification
from fseft.compute import Compute, choose_compute, use_threads
from fseft.features.extraction import extract_features
from fseft.preprocessing.grid import make_grid
from fseft.preprocessing.intensity import AIR_HU, window
from fseft.pretraining.augmentation import draw_cut, draw_placement, resample_crop, vary_appearance
from fseft.pretraining.class_map import class_of, mirrored
from fseft.pretraining.schedule import fraction_done, freeze_normalisation, learning_rate
from fseft.pretraining.settings import PretrainingSettings
from fseft.scan.annotation import Annotation
from fseft.scan.scan import Scan
from fseft.segmentation.predict import predict_labels
from fseft.structures import Structure
from results import is_done, rows_so_far, write_scores
from torch import Tensor, nn

#: Steps that one reported loss is the mean of.
REPORTED_STEPS = 20
_SINGLE = Compute(torch.device("cpu"), None)
#: Patients to read for ``--everyone``; those with most structures come first.
EVERYONE = 32
#: What training begins with, and what its row is called.
STARTS = {"random": "from scratch", "bundled": "fine-tuned", "frozen": "linear head, new views at every step"}


@dataclass
class Case:
    """One patient on its own grid, and as training sees it.

    Attributes:
        scan, annotation: as in the pool.
        hounsfield: (x, y, z) float32 on the network grid.
        labels: (x, y, z), i + 1 for structure i of the benchmark.
        known: per structure, whether this patient has it.
    """

    scan: Scan
    annotation: Annotation
    hounsfield: np.ndarray
    labels: np.ndarray
    known: tuple[bool, ...]


def make_case(
    scan: Scan, annotation: Annotation, structures: Sequence[Structure], specification: BackboneSpecification
) -> Case:
    """Bring scan and labels to the network grid, as adaptation does."""
    grid = make_grid(scan, specification)
    values = {structure.name: structure.value for structure in annotation.structures}
    wanted = np.zeros(annotation.labels.shape, dtype=np.uint16)
    for position, structure in enumerate(structures, start=1):
        if structure.name in values:
            wanted[annotation.labels == values[structure.name]] = position
    labels = grid.labels_to_network(wanted, tuple(range(1, len(structures) + 1)))
    hounsfield = grid.to_network(scan.hounsfield, specification.antialias, AIR_HU)
    return Case(scan, annotation, hounsfield, labels, tuple(s.name in values for s in structures))


class Crops:
    """Varied crops of a support set, made as pretraining makes them.

    Args:
        support: the annotated scans.
        structures: of the benchmark, in order.
        settings: size and number of crops, augmentation.
        seed: of the stream.
    """

    def __init__(
        self, support: Sequence[Case], structures: Sequence[Structure], settings: PretrainingSettings, seed: int
    ) -> None:
        self.support, self.settings = support, settings
        self.generator = np.random.default_rng((seed, 77))
        self.twins = mirrored([class_of(structure.name) for structure in structures])
        #: Per case, the voxels of each structure that it shows.
        self.voxels = [
            [found for i in range(len(structures)) if (found := np.flatnonzero(case.labels.ravel() == i + 1)).size]
            for case in support
        ]

    def step(self, number: int) -> tuple[Tensor, Tensor, tuple[bool, ...]]:
        """Crops of one case: (batch, windows, x, y, z), (batch, x, y, z) labels, and the structures known there.

        Left and right change places in all crops of a step or in none, since they share what is known.
        """
        position = number % len(self.support)
        case, settings, generator = self.support[position], self.settings, self.generator
        flipped = bool(generator.random() < settings.augmentation.flip)
        swap = np.array([0, *(twin + 1 for twin in self.twins)]) if flipped else np.arange(len(self.twins) + 1)
        images, labels = [], []
        for _ in range(settings.batch):
            placement = draw_placement(self._centre(position), settings.augmentation, generator)
            placement = replace(placement, mirrored=flipped)
            volume, marked = resample_crop(case.hounsfield, case.labels, placement, settings.crop)
            volume = vary_appearance(volume, settings.augmentation, generator)
            cut = draw_cut(settings.crop, settings.augmentation, generator)
            if cut is not None:
                volume[cut], marked[cut] = AIR_HU, 0
            images.append(window(volume, settings.network.windows_hu))
            labels.append(torch.from_numpy(swap)[marked])
        known = tuple(case.known[twin] for twin in self.twins) if flipped else case.known
        return torch.stack(images), torch.stack(labels), known

    def _centre(self, position: int) -> np.ndarray:
        case, generator = self.support[position], self.generator
        if generator.random() >= self.settings.foreground_crops:
            return generator.uniform(0.1, 0.9, 3) * case.labels.shape
        voxels = self.voxels[position][int(generator.integers(len(self.voxels[position])))]
        voxel = np.array(np.unravel_index(int(generator.choice(voxels)), case.labels.shape), dtype=float)
        return voxel + generator.normal(0.0, self.settings.augmentation.foreground_jitter, 3)


def train(
    network: Backbone | Frozen,
    head: Adapter,
    crops: Crops,
    settings: PretrainingSettings,
    report: str,
    compute: Compute,
) -> list[dict[str, float]]:
    """Train network and head together until steps or processor time are used up; returns the means of the loss."""
    both = nn.ModuleList([network, head])
    parameters = [p for name, p in both.named_parameters() if not name.startswith("0.head.")]
    optimiser = torch.optim.AdamW(parameters, lr=settings.learning_rate, weight_decay=settings.weight_decay)
    clock, step = time.process_time(), 0  # other programs share the core: their time is not the model's
    curve: list[dict[str, float]] = []
    recent: list[tuple[float, float]] = []
    while (fraction := fraction_done(settings, step, time.process_time() - clock)) < 1.0:
        for group in optimiser.param_groups:
            group["lr"] = learning_rate(settings, step, fraction)
        both.train()
        if fraction >= settings.freeze_normalisation_at:
            freeze_normalisation(both)
        images, labels, known = crops.step(step)
        with compute.precision():
            levels = network.features(images.contiguous(memory_format=torch.channels_last_3d))
        logits = head([level.float() for level in levels])
        loss, per_structure = few_shot_loss(logits, labels, torch.ones_like(labels, dtype=torch.bool), known, 1.0)
        optimiser.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(parameters, settings.clip)
        optimiser.step()
        step += 1
        recent.append((float(loss.detach()), float(per_structure.nanmean())))
        if len(recent) == REPORTED_STEPS:
            curve.append(mean_of(recent, step))
            recent = []
            print(f"\r{report} {curve[-1]}  ", end="", file=sys.stderr)
    if recent:
        curve.append(mean_of(recent, step))
    print(file=sys.stderr)
    both.eval()
    return curve


class Frozen(nn.Module):
    """Features of a network that training leaves as it is."""

    def __init__(self, network: Backbone) -> None:
        super().__init__()
        self._network = [network.eval()]  # in a list: none of its parameters are this module's

    @torch.no_grad()
    def features(self, windows: Tensor) -> list[Tensor]:
        """As the network's."""
        return self._network[0].features(windows)


def learn(
    support: Sequence[Case],
    structures: Sequence[Structure],
    specification: BackboneSpecification,
    settings: PretrainingSettings,
    seed: int,
    report: str,
    start: str = "random",
    compute: Compute = _SINGLE,
) -> tuple[Backbone, Adapter, list[dict[str, float]], float]:
    """Train a network on a support set; returns it, its head, the losses and the processor time in seconds."""
    torch.manual_seed(seed)
    network = build_network(specification) if start == "random" else load_backbone(find_backbone("fseft-mini"))
    network = network.to(memory_format=torch.channels_last_3d).requires_grad_(start != "frozen")  # type: ignore[call-overload]
    head = make_adapter(find_method("linear-probe"), specification, structures)
    crops = Crops(support, structures, settings, seed)
    clock = time.process_time()
    curve = train(Frozen(network) if start == "frozen" else network, head, crops, settings, report, compute)
    network.requires_grad_(False).eval()
    return network, head, curve, time.process_time() - clock


def score_queries(
    network: Backbone, head: Adapter, queries: Sequence[Annotated], structures: Sequence[Structure], compute: Compute
) -> list[dict[str, tuple[float, float]]]:
    """Scores of what a trained network and its head make of each query."""
    scores = []
    for query in queries:
        labels = predict_labels(head, extract_features(network, query.scan, compute), compute)
        scores.append(score(query, labels, structures))
    return scores


def settings_of(options: argparse.Namespace) -> PretrainingSettings:
    """Pretraining's settings with the budget of a support set."""
    return PretrainingSettings(
        minutes=None if options.steps else options.minutes,
        steps=options.steps,
        warmup_steps=20,
        learning_rate=options.learning_rate,
    )


def mean_of(recent: Sequence[tuple[float, float]], step: int) -> dict[str, float]:
    """Mean loss and mean Dice loss of the last steps."""
    loss, dice = np.nanmean(recent, axis=0)
    return {"step": float(step), "loss": round(float(loss), 4), "dice": round(float(dice), 4)}


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Train and score a model per support set; returns all scores."""
    use_threads()
    compute = replace(choose_compute("cpu"), half=None)
    training = choose_compute("cpu") if options.half else compute
    specification = replace(load_specification(find_backbone("fseft-mini")), classes=())
    settings = settings_of(options)
    structures = all_structures()
    first, after = options.pool, options.pool + options.queries
    read = read_pool(structures, EVERYONE if options.everyone else after)
    cases = [make_case(*pair, structures, specification) for pair in read]
    pool, queries = cases[:first], cases[first:after]
    result: dict[str, Any] = {
        "queries": [q.scan.name for q in queries],
        "structures": [s.name for s in structures],
    }
    result["rows"] = rows = rows_so_far("from_scratch", result, options.output)
    budget = f"{options.steps} steps" if options.steps else f"{options.minutes:g} min"
    method = f"{STARTS[options.start]}, {budget}"
    sets = [(k, seed, support) for k in options.shots for seed, support in supports(pool, k, options.seeds)]
    if options.everyone:
        everyone = [*pool, *cases[after:]]
        sets = [(len(everyone), 0, everyone)]
    for k, seed, support in sets:
        if is_done(rows, method, k, seed):
            continue
        report = f"k={k} seed={seed}"
        network, head, curve, seconds = learn(
            support, structures, specification, settings, seed, report, options.start, training
        )
        scores = score_queries(network, head, queries, structures, compute)
        row = {"method": method, "shots": k, "seed": seed, "seconds": seconds, "curve": curve, "scores": scores}
        rows.append(row)
        print(f"{method} {report} {curve[-1]['step']:.0f} steps  mean Dice {mean_dice(scores):.3f}", flush=True)
        write_scores("from_scratch", result, options.output)
    return result


def main() -> None:
    """Parse arguments, run, print and write the tables."""
    parser = benchmark_parser(__doc__)
    parser.add_argument("--shots", type=int, nargs="+", default=[1, 5])
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--minutes", type=float, default=6.0, help="processor time of each model")
    parser.add_argument("--steps", type=int, help="a budget of steps instead, for cores that are not quiet")
    parser.add_argument("--start", choices=list(STARTS), default="random")
    parser.add_argument("--learning-rate", type=float, default=PretrainingSettings().learning_rate)
    parser.add_argument("--everyone", action="store_true", help="learn from all patients that are no query")
    parser.add_argument("--half", action="store_true", help="train in bfloat16 where the processor multiplies it")
    options = parser.parse_args()
    require_pool()
    print("\n" + write_scores("from_scratch", run(options), options.output))


if __name__ == "__main__":
    main()
