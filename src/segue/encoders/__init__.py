"""Image and text towers behind declared contracts."""

from segue.encoders.text.cache import NoteCache
from segue.encoders.text.clip import ClipText
from segue.encoders.text.contract import TextEncoder, Tokens
from segue.encoders.text.minilm import MiniLM
from segue.encoders.text.registry import load_text_encoder
from segue.encoders.text.small import SmallText

__all__ = ["ClipText", "MiniLM", "NoteCache", "SmallText", "TextEncoder", "Tokens", "load_text_encoder"]
