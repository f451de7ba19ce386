"""Between the scene and the engine: volumes to scans, segmentations to annotations, labelmaps to segmentations."""
