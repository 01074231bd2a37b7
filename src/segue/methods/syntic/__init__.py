"""SynTIC: captions learned from text alone. `model` holds the whole model; its parts are in the other modules."""

from segue.methods.syntic.checkpoint import SynticCheckpoint, load_syntic, save_syntic
from segue.methods.syntic.config import SIZES, SYSTEMS, SynticConfig, system_config
from segue.methods.syntic.feature_optimisation import optimise_features
from segue.methods.syntic.model import Syntic, build_syntic
from segue.methods.syntic.support import SupportSet

__all__ = [
    "SIZES",
    "SYSTEMS",
    "SupportSet",
    "Syntic",
    "SynticCheckpoint",
    "SynticConfig",
    "build_syntic",
    "load_syntic",
    "optimise_features",
    "save_syntic",
    "system_config",
]
