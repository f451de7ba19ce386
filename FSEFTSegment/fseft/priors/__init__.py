"""Size priors: what volume a structure should have."""
