"""SynTIC: captions learned from text alone. The model is in `model`, its parts beside it."""

from segue.methods.syntic.checkpoint import Captioner, load_captioner, save_captioner
from segue.methods.syntic.config import SIZES, SYSTEMS, SynticConfig, system_config
from segue.methods.syntic.features import optimise_features
from segue.methods.syntic.model import Syntic, build_syntic
from segue.methods.syntic.support import Support

__all__ = [
    "SIZES",
    "SYSTEMS",
    "Captioner",
    "Support",
    "Syntic",
    "SynticConfig",
    "build_syntic",
    "load_captioner",
    "optimise_features",
    "save_captioner",
    "system_config",
]
