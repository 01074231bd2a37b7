"""Captions to layouts and layouts to captions, with one set of weights; see `model`."""
