"""Adaptation learns, repeats itself to the byte, and ignores what was not annotated."""

from __future__ import annotations

import dataclasses
import json
import math
from pathlib import Path

import numpy as np
import pytest
import torch
from conftest import CPU, STRUCTURES, make_scan
from fseft.adaptation.adapt import CaseFiles, adapt
from fseft.adaptation.losses import few_shot_loss
from fseft.adaptation.optimiser import AdamW
from fseft.adaptation.settings import AdaptationSettings
from fseft.adaptation.support import make_support_case, sample_crops
from fseft.adaptation.training import plateaued, train_adapter
from fseft.adapters.initialisation import make_adapter
from fseft.adapters.registry import METHODS, find_method
from fseft.errors import FseftError
from fseft.features.source import FeatureSource
from fseft.models.adapted_model import AdaptedModel, save_model
from fseft.scan.annotation import Annotation
from fseft.scan.writing import write_labelmap, write_scan
from fseft.segmentation.segment import segment_scan
from fseft.structures import Structure, number_structures

QUICK = AdaptationSettings(crop=32, crops_per_step=2, steps=30, learning_rate=1e-3, views=0)


def write_cases(folder: Path, seeds: tuple[int, ...], sparse: str = "no") -> list[CaseFiles]:
    cases = []
    for seed in seeds:
        scan, labels = make_scan(seed)
        if sparse != "no":
            keep = np.zeros(labels.shape[0], dtype=bool)
            keep[::4] = True
            labels = np.where(keep[:, None, None], labels, 0).astype(np.uint16)
        write_scan(scan, folder / f"ct{seed}.nii.gz")
        write_labelmap(labels, scan.geometry, folder / f"seg{seed}.nii.gz")
        cases.append(CaseFiles(folder / f"ct{seed}.nii.gz", folder / f"seg{seed}.nii.gz", f"case{seed}", sparse))
    return cases


def dice_on_new_scan(model: AdaptedModel, source: FeatureSource, value: int) -> float:
    scan, labels = make_scan(11)
    result = segment_scan(scan, model, source)
    found, true = result.labels == value, labels == value
    return 2.0 * float((found & true).sum()) / max(1.0, float(found.sum() + true.sum()))


# The tiny backbone is random: what its features allow is modest, and a spatial adapter gets more out of them.
@pytest.mark.parametrize(("method", "least"), [("linear-probe", 0.5), ("mlp-adapter", 0.5), ("spatial-adapter", 0.7)])
def test_learns_two_structures_from_two_scans(method: str, least: float, tmp_path: Path, source: FeatureSource) -> None:
    model = adapt("test", write_cases(tmp_path, (0, 1)), STRUCTURES, source, method, QUICK)
    assert dice_on_new_scan(model, source, 1) > least
    assert dice_on_new_scan(model, source, 4) > least
    assert model.shots == 2
    assert model.priors["ball"].source == "2 annotated cases"
    assert "rod" not in model.priors  # cut by the scan's border in every case: its size is unknown


def test_learns_a_single_structure_with_a_sigmoid(tmp_path: Path, source: FeatureSource) -> None:
    cases = [dataclasses.replace(case, others="background") for case in write_cases(tmp_path, (0, 1))]
    model = adapt("test", cases, STRUCTURES[:1], source, "spatial-adapter", QUICK)
    assert model.adapter.head.outputs == 1
    assert dice_on_new_scan(model, source, 1) > 0.7


def test_learns_from_every_fourth_slice(tmp_path: Path, source: FeatureSource) -> None:
    model = adapt("test", write_cases(tmp_path, (0, 1), "auto"), STRUCTURES, source, "spatial-adapter", QUICK)
    assert dice_on_new_scan(model, source, 1) > 0.6
    assert model.priors == {}


def test_same_input_gives_the_same_bytes(tmp_path: Path, source: FeatureSource) -> None:
    cases = write_cases(tmp_path, (0, 1))
    folders = []
    for number in range(2):
        torch.manual_seed(number)  # the global stream must not matter
        model = adapt("test", cases, STRUCTURES, source, "spatial-adapter", QUICK.replace(steps=6))
        folders.append(tmp_path / f"model{number}")
        save_model(model, folders[-1])
    weights = [(folder / "weights.safetensors").read_bytes() for folder in folders]
    assert weights[0] == weights[1]
    other = adapt("test", cases, STRUCTURES, source, "spatial-adapter", QUICK.replace(steps=6, seed=1))
    save_model(other, tmp_path / "other")
    assert (tmp_path / "other" / "weights.safetensors").read_bytes() != weights[0]


