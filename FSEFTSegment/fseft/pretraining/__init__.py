"""Pretraining of backbones on partially labelled CT and on phantoms."""
