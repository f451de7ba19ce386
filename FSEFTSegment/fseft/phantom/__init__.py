"""Synthetic CT scans with organs, for tests, demonstrations and pretraining."""

from fseft.phantom.generator import Phantom, make_phantom
from fseft.phantom.tissues import STRUCTURES, published_labels

__all__ = ["STRUCTURES", "Phantom", "make_phantom", "published_labels"]
