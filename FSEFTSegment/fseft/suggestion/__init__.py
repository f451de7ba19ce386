"""What to annotate next: which scan, which structure, which slices."""
