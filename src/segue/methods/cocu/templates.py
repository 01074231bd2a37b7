"""The 80 texts of CLIP's ImageNet prompts (openai/CLIP, MIT licence), in which the released training puts a name."""

from __future__ import annotations

_PICTURES = (
    "photo", "bad photo", "good photo", "cropped photo", "bright photo", "dark photo", "close-up photo",
    "black and white photo", "blurry photo", "pixelated photo", "low resolution photo", "jpeg corrupted photo",
    "drawing", "painting", "sketch", "doodle", "rendition", "rendering", "sculpture", "tattoo",
)  # fmt: skip
_KINDS = ("large", "small", "clean", "dirty", "nice", "cool", "weird", "hard to see")
_MATERIALS = ("plastic", "plushie", "toy", "origami", "cartoon", "embroidered")
_ARTICLES = ("a", "the")

IMAGENET_TEMPLATES: tuple[str, ...] = (
    *(f"a {picture} of {article} {{}}." for picture in _PICTURES for article in _ARTICLES),
    *(f"a photo of {article} {kind} {{}}." for kind in _KINDS for article in _ARTICLES),
    *(f"{article} {material} {{}}." for material in _MATERIALS for article in _ARTICLES),
    *(f"{kind} of {article} {{}}." for kind in ("art", "graffiti") for article in _ARTICLES),
    *(f"{article} {{}} in a video game." for article in _ARTICLES),
    *(f"itap of {article} {{}}." for article in (*_ARTICLES, "my")),
    *(f"a photo of {which} {{}}." for which in ("my", "one", "many")),
)
