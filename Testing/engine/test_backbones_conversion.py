"""Importing other projects' weight files: every known layout, and files that must be refused."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from fseft.backbones import library, registry
from fseft.backbones.conversion import convert, read_foreign_tensors
from fseft.backbones.registry import PublishedBackbone
from fseft.errors import BackboneError
from monai.networks.nets import SwinUNETR
from safetensors.torch import save_file
from torch import Tensor, nn

SIZE = 12
PATCH = (64, 32, 32)


def small(identifier: str) -> PublishedBackbone:
    """A published Swin-UNETR with a quarter of its features, so that a test is quick."""
    published = registry.PUBLISHED[identifier]
    specification = dataclasses.replace(
        published.specification,
        architecture_parameters={"feature_size": SIZE},
        levels=(dataclasses.replace(published.specification.levels[0], channels=SIZE),),
        patch=PATCH,
    )
    return dataclasses.replace(published, specification=specification)


def original(classes: int) -> SwinUNETR:
    torch.manual_seed(3)
    return SwinUNETR(in_channels=1, out_channels=classes, feature_size=SIZE, spatial_dims=3).eval()


def patch() -> Tensor:
    return torch.rand(1, 1, *PATCH, generator=torch.Generator().manual_seed(1))


def features_of(network: SwinUNETR) -> Tensor:
    """What reaches the output layer of MONAI's network."""
    kept = []
    handle = network.out.register_forward_pre_hook(lambda module, inputs: kept.append(inputs[0]))
    with torch.inference_mode():
        network(patch())
    handle.remove()
    return kept[0]


def renamed(state: dict[str, Tensor], rename: Callable[[str], str]) -> dict[str, Tensor]:
    return {rename(name): value for name, value in state.items()}


def universal_head() -> dict[str, Tensor]:
    """The text-driven head that lies beside the network in a universal model's file."""
    return {
        "module.organ_embedding": torch.zeros(4, 8),
        "module.precls_conv.0.weight": torch.ones(SIZE),
        "module.GAP.0.weight": torch.ones(SIZE),
        "module.controller.weight": torch.ones(3, 3),
        "module.text_to_vision.weight": torch.ones(3, 3),
    }


def test_the_fseft_layout_gives_the_same_logits(tmp_path: Path) -> None:
    network = original(29)
    state = renamed(network.state_dict(), lambda n: "module." + n.replace("out.conv.conv", "classifier"))
    torch.save({"state_dict": state, "epoch": 3}, tmp_path / "fseft.pth")
    backbone = convert(read_foreign_tensors(tmp_path / "fseft.pth"), small("fseft"))
    with torch.inference_mode():
        assert torch.equal(backbone.features(patch())[0], features_of(network))
        assert torch.equal(backbone(patch()), network(patch()))


def test_a_softmax_head_keeps_every_voxels_winner() -> None:
    network = original(14)
    backbone = convert(renamed(network.state_dict(), lambda n: n.replace("swinViT", "swin_vit")), small("btcv"))
    with torch.inference_mode():
        scores = network(patch())
        ours = backbone(patch())
    assert ours.shape[1] == 13
    torch.testing.assert_close(ours, scores[:, 1:] - scores[:, :1], atol=1e-5, rtol=1e-4)
    with_background = torch.cat([torch.zeros_like(ours[:, :1]), ours], dim=1)
    settled = scores.topk(2, dim=1).values
    clear = (settled[:, 0] - settled[:, 1]) > 1e-4
    assert clear.float().mean() > 0.99
    assert torch.equal(with_background.argmax(1)[clear], scores.argmax(1)[clear])


@pytest.mark.parametrize("identifier", ["suprem-swinunetr", "clip-driven"])
def test_a_universal_model_gives_its_features_and_no_classes(identifier: str, tmp_path: Path) -> None:
    network = original(2)
    state = renamed(network.state_dict(), lambda n: "module.backbone." + n)
    state = {n: v for n, v in state.items() if ".out." not in n} | universal_head()
    torch.save({"net": state, "optimizer": {"state": {}}, "epoch": 800}, tmp_path / "weights.pth")
    backbone = convert(read_foreign_tensors(tmp_path / "weights.pth"), small(identifier))
    with torch.inference_mode():
        assert torch.equal(backbone.features(patch())[0], features_of(network))
        assert not backbone(patch()).any()


