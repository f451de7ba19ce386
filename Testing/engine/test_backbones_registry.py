"""The listing of published backbones, and the networks they are built from."""

from __future__ import annotations

import dataclasses

import pytest
import torch
from fseft.backbones.networks import build_network
from fseft.backbones.registry import PUBLISHED
from fseft.backbones.specification import BackboneSpecification
from fseft.structures import PUBLISHED_CLASSES, canonical_name


def parameters(module: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())


def test_the_published_backbones_are_all_listed() -> None:
    assert list(PUBLISHED) == ["fseft", "suprem-swinunetr", "suprem-unet", "clip-driven", "btcv", "selfsup"]


@pytest.mark.parametrize("identifier", list(PUBLISHED))
def test_every_published_backbone_says_where_it_comes_from_and_on_what_terms(identifier: str) -> None:
    published = PUBLISHED[identifier]
    specification = published.specification
    assert specification.id == identifier
    assert specification.source.startswith("https://")
    assert published.page.startswith("https://")
    assert specification.licence
    assert specification.citation
    assert published.file_name
    assert BackboneSpecification.from_json(specification.to_json()) == specification
    if specification.download:
        assert specification.download["url"].startswith("https://")
        assert len(bytes.fromhex(specification.download["sha256"])) == 32
    else:
        assert published.file_name in published.how_to_get
        assert published.page in published.how_to_get


def test_class_names_are_in_the_common_spelling() -> None:
    for name in PUBLISHED_CLASSES:
        assert canonical_name(name) == name


def test_swin_unetr_has_the_published_number_of_parameters() -> None:
    # 62.19 M with its 14-class output layer of 686 (48 x 14 + 14), as its publisher counts.
    network = build_network(PUBLISHED["fseft"].specification)
    assert parameters(network.network) == 62_187_296 - 686
    assert parameters(network.head) == 29 * 49


def test_suprem_unet_has_the_published_number_of_parameters() -> None:
    # The publisher counts 19.08 M, which is this and an output layer of 65, rounded up.
    network = build_network(PUBLISHED["suprem-unet"].specification)
    assert parameters(network.network) == 19_073_600


def test_suprem_unet_scores_a_patch_alike_whatever_shares_its_batch() -> None:
    torch.manual_seed(0)
    specification = dataclasses.replace(PUBLISHED["suprem-unet"].specification, patch=(16, 16, 16))
    network = build_network(specification).eval()
    patches = torch.rand(2, 1, 16, 16, 16)
    with torch.inference_mode():
        together = network.features(patches)[0]
        alone = network.features(patches[:1])[0]
    assert together.shape == (2, 64, 16, 16, 16)
    torch.testing.assert_close(together[:1], alone, atol=1e-5, rtol=1e-4)
