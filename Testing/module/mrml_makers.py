"""Small volumes and segmentations for the tests of the MRML bridge."""

from __future__ import annotations

import numpy as np
from fseft.structures import Structure
from FSEFTSegmentLib.mrml.grid import Grid, to_vtk
from FSEFTSegmentLib.mrml.segments import set_labels

OBLIQUE = np.array(
    [[-0.78, 0.09, 0.55, 31.25], [-0.11, -1.18, 0.28, -72.5], [0.35, 0.1, 2.35, 18.125], [0, 0, 0, 1]], dtype=float
)
STRAIGHT = np.array([[-0.8, 0, 0, 90.0], [0, -0.8, 0, 80.0], [0, 0, 2.5, -300.0], [0, 0, 0, 1]])


def orthogonal(matrix: np.ndarray) -> np.ndarray:
    """The matrix with its axes turned to right angles, lengths kept."""
    lengths = np.linalg.norm(matrix[:3, :3], axis=0)
    q, r = np.linalg.qr(matrix[:3, :3])
    result = matrix.copy()
    result[:3, :3] = q * np.sign(np.diag(r)) * lengths
    return result


def random_ct(shape=(9, 11, 13), seed=0) -> np.ndarray:
    """HU-like noise, (k, j, i)."""
    return np.random.default_rng(seed).integers(-1000, 1200, shape).astype(np.int16)


def add_volume(scene, array=None, matrix=STRAIGHT, name="CT", class_name="vtkMRMLScalarVolumeNode"):
    """A volume node holding a copy of ``array`` (k, j, i[, components])."""
    import vtk
    from vtk.util.numpy_support import numpy_to_vtk

    array = random_ct() if array is None else array
    image = vtk.vtkImageData()
    image.SetDimensions(array.shape[2], array.shape[1], array.shape[0])
    components = array.shape[3] if array.ndim == 4 else 1
    flat = np.ascontiguousarray(array).reshape(-1, components) if components > 1 else array.reshape(-1)
    image.GetPointData().SetScalars(numpy_to_vtk(flat, deep=True))
    node = scene.AddNewNodeByClass(class_name, name)
    node.SetAndObserveImageData(image)
    node.SetIJKToRASMatrix(to_vtk(matrix))
    return node


def add_transform(scene, matrix: np.ndarray, name="move"):
    """A linear transform node."""
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", name)
    node.SetMatrixTransformToParent(to_vtk(matrix))
    return node


def turn(degrees=20.0, shift=(5.0, -3.0, 11.0)) -> np.ndarray:
    """A rigid motion."""
    angle = np.deg2rad(degrees)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = shift
    return matrix


def structures(*names: str) -> tuple[Structure, ...]:
    """Structures with values 3, 6, 9... so that nobody can renumber them unnoticed."""
    return tuple(Structure(name, 3 * (n + 1), (0.1 * (n % 9), 0.5, 0.25)) for n, name in enumerate(names))


def add_segmentation(scene, labels: np.ndarray, matrix, items, name="annotation"):
    """A segmentation node with one shared labelmap."""
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", name)
    node.CreateDefaultDisplayNodes()
    set_labels(node, labels, Grid(labels.shape[::-1], matrix), items)
    return node


def add_layer(node, name: str, mask: np.ndarray, matrix, color=(1, 0, 0)):
    """One more segment with a layer of its own, which may overlap others."""
    import slicer
    from FSEFTSegmentLib.mrml.images import oriented_image
    from FSEFTSegmentLib.mrml.segments import LABELMAP

    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.SetColor(*color)
    segment.SetLabelValue(1)
    image = oriented_image(mask.astype(np.uint8), Grid(mask.shape[::-1], matrix))
    segment.AddRepresentation(LABELMAP, image)
    node.GetSegmentation().AddSegment(segment, node.GetSegmentation().GenerateUniqueSegmentID(name))


def blocks(shape=(9, 11, 13), values=(3, 6)) -> np.ndarray:
    """A labelmap with a box per value."""
    labels = np.zeros(shape, np.uint16 if max(values) > 255 else np.uint8)
    edges = np.linspace(1, shape[2] - 1, len(values) + 1).astype(int)
    for value, low, high in zip(values, edges[:-1], edges[1:], strict=True):
        labels[2:7, 3:8, low:high] = value
    return labels