def test_an_encoder_alone_leaves_the_decoder_reproducible() -> None:
    network = original(2)
    encoder = {n.removeprefix("swinViT."): v for n, v in network.state_dict().items() if n.startswith("swinViT.")}
    old = renamed(encoder, lambda n: "module." + n.replace("mlp.linear", "mlp.fc"))
    old |= {"module.rotation_head.weight": torch.ones(4, 4), "module.contrastive_head.bias": torch.ones(4)}
    first, second = convert(old, small("selfsup")), convert(old, small("selfsup"))
    for name, value in network.swinViT.state_dict().items():
        assert torch.equal(first.state_dict()[f"network.swinViT.{name}"], value)
    for name, value in first.state_dict().items():
        assert torch.equal(value, second.state_dict()[name])


class PublishedUNetBlock(nn.Module):
    """Two published units: convolution, batch normalisation with the batch's own statistics, ReLU."""

    def __init__(self, inputs: int, middle: int, outputs: int) -> None:
        super().__init__()
        self.ops = nn.Sequential(nn.Module(), nn.Module())
        for unit, (a, b) in zip(self.ops, ((inputs, middle), (middle, outputs)), strict=True):
            unit.conv1 = nn.Conv3d(a, b, 3, padding=1)
            unit.bn1 = nn.BatchNorm3d(b)
            nn.init.uniform_(unit.bn1.weight, 0.5, 1.5)
            nn.init.uniform_(unit.bn1.bias, -0.5, 0.5)

    def forward(self, volume: Tensor) -> Tensor:
        for unit in self.ops:
            bn = unit.bn1
            volume = torch.nn.functional.batch_norm(unit.conv1(volume), None, None, bn.weight, bn.bias, True)
            volume = torch.relu(volume)
        return volume


class PublishedUNet(nn.Module):
    """The published U-Net written out from its description, to compare with."""

    def __init__(self) -> None:
        super().__init__()
        self.down_tr64 = PublishedUNetBlock(1, 32, 64)
        self.down_tr128 = PublishedUNetBlock(64, 64, 128)
        self.down_tr256 = PublishedUNetBlock(128, 128, 256)
        self.down_tr512 = PublishedUNetBlock(256, 256, 512)
        for name, inputs, skip in (("up_tr256", 512, 256), ("up_tr128", 256, 128), ("up_tr64", 128, 64)):
            level = PublishedUNetBlock(inputs + skip, skip, skip)
            level.up_conv = nn.ConvTranspose3d(inputs, inputs, 2, 2)
            setattr(self, name, level)

    def forward(self, volume: Tensor) -> Tensor:
        skips = []
        for name in ("down_tr64", "down_tr128", "down_tr256"):
            skips.append(getattr(self, name)(volume))
            volume = torch.nn.functional.max_pool3d(skips[-1], 2)
        volume = self.down_tr512(volume)
        for name in ("up_tr256", "up_tr128", "up_tr64"):
            level = getattr(self, name)
            volume = level(torch.cat([level.up_conv(volume), skips.pop()], 1))
        return volume


def test_the_suprem_unet_layout_gives_the_same_features() -> None:
    torch.manual_seed(4)
    network = PublishedUNet()
    state = renamed(network.state_dict(), lambda n: "module.backbone." + n) | universal_head()
    state["module.backbone.out_tr.final_conv.weight"] = torch.ones(1, 64, 1, 1, 1)
    published = registry.PUBLISHED["suprem-unet"]
    backbone = convert(state, published)
    volume = torch.rand(1, 1, 16, 16, 16)
    with torch.inference_mode():
        torch.testing.assert_close(backbone.features(volume)[0], network(volume), atol=1e-5, rtol=1e-4)


