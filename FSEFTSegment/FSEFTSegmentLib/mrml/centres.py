"""Where a structure is, to send the views there."""

from __future__ import annotations

from typing import Any

import numpy as np

from FSEFTSegmentLib.mrml.grid import world_transform
from FSEFTSegmentLib.mrml.images import image_array, image_matrix, image_start, is_empty_image
from FSEFTSegmentLib.mrml.segments import LABELMAP, list_segments


def centre_of_segment(node: Any, name: str) -> tuple[float, float, float] | None:
    """A point in the world (RAS, mm) inside a structure, on its slice with the largest area; None when it is empty.

    The centroid of a curved structure may lie outside it; the voxel nearest to the slice's centroid never does.
    """
    for info in list_segments(node):
        if info.name != name:
            continue
        image = node.GetSegmentation().GetSegment(info.id).GetRepresentation(LABELMAP)
        if image is None or is_empty_image(image):
            return None
        array = image_array(image)
        areas = [int(np.count_nonzero(plane == info.value)) for plane in array]
        k = int(np.argmax(areas))
        if areas[k] == 0:
            return None
        places = np.argwhere(array[k] == info.value)
        j, i = places[np.argmin(((places - places.mean(axis=0)) ** 2).sum(axis=1))]
        index = np.append(np.array([i, j, k]) + image_start(image), 1.0)
        x, y, z, _ = world_transform(node) @ image_matrix(image) @ index
        return (float(x), float(y), float(z))
    return None
