"""Scenes: a world of things and stuffs, drawn as pictures and told in captions."""