def test_what_does_not_fit_is_listed() -> None:
    state = original(29).state_dict()
    del state["encoder1.layer.conv1.conv.weight"]
    state["decoder1.transp_conv.conv.weight"] = torch.zeros(1)
    state["another.layer.weight"] = torch.zeros(1)
    with pytest.raises(BackboneError) as caught:
        convert(state, small("fseft"))
    assert caught.value.code == "backbone-file-mismatch"
    assert "missing: network.encoder1.layer.conv1.conv.weight" in caught.value.message
    assert "not part of it: another.layer.weight" in caught.value.message
    assert "network.decoder1.transp_conv.conv.weight (1,) instead of" in caught.value.message
    assert "fseft.pth" in caught.value.hint


def test_a_head_for_other_classes_is_refused() -> None:
    with pytest.raises(BackboneError, match=r"head\.levels\.0\.weight"):
        convert(original(14).state_dict(), small("fseft"))


def test_a_missing_head_is_not_taken_for_zeros() -> None:
    state = {name: value for name, value in original(14).state_dict().items() if not name.startswith("out.")}
    for identifier in ("fseft", "btcv"):
        with pytest.raises(BackboneError, match="output layer"):
            convert(state, small(identifier))


class Payload:
    """Unpickling this would create a file: what a malicious weight file does."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[object, tuple[str, int]]:
        return (os.open, (self.path, os.O_CREAT | os.O_WRONLY))


@pytest.mark.parametrize("zipped", [True, False])
def test_a_file_that_would_run_code_is_refused_and_runs_nothing(zipped: bool, tmp_path: Path) -> None:
    trap = tmp_path / "executed"
    path = tmp_path / "evil.pth"
    torch.save({"net": {"a": torch.zeros(1)}, "extra": Payload(trap)}, path, _use_new_zipfile_serialization=zipped)
    with pytest.raises(BackboneError) as caught:
        read_foreign_tensors(path)
    assert caught.value.code == "backbone-file-unsafe"
    assert not trap.exists()
    # The trap is real: without the protection it does spring.
    torch.load(path, weights_only=False)
    assert trap.exists()


@pytest.mark.parametrize(
    ("name", "content"),
    [("page.pth", b"<!DOCTYPE html><html>"), ("empty.pt", b""), ("cut.safetensors", b"\x10\0\0\0\0\0\0\0{"),
     ("cut.pth", b"PK\x03\x04 and nothing")],
)  # fmt: skip
def test_what_is_not_a_weight_file_is_named(name: str, content: bytes, tmp_path: Path) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(BackboneError) as caught:
        read_foreign_tensors(tmp_path / name)
    assert caught.value.code == "backbone-file-unreadable"
    assert name in caught.value.message


def test_a_file_without_tensors_is_named(tmp_path: Path) -> None:
    torch.save({"epoch": 3}, tmp_path / "state.pth")
    with pytest.raises(BackboneError, match="no named weights"):
        read_foreign_tensors(tmp_path / "state.pth")
    with pytest.raises(BackboneError, match="There is no file"):
        read_foreign_tensors(tmp_path / "nothing.pth")


def test_an_imported_file_is_installed_listed_and_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FSEFT_HOME", str(tmp_path / "home"))
    monkeypatch.setitem(registry.PUBLISHED, "fseft", small("fseft"))
    network = original(29)
    save_file(network.state_dict(), tmp_path / "fseft.safetensors")
    specification = library.import_backbone(tmp_path / "fseft.safetensors", "fseft")
    assert len(specification.weights_sha256) == 64
    status = {s.id: s for s in library.available_backbones()}["fseft"]
    assert status.installed
    assert not status.bundled
    assert status.size_bytes > 1_000_000
    loaded = library.load("fseft")
    for name, value in network.state_dict().items():
        ours = "head.levels.0." + name.split(".")[-1] if name.startswith("out.") else "network." + name
        assert torch.equal(loaded.state_dict()[ours], value), name
    with torch.inference_mode():
        # Memory is laid out for speed when loading, which changes the order of additions and nothing else.
        torch.testing.assert_close(loaded(patch()), network(patch()), atol=1e-4, rtol=1e-4)
    library.remove_backbone("fseft")
    with pytest.raises(BackboneError) as caught:
        library.find_backbone("fseft")
    assert caught.value.code == "backbone-not-installed"
