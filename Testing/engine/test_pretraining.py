"""Pretraining as a whole: learns, resumes exactly, stops when told, exports, runs from the command line."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from conftest import CPU
from fseft.backbones.networks import build_network
from fseft.backbones.weights import load_backbone, load_specification
from fseft.cli.main import main
from fseft.errors import Cancelled, InputError, ResourceError
from fseft.pretraining.checkpoint import load_checkpoint
from fseft.pretraining.distributed import Processes
from fseft.pretraining.export import export_backbone
from fseft.pretraining.heads import PretrainingNetwork, point_features
from fseft.pretraining.loop import Result, Trainer
from fseft.pretraining.preparation import Pool
from fseft.pretraining.schedule import WeightAverage, fraction_done, learning_rate
from fseft.pretraining.settings import PretrainingSettings
from fseft.reporting import SILENT, Reporter
from pretraining_makers import NETWORK, TINY, tiny_pool, write_folder

ALONE = Processes(0, 1, torch.device("cpu"))


def train(
    pool: Pool, output: Path, settings: PretrainingSettings, resume: bool = False, reporter: Reporter = SILENT
) -> Result:
    return Trainer(pool, settings, CPU, ALONE, output, resume, reporter).run()


def losses(result: Result) -> list[float]:
    return [entry["loss"] for entry in result.progress.history]


def test_point_predictions_are_those_of_the_backbone() -> None:
    torch.manual_seed(0)
    backbone = build_network(NETWORK.specification(("a", "b", "c"))).eval()
    network = PretrainingNetwork(backbone, TINY)
    windowed = torch.rand(2, 2, 16, 32, 16)
    points = torch.randint(0, 16 * 32 * 16, (2, 50))
    located = torch.zeros(2, 50, dtype=torch.bool)
    located[1, :7] = True
    with torch.no_grad():
        outputs = network(windowed, points, located)
        dense = backbone(windowed).flatten(2)
        levels = point_features(backbone.features(windowed), points, (16, 32, 16))
    expected = torch.stack([dense[i][:, points[i]].T for i in range(2)])
    assert torch.allclose(outputs.logits, expected, atol=1e-4)
    assert levels.shape == (2, 50, 2 + 4 + 4 + 4)
    assert outputs.cells.shape[0] == outputs.coordinates.shape[0] == 7


def test_the_loss_falls(tmp_path: Path) -> None:
    result = train(tiny_pool(tmp_path), tmp_path / "out", TINY.replace(steps=60, report_steps=10, learning_rate=1e-2))
    curve = losses(result)
    assert len(curve) == 6
    assert curve[-1] < 0.8 * curve[0]
    terms = ("dice", "cross-entropy", "tissue", "cell", "coordinate")
    assert all(result.progress.history[0][name] > 0 for name in terms)


def test_deep_supervision_trains_every_level_alone(tmp_path: Path) -> None:
    pool = tiny_pool(tmp_path)
    settings = TINY.replace(level_weight=0.5, steps=60, report_steps=10, learning_rate=1e-2)
    history = train(pool, tmp_path / "deep", settings).progress.history
    assert history[-1]["levels"] < history[0]["levels"]
    assert "levels" not in train(pool, tmp_path / "plain", TINY).progress.history[0]
    exported = load_backbone(tmp_path / "deep")  # the levels' own heads are not part of a backbone
    assert exported.state_dict().keys() == load_backbone(tmp_path / "plain").state_dict().keys()


def test_a_level_is_judged_by_its_own_features() -> None:
    torch.manual_seed(0)
    network = PretrainingNetwork(
        build_network(NETWORK.specification(("a", "b"))), TINY.replace(level_weight=0.5)
    ).eval()
    windowed, points = torch.rand(1, 2, 16, 16, 16), torch.randint(0, 4096, (1, 20))
    located = torch.zeros(1, 20, dtype=torch.bool)
    before = network(windowed, points, located).levels
    assert [level.shape for level in before] == [(1, 20, 2)] * 4
    with torch.no_grad():
        network.backbone.get_parameter("decoder.0.0.weight").zero_()  # of the level at stride 2
    after = network(windowed, points, located).levels
    assert [torch.equal(a, b) for a, b in zip(before, after, strict=True)] == [True, False, True, True]


def test_the_published_loss_trains_too(tmp_path: Path) -> None:
    settings = TINY.replace(loss="published", steps=20, report_steps=10, learning_rate=1e-2)
    curve = losses(train(tiny_pool(tmp_path), tmp_path / "out", settings))
    assert curve[1] < curve[0] < 1.0


def test_a_resumed_run_equals_an_uninterrupted_one(tmp_path: Path) -> None:
    pool = tiny_pool(tmp_path)
    whole = train(pool, tmp_path / "whole", TINY.replace(steps=6))

    class Stopping(Reporter):
        heard = 0

        def check_cancelled(self) -> None:
            self.heard += 1
            if self.heard > 3:
                raise Cancelled()

    with pytest.raises(Cancelled, match="--resume"):
        train(pool, tmp_path / "parts", TINY.replace(steps=6), reporter=Stopping())
    # What was stopped can be used, and says what it is wherever it is listed.
    assert load_specification(tmp_path / "parts").title.endswith("(training not finished)")
    again = train(pool, tmp_path / "parts", TINY.replace(steps=6), resume=True)
    assert again.progress.step == 6
    assert load_specification(tmp_path / "parts").title == load_specification(tmp_path / "whole").title
    assert losses(again) == losses(whole)
    assert again.progress.positives == whole.progress.positives
    first, second = (load_backbone(tmp_path / name).state_dict() for name in ("whole", "parts"))
    assert all(torch.equal(first[name], second[name]) for name in first)


def test_an_earlier_run_is_never_overwritten_by_accident(tmp_path: Path) -> None:
    pool = tiny_pool(tmp_path)
    train(pool, tmp_path / "out", TINY)
    with pytest.raises(InputError) as caught:
        train(pool, tmp_path / "out", TINY)
    assert caught.value.code == "pretraining-output-in-use"
    fewer = Pool(pool.groups, pool.weights, pool.classes[:1])
    with pytest.raises(InputError) as caught:
        train(fewer, tmp_path / "out", TINY, resume=True)
    assert caught.value.code == "checkpoint-does-not-fit"
    (tmp_path / "out" / "checkpoint" / "weights.safetensors").write_bytes(b"broken")
    with pytest.raises(InputError) as caught:
        train(pool, tmp_path / "out", TINY, resume=True)
    assert caught.value.code == "checkpoint-damaged"


def test_exhausted_memory_keeps_the_run_and_says_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pool = tiny_pool(tmp_path)
    trainer = Trainer(pool, TINY.replace(steps=4, minutes=None), CPU, Processes(0, 1, CPU.device), tmp_path / "run")
    usual = trainer._step

    def step(*args: Any) -> dict[str, torch.Tensor]:
        if trainer.progress.step == 2:
            raise RuntimeError("CUDA out of memory. Tried to allocate 2.00 GiB.")
        return usual(*args)

    monkeypatch.setattr(trainer, "_step", step)
    with pytest.raises(ResourceError) as caught:
        trainer.run()
    assert caught.value.code == "out-of-memory"
    assert "batch" in caught.value.hint
    assert load_checkpoint(tmp_path / "run" / "checkpoint").progress.step == 2


def test_frozen_normalisation_keeps_its_statistics(tmp_path: Path) -> None:
    pool = tiny_pool(tmp_path)

    def statistics(settings: PretrainingSettings) -> list[float]:
        trainer = Trainer(pool, settings, CPU, ALONE, tmp_path / f"out{settings.freeze_normalisation_at}")
        trainer.run()
        state = trainer.network.state_dict()
        return [float(value.sum()) for name, value in state.items() if name.endswith("running_mean")]

    assert not any(statistics(TINY.replace(freeze_normalisation_at=0.0)))
    assert all(statistics(TINY.replace(freeze_normalisation_at=1.0)))


def test_progress_and_losses_are_reported(tmp_path: Path) -> None:
    class Listening(Reporter):
        def __init__(self) -> None:
            self.shares: list[float] = []
            self.names: set[str] = set()

        def progress(self, phase: str, done: float, total: float, detail: str = "") -> None:
            assert phase == "pretraining"
            self.shares.append(done / total)

        def metric(self, name: str, step: int, value: float, **labels: object) -> None:
            self.names.add(name)

    reporter = Listening()
    train(tiny_pool(tmp_path), tmp_path / "out", TINY, reporter=reporter)
    assert reporter.shares == sorted(reporter.shares)
    assert reporter.shares[-1] == 1.0
    assert {"loss", "dice", "tissue"} <= reporter.names


def test_export_drops_classes_that_were_never_seen(tmp_path: Path) -> None:
    torch.manual_seed(1)
    network = build_network(NETWORK.specification(("spleen", "liver", "aorta"))).eval()
    specification = export_backbone(network.specification, network.state_dict(), [4, 0, 9], tmp_path)
    assert specification.classes == ("spleen", "aorta")
    exported = load_backbone(tmp_path)
    windowed = torch.rand(1, 2, 16, 16, 16)
    with torch.no_grad():
        assert torch.allclose(exported(windowed), network(windowed)[:, [0, 2]], atol=2e-2)


def test_schedule() -> None:
    settings = TINY.replace(steps=100, minutes=1.0, warmup_steps=10, learning_rate=1.0, final_rate=0.1)
    assert fraction_done(settings, 10, 30.0) == 0.5
    assert fraction_done(settings, 80, 30.0) == 0.8
    assert fraction_done(settings, 500, 30.0) == 1.0
    assert learning_rate(settings, 0, 0.0) == pytest.approx(0.1)
    assert learning_rate(settings, 50, 0.0) == pytest.approx(1.0)
    assert learning_rate(settings, 50, 1.0) == pytest.approx(0.1)


def test_weights_are_averaged() -> None:
    layer = torch.nn.Linear(1, 1, bias=False)
    torch.nn.init.constant_(layer.weight, 0.0)
    average = WeightAverage(layer, 0.5)
    torch.nn.init.constant_(layer.weight, 1.0)
    average.update(layer, step=1000)
    assert float(average.state["weight"]) == 0.5
    average.update(layer, step=0)  # an early average forgets fast: 1/20 of the past stays
    assert float(average.state["weight"]) == pytest.approx(0.5 * 0.05 + 0.95)


def test_settings_from_json(tmp_path: Path) -> None:
    changed = PretrainingSettings().with_overrides({"crop": 32, "network": {"widths": [8, 8, 8, 8]}})
    assert changed.crop == 32
    assert changed.network.widths == (8, 8, 8, 8)
    assert changed.network.detail == PretrainingSettings().network.detail
    for overrides, code in (
        ({"speed": 3}, "pretraining-setting-unknown"),
        ({"network": {"depth": 3}}, "pretraining-setting-unknown"),
        ({"network": 3}, "pretraining-setting-invalid"),
        ({"augmentation": None}, "pretraining-setting-invalid"),
        ({"steps": -3}, "pretraining-setting-invalid"),
        ({"steps": "three"}, "pretraining-setting-invalid"),
        ({"crop": "32"}, "pretraining-setting-invalid"),
        ({"crop": 32.0}, "pretraining-setting-invalid"),
        ({"batch": True}, "pretraining-setting-invalid"),
        ({"learning_rate": -1}, "pretraining-setting-invalid"),
        ({"learning_rate": float("nan")}, "pretraining-setting-invalid"),
        ({"workers": -2}, "pretraining-setting-invalid"),
        ({"augmentation": {"phase": 7}}, "pretraining-setting-invalid"),
        ({"augmentation": {"phase": "often"}}, "pretraining-setting-invalid"),
        ({"augmentation": {"cut_voxels": [50, 40]}}, "pretraining-setting-invalid"),
        ({"network": {"widths": [8, 8]}}, "pretraining-setting-invalid"),
        ({"network": {"windows_hu": [[100]]}}, "pretraining-setting-invalid"),
        ({"network": {"windows_hu": [[240, -160]]}}, "pretraining-setting-invalid"),
        ({"network": {"spacing_mm": [0, 1, 1]}}, "pretraining-setting-invalid"),
        ({"network": {"id": ""}}, "pretraining-setting-invalid"),
        ({"crop": 20}, "pretraining-setting-invalid"),
        ({"crop": 16, "batch": 1}, "pretraining-setting-invalid"),
        ({"network": {"id": "../evil"}}, "pretraining-setting-invalid"),
        ({"minutes": None}, "pretraining-endless"),
    ):
        with pytest.raises(InputError) as caught:
            PretrainingSettings().with_overrides(overrides)
        assert caught.value.code == code


def test_command_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = write_folder(tmp_path / "scans")
    settings = {"crop": 16, "points": 200, "foreground_points": 50, "network": {**_plain_network(), "id": "tiny"}}
    (tmp_path / "settings.json").write_text(json.dumps(settings))
    command = ["--quiet", "pretrain", "--source", f"folder:{folder}", "--source", "phantoms:head-neck,count=1"]
    command += ["--settings", str(tmp_path / "settings.json"), "--workers", "0", "--device", "cpu"]
    command += ["--output", str(tmp_path / "mine"), "--work", str(tmp_path / "work")]
    assert main([*command, "--steps", "3"]) == 0
    assert "3 steps" in capsys.readouterr().out
    specification = load_specification(tmp_path / "mine")
    assert specification.id == "tiny"
    assert "right parotid gland" in specification.classes
    load_backbone(tmp_path / "mine")
    record = json.loads((tmp_path / "mine" / "pretraining.json").read_text("utf-8"))
    assert record["steps"] == 3
    assert len(record["sources"]) == 2
    assert record["cases"] == [{"all": 2, "placed densely": 0}, {"all": 1, "placed densely": 1}]
    assert str(tmp_path) not in json.dumps(record)
    assert main([*command, "--steps", "3"]) == 2
    assert "--resume" in capsys.readouterr().err
    # Nothing of somebody else's is mixed with a backbone.
    assert main([*command, "--steps", "3", "--output", str(folder)]) == 2
    assert "pretraining-output-in-use" in capsys.readouterr().err
    assert not (folder / "weights.safetensors").exists()
    assert main([*command, "--steps", "4", "--resume"]) == 0
    assert "4 steps" in capsys.readouterr().out


def _plain_network() -> dict[str, object]:
    return {
        "detail": 2,
        "widths": [4, 4, 4, 4],
        "spacing_mm": [4.0, 4.0, 4.0],
        "windows_hu": [[-160, 240], [-1000, 1000]],
        "patch": 32,
    }


def test_training_starts_from_a_backbone(tmp_path: Path) -> None:
    """Zero steps of training leave the first backbone's weights, with its rows under the names they had."""
    pool = tiny_pool(tmp_path)
    first = build_network(NETWORK.specification(("left parotid gland", "liver")))
    with torch.no_grad():
        for value in first.parameters():
            value.normal_()
    trainer = Trainer(pool, TINY, CPU, ALONE, tmp_path / "run", initial=first)
    network = trainer.network.backbone
    for name, value in first.state_dict().items():
        if not name.startswith("head."):
            assert torch.equal(network.state_dict()[name], value)
            assert torch.equal(trainer.average.state[name], value)
    row = pool.classes.index("left parotid gland")
    for mine, theirs in zip(network.head.weights, first.head.weights, strict=True):
        assert torch.equal(mine[row], theirs[0])
    assert torch.equal(network.head.bias[row], first.head.bias[0])


def test_a_backbone_with_another_network_is_no_start(tmp_path: Path) -> None:
    pool = tiny_pool(tmp_path)
    other = build_network(dataclasses.replace(NETWORK, detail=3).specification(("liver",)))
    with pytest.raises(InputError) as caught:
        Trainer(pool, TINY, CPU, ALONE, tmp_path / "run", initial=other)
    assert caught.value.code == "pretraining-start-does-not-fit"


def test_a_start_that_is_none_is_told_before_the_work(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["pretrain", "--source", "phantoms:torso,count=1", "--output", str(tmp_path / "b"), "--steps", "1"]
    assert main([*command, "--start-from", "nothere"]) == 2
    said = capsys.readouterr().err
    assert "nothere" in said
    assert "fseft-mini" in said, "those that are there are named"
    assert list(tmp_path.iterdir()) == []
    assert main([*command[:-2], "--minutes", "0"]) == 2
    assert "minutes" in capsys.readouterr().err
