"""Background jobs: the engine's worker as a process of its own, watched from the interface."""
