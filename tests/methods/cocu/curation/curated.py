"""A small corpus for the tests of curation; as a script it curates it slowly, to be killed half way.

python curated.py OUT
"""

import sys
import time
from pathlib import Path

import numpy as np

from segue.methods.cocu.curation.config import CurateSettings
from segue.methods.cocu.curation.inputs import CurationInputs
from segue.methods.cocu.curation.run import curate
from segue.methods.cocu.vocabulary import Vocabulary

CONCEPTS = [f"thing{chr(97 + i // 26)}{chr(97 + i % 26)}" for i in range(60)]
SETTINGS = CurateSettings(shard=50, flat_below=200)


def halves(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float16)


def corpus(pictures=400, width=32, seed=0):
    """Embeddings in 20 clusters, captions that name some of their cluster's concepts, and the concepts' embeddings."""
    rng = np.random.default_rng(seed)
    texts = rng.normal(size=(len(CONCEPTS), width))
    at = rng.integers(0, 20, pictures)
    about = [rng.choice(len(CONCEPTS), 6, replace=False) for _ in range(20)]
    shown = np.stack([texts[about[k]].mean(0) for k in at]) + rng.normal(size=(pictures, width)) * 0.3
    captions = ["a " + " and a\n".join(CONCEPTS[c] for c in rng.choice(about[k], 2)) for k in at]
    return halves(shown), captions, Vocabulary(CONCEPTS), halves(texts)


def main() -> None:
    slow = curate(CurationInputs(*corpus()), Path(sys.argv[1]), SETTINGS, progress=lambda *_: time.sleep(0.3))
    print(slow["pictures"])


if __name__ == "__main__":
    main()
