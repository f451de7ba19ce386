"""The published backbones FSEFT can use: what they are, where their files come from, how those files are laid out.

Every one was published with weights in its own format; :mod:`fseft.backbones.conversion` reads them. A download is
offered only where the address *and* the checksum are known. For the others ``page`` says where to get the file, and
the user imports it.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from fseft.backbones.specification import BackboneSpecification, FeatureLevel
from fseft.structures import PUBLISHED_CLASSES

#: The published preprocessing (paper, section 4.1): soft-tissue window in HU, 1.5 mm, patches of 96 voxels.
_WINDOW = ((-175.0, 250.0),)
_PATCH = (96, 96, 96)
_ISOTROPIC = (1.5, 1.5, 1.5)

_FSEFT_CITATION = (
    "Silva-Rodríguez, Dolz, Ben Ayed: Towards Foundation Models and Few-Shot Parameter-Efficient Fine-Tuning for "
    "Volumetric Organ Segmentation. Medical Image Analysis 103 (2025) 103596."
)
_SUPREM_CITATION = "Li, Yuille, Zhou: How Well Do Supervised 3D Models Transfer to Medical Imaging Tasks? ICLR 2024."
_CLIP_CITATION = (
    "Liu et al.: CLIP-Driven Universal Model for Organ Segmentation and Tumor Detection. ICCV 2023, arXiv 2301.00785."
)
_SELFSUP_CITATION = (
    "Tang et al.: Self-Supervised Pre-Training of Swin Transformers for 3D Medical Image Analysis. CVPR 2022."
)
_SUPREM_LICENCE = "Apache-2.0 (as marked where the weights are published); patents pending, see the publisher"
_NOT_STATED = "not stated by the publisher: ask the authors before any use beyond research"


@dataclass(frozen=True)
class PublishedBackbone:
    """A backbone made elsewhere.

    Attributes:
        specification: what it becomes here, with an empty ``weights_sha256`` until it is installed.
        file_name: what its publisher calls the weight file.
        page: where a person gets that file.
        background_row: its head scores background first and was trained with softmax (see ``conversion``).
        encoder_only: the file has no decoder; the decoder starts untrained.
    """

    specification: BackboneSpecification
    file_name: str
    page: str
    background_row: bool = False
    encoder_only: bool = False

    @property
    def how_to_get(self) -> str:
        """One sentence for the listing."""
        if self.specification.download:
            return f"Download it: fseft backbones download {self.specification.id}."
        return f"Import the file {self.file_name} from {self.page}."


def _swin_unetr(identifier: str, title: str, **fields: Any) -> BackboneSpecification:
    """A Swin-UNETR with 48 features (paper, section 4.1) and the given other fields."""
    return BackboneSpecification(
        id=identifier,
        title=title,
        architecture="swin-unetr",
        architecture_parameters={"feature_size": 48},
        spacing_mm=fields.pop("spacing_mm", _ISOTROPIC),
        windows_hu=_WINDOW,
        patch=_PATCH,
        levels=(FeatureLevel(1, 48),),
        classes=fields.pop("classes", ()),
        **fields,
    )


_FSEFT = PublishedBackbone(
    _swin_unetr(
        "fseft",
        "FSEFT foundation model (Swin-UNETR, 29 classes)",
        classes=PUBLISHED_CLASSES,
        source="https://github.com/jusiro/fewshot-finetuning",
        licence=_NOT_STATED,
        citation=_FSEFT_CITATION,
    ),
    file_name="fseft.pth",
    # A viewing page of a file-sharing service, not an address that a program can fetch; no checksum is published.
    page="https://drive.google.com/file/d/18yLNxmWGnVifQNeYYwyyu56Cg4tWV9aW/view",
)

_SUPREM_SWIN = PublishedBackbone(
    # Its classes are scored by a network that depends on the whole patch, not by a linear head: no zero-shot rows.
    _swin_unetr(
        "suprem-swinunetr",
        "SuPreM (Swin-UNETR, features only)",
        source="https://github.com/MrGiovanni/SuPreM",
        licence=_SUPREM_LICENCE,
        citation=_SUPREM_CITATION,
        download={
            # Pinned to the revision whose checksum the publisher's page shows.
            "url": "https://huggingface.co/MrGiovanni/SuPreM/resolve/d578ccee72fda23ae0feac82adc35109a954ce03/"
            "supervised_suprem_swinunetr_2100.pth",
            "sha256": "b1672096465974502ccd5e2f2e5fce2ce214d6fb9848b23fc24f7b8888ffb4a3",
            "bytes": 759_000_000,
        },
    ),
    file_name="supervised_suprem_swinunetr_2100.pth",
    page="https://huggingface.co/MrGiovanni/SuPreM",
)

_SUPREM_UNET = PublishedBackbone(
    BackboneSpecification(
        id="suprem-unet",
        title="SuPreM (3D U-Net, features only)",
        architecture="suprem-unet",
        architecture_parameters={},
        spacing_mm=_ISOTROPIC,
        windows_hu=_WINDOW,
        patch=_PATCH,
        levels=(FeatureLevel(1, 64),),
        classes=(),
        source="https://github.com/MrGiovanni/SuPreM",
        licence=_SUPREM_LICENCE,
        citation=_SUPREM_CITATION,
        download={
            "url": "https://huggingface.co/MrGiovanni/SuPreM/resolve/main/supervised_suprem_unet_2100.pth",
            # As recorded by a public mirror whose other SuPreM file has the publisher's checksum.
            "sha256": "c8dc39c86cd8d715e5ef0b5bb4ba4335ba45237127829ea016f75ee8beca0a93",
            "bytes": 233_000_000,
        },
    ),
    file_name="supervised_suprem_unet_2100.pth",
    page="https://huggingface.co/MrGiovanni/SuPreM",
)

_CLIP_DRIVEN = PublishedBackbone(
    _swin_unetr(
        "clip-driven",
        "CLIP-Driven Universal Model (Swin-UNETR, features only)",
        source="https://github.com/ljwztc/CLIP-Driven-Universal-Model",
        licence="CC BY-NC-ND 4.0: no commercial use; what is made from it may not be passed on",
        citation=_CLIP_CITATION,
        download={
            "url": "https://huggingface.co/MrGiovanni/SuPreM/resolve/main/"
            "supervised_clip_driven_universal_swin_unetr_2100.pth",
            # As recorded by the same mirror.
            "sha256": "cde35d9ca344a744c849ebe0cd086cb64984e79f605376c56bd04531c767ed07",
            "bytes": 758_907_945,
        },
    ),
    file_name="supervised_clip_driven_universal_swin_unetr_2100.pth",
    page="https://huggingface.co/MrGiovanni/SuPreM",
)

_BTCV = PublishedBackbone(
    _swin_unetr(
        "btcv",
        "Swin-UNETR trained on BTCV (13 abdominal organs)",
        # The publisher trained on 1.5 x 1.5 x 2 mm, the 13 organs are the first of the 29 and in their order.
        spacing_mm=(1.5, 1.5, 2.0),
        classes=PUBLISHED_CLASSES[:13],
        source="https://github.com/Project-MONAI/research-contributions/tree/main/SwinUNETR/BTCV",
        licence="Apache-2.0 (the publisher's repository); trained on BTCV, see that data set's terms",
        citation=_SELFSUP_CITATION,
    ),
    file_name="swin_unetr.base_5000ep_f48_lr2e-4_pretrained.pt",
    page="https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/"
    "swin_unetr.base_5000ep_f48_lr2e-4_pretrained.pt",
    background_row=True,
)

_SELFSUP = PublishedBackbone(
    _swin_unetr(
        "selfsup",
        "Self-supervised Swin encoder (untrained decoder: for methods that train the decoder)",
        source="https://github.com/Project-MONAI/research-contributions/tree/main/SwinUNETR/Pretrain",
        licence="Apache-2.0 (the publisher's repository)",
        citation=_SELFSUP_CITATION,
    ),
    file_name="model_swinvit.pt",
    page="https://github.com/Project-MONAI/MONAI-extra-test-data/releases/download/0.8.1/model_swinvit.pt",
    encoder_only=True,
)

#: Published backbones by identifier, in the order of the listing.
PUBLISHED: dict[str, PublishedBackbone] = {
    published.specification.id: published
    for published in (_FSEFT, _SUPREM_SWIN, _SUPREM_UNET, _CLIP_DRIVEN, _BTCV, _SELFSUP)
}
