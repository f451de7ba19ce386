"""FSEFT: few-shot efficient fine-tuning of CT segmentation backbones.

The engine is an ordinary package: it knows numpy, torch, MONAI and SimpleITK, and nothing of 3D Slicer.
Importing it is cheap; torch is loaded by the parts that need it.
"""

__version__ = "0.1.0"
