"""A fold's prediction on the network grid: labels, and what the prediction expects of itself."""

from __future__ import annotations

import numpy as np

from fseft.adapters.adapter import Adapter
from fseft.compute import Compute
from fseft.features.volume import FeatureVolume
from fseft.quality.confidence import Confidence, ConfidenceTally
from fseft.reporting import SILENT, Reporter
from fseft.segmentation.scoring import score_blocks, whole


def predict_on_network(
    adapter: Adapter,
    features: FeatureVolume,
    annotated: np.ndarray,
    compute: Compute,
    reporter: Reporter = SILENT,
) -> tuple[np.ndarray, list[Confidence]]:
    """Predict block by block; probabilities are never held for the whole volume.

    Args:
        adapter: trained.
        features: the scan's feature volume.
        annotated: (x, y, z) bool; confidence counts these voxels only, as does the score it is compared with.
        compute: device.
        reporter: asked for cancellation.

    Returns:
        (x, y, z) uint16 labels, 0 background and i + 1 for structure i, and the confidence per structure.
    """
    outputs = adapter.head.outputs
    labels = np.zeros(features.grid.shape, dtype=np.uint16)
    tally = ConfidenceTally(max(1, outputs - 1))
    adapter = adapter.to(compute.device).eval()
    for box, scores in score_blocks(adapter, features, whole(features), compute):
        reporter.check_cancelled()
        where = tuple(slice(begin, end) for begin, end in box)
        labels[where] = scores[0] > 0.5 if outputs == 1 else scores.argmax(axis=0)
        counted = annotated[where]
        if not counted.all():
            scores *= counted
            if outputs > 1:
                scores[0] += ~counted
        tally.add(scores)
    adapter.cpu()
    return labels, tally.results()