def test_structure_missing_from_a_case_is_ignored_there_not_background() -> None:
    """The gradient at voxels of an unannotated structure must not push it down."""
    logits = torch.zeros(1, 3, 4, 4, 4, requires_grad=True)
    labels = torch.zeros(1, 4, 4, 4, dtype=torch.long)
    labels[:, :2] = 1
    annotated = torch.ones_like(labels, dtype=torch.bool)
    loss, per_structure = few_shot_loss(logits, labels, annotated, (True, False), cross_entropy=1.0)
    loss.backward()
    assert logits.grad is not None
    background, unknown = logits.grad[:, 0, 2:], logits.grad[:, 2, 2:]
    assert torch.allclose(background, unknown)  # in what the case calls background both are equally welcome
    assert float(unknown.mean()) < 0
    assert not math.isnan(per_structure[0])
    assert math.isnan(per_structure[1])


def test_unannotated_voxels_have_no_gradient() -> None:
    logits = torch.randn(2, 3, 4, 4, 4, requires_grad=True)
    labels = torch.randint(0, 3, (2, 4, 4, 4))
    annotated = torch.zeros_like(labels, dtype=torch.bool)
    annotated[:, 0] = True
    few_shot_loss(logits, labels, annotated, (True, True), 1.0)[0].backward()
    assert logits.grad is not None
    assert float(logits.grad[:, :, 1:].abs().max()) == 0.0
    assert float(logits.grad[:, :, 0].abs().max()) > 0.0


def test_loss_equals_the_formula() -> None:
    logits = torch.randn(1, 1, 3, 3, 3)
    labels = torch.randint(0, 2, (1, 3, 3, 3))
    everywhere = torch.ones_like(labels, dtype=torch.bool)
    loss, _ = few_shot_loss(logits, labels, everywhere, (True,), cross_entropy=0.0)
    p, y = logits.sigmoid()[0, 0], labels[0].float()
    assert float(loss) == pytest.approx(float(1 - 2 * (p * y).sum() / (p.sum() + y.sum())), abs=1e-4)
    with_entropy, _ = few_shot_loss(logits, labels, everywhere, (True,), cross_entropy=2.0)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits[:, 0], labels.float())
    assert float(with_entropy) == pytest.approx(float(loss) + 2 * float(entropy), abs=1e-4)


def test_optimiser_steps_as_the_library_does() -> None:
    generator = torch.Generator().manual_seed(0)
    mine = [torch.nn.Parameter(torch.randn(3, 4, generator=generator)), torch.nn.Parameter(torch.ones(2))]
    theirs = [torch.nn.Parameter(parameter.detach().clone()) for parameter in mine]
    own, library = AdamW(mine, 0.1, 0.01), torch.optim.AdamW(theirs, lr=0.1, weight_decay=0.01)
    for step in range(5):
        own.learning_rate = library.param_groups[0]["lr"] = 0.1 / (step + 1)
        for parameters, optimiser in ((mine, own), (theirs, library)):
            optimiser.zero_grad()
            loss = (parameters[0].square() * 3 - parameters[0]).sum()
            if step % 2:  # a parameter without gradient stays as it is, its moments too
                loss = loss + parameters[1].exp().sum()
            loss.backward()
            optimiser.step()
    for ours, reference in zip(mine, theirs, strict=True):
        assert torch.allclose(ours, reference, atol=1e-7)


def test_half_of_the_crops_hold_a_structure(source: FeatureSource) -> None:
    scan, labels = make_scan(0)
    only_ball = np.where(labels == 1, 1, 0).astype(np.uint16)
    case = make_support_case("a", source.features(scan), Annotation(only_ball, STRUCTURES[:1]), STRUCTURES[:1])
    batch = sample_crops(case, 16, 8, 0.5, 2, np.random.default_rng(0))
    holds = [(crop == 1).any().item() for crop in batch.labels]
    assert all(holds[:4])
    assert not all(holds[4:])
    assert batch.levels[0].shape == (8, 4, 20, 20, 20)
    assert batch.levels[3].shape == (8, 12, 6, 6, 6)


def test_plateau_rule_is_the_published_one() -> None:
    settings = AdaptationSettings.published()
    falling = [1.0 - 0.01 * i for i in range(60)]
    assert not plateaued(falling, settings)
    assert not plateaued([0.5] * 30, settings)  # never before epoch 31
    assert plateaued([0.5] * 31, settings)
    barely = [0.5 - 0.00004 * i for i in range(60)]  # 0.0008 in 20 epochs
    assert plateaued(barely, settings)


def test_training_reports_progress_and_curves_per_structure(source: FeatureSource) -> None:
    scan, labels = make_scan(0)
    case = make_support_case("a", source.features(scan), Annotation(labels, STRUCTURES), STRUCTURES)
    adapter = make_adapter(find_method("linear-probe"), source.specification, STRUCTURES)
    curve = train_adapter(adapter, [case], ["ball", "rod"], 1e-2, QUICK.replace(steps=12), CPU)
    assert len(curve.loss) == 12
    assert set(curve.structure_loss) == {"ball", "rod"}
    assert np.mean(curve.loss[-3:]) < np.mean(curve.loss[:3])


