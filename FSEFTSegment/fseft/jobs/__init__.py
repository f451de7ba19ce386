"""Jobs: what the worker runs, and how it talks."""
