"""Image and text towers behind declared contracts."""

from segue.encoders.text import (
    ClipText,
    MiniLM,
    NoteCache,
    SmallText,
    TextTower,
    Tokens,
    load_text_tower,
)

__all__ = ["ClipText", "MiniLM", "NoteCache", "SmallText", "TextTower", "Tokens", "load_text_tower"]