def refused(code: str, tmp_path: Path, source: FeatureSource, **changes: object) -> None:
    arguments: dict[str, object] = {
        "name": "test",
        "cases": [],
        "structures": STRUCTURES,
        "source": source,
        "method": "spatial-adapter",
        "settings": QUICK,
    }
    with pytest.raises(FseftError) as caught:
        adapt(**{**arguments, **changes})  # type: ignore[arg-type]
    assert caught.value.code == code
    assert caught.value.hint


def test_unusable_requests_are_named(tmp_path: Path, source: FeatureSource) -> None:
    cases = write_cases(tmp_path, (0,))
    refused("support-empty", tmp_path, source)
    refused("structures-empty", tmp_path, source, structures=())
    refused("structure-name-twice", tmp_path, source, structures=(Structure("a", 1), Structure("a", 2)))
    refused("structure-value-twice", tmp_path, source, structures=(Structure("a", 1), Structure("b", 1)))
    refused("structure-value-invalid", tmp_path, source, structures=(Structure("a", 0),))
    refused("method-unknown", tmp_path, source, cases=cases, method="magic")
    refused("model-name-invalid", tmp_path, source, cases=cases, name="../escape")
    refused("zero-shot-novel-structure", tmp_path, source, method="zero-shot")
    refused("annotation-unknown-label", tmp_path, source, cases=cases, structures=STRUCTURES[:1])
    twice = [cases[0], dataclasses.replace(cases[0], name="again")]
    refused("scan-twice", tmp_path, source, cases=twice)
    three = (*STRUCTURES, Structure("nowhere", 9))
    refused("structure-without-example", tmp_path, source, cases=cases, structures=three)


def test_a_structure_without_example_is_told_before_features_are_computed(
    tmp_path: Path, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    def computed(*_: object) -> None:
        raise AssertionError("features were computed first")

    monkeypatch.setattr(source, "features", computed)
    three = (*STRUCTURES, Structure("nowhere", 9))
    refused("structure-without-example", tmp_path, source, cases=write_cases(tmp_path, (0,)), structures=three)


def test_settings_that_cannot_be_are_named() -> None:
    for name, value in (
        ("steps", "many"),
        ("steps", 0),
        ("steps", True),
        ("crop", 2),
        ("crop", None),
        ("crops_per_step", 0),
        ("positive_fraction", 1.5),
        ("learning_rate", float("nan")),
        ("background", "grey"),
        ("seed", -1),
        ("nonsense", 1),
    ):
        with pytest.raises(FseftError) as caught:
            AdaptationSettings().replace(**{name: value})
        assert caught.value.code == "setting-invalid"
        assert caught.value.hint.endswith(".")
    changed = AdaptationSettings().replace(steps=None, learning_rate=1e-3, background="xavier")
    assert (changed.steps, changed.learning_rate, changed.background) == (None, 1e-3, "xavier")
    # Every setting has its bounds, and the two protocols keep to them.
    for settings in (AdaptationSettings(), AdaptationSettings.published()):
        assert settings.replace(**dataclasses.asdict(settings)) == settings


def test_training_that_goes_astray_makes_no_model(
    tmp_path: Path, source: FeatureSource, monkeypatch: pytest.MonkeyPatch
) -> None:
    # No setting allows such a rate.
    hasty = dataclasses.replace(find_method("spatial-adapter"), learning_rate=1e36)
    monkeypatch.setitem(METHODS, "spatial-adapter", hasty)
    with pytest.raises(FseftError) as caught:
        adapt(
            "astray",
            write_cases(tmp_path, (0,)),
            STRUCTURES,
            source,
            settings=AdaptationSettings(crop=24, steps=30, plateau_start=100),
        )
    assert caught.value.code == "training-diverged"


def test_zero_shot_needs_no_annotation_for_base_structures(source: FeatureSource) -> None:
    model = adapt("plain", [], number_structures(["liver", "Ball"]), source, "zero-shot")
    assert model.shots == 0
    assert json.dumps(model.training)


def test_no_patient_identity_in_the_model(tmp_path: Path, source: FeatureSource) -> None:
    folder = tmp_path / "Doe^Jane"
    folder.mkdir()
    cases = [dataclasses.replace(case, name="Doe^Jane") for case in write_cases(folder, (0,))]
    save_model(adapt("test", cases, STRUCTURES, source, "linear-probe", QUICK.replace(steps=2)), tmp_path / "model")
    for path in (tmp_path / "model").iterdir():
        content = path.read_bytes()
        assert b"Doe" not in content
        assert str(tmp_path).encode() not in content
