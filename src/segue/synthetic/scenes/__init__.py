"""Synthetic scenes: things and stuff, rendered as pictures with captions and annotations."""
