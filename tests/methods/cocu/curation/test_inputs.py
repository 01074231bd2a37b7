"""Parts of a curation that don't fit each other."""

import numpy as np
import pytest

from methods.cocu.curation.curated import corpus
from segue.methods.cocu.curation.config import CurateSettings
from segue.methods.cocu.curation.inputs import CurationInputs
from segue.methods.cocu.curation.run import curate
from segue.methods.cocu.vocabulary import Vocabulary
from segue.types import InputError


def test_parts_that_do_not_fit_are_refused(tmp_path):
    embeddings, captions, vocabulary, texts = corpus(20)

    def refused(match, *parts, **more):
        with pytest.raises(InputError, match=match):
            curate(CurationInputs(*parts, **more), tmp_path / "out")

    refused("captions: got 19 for 20 pictures", embeddings, captions[1:], vocabulary, texts)
    refused(r"texts: got shape \(59, 32\), expected \(60, 32\)", embeddings, captions, vocabulary, texts[1:])
    refused("expected .* float16", embeddings.astype(np.float32), captions, vocabulary, texts)
    refused(r"embeddings: got shape \(0, 32\)", embeddings[:0], [], vocabulary, texts)
    refused("names: got 1 for 20", embeddings, captions, vocabulary, texts, names=["x"])
    refused("texts: row 3 has length 0, expected 1", embeddings, captions, vocabulary, zeroed(texts, 3))
    refused("embeddings: row 4 has length 0, expected 1", zeroed(embeddings, 4), captions, vocabulary, texts)
    broken = embeddings.copy()
    broken[5, 2] = np.nan
    with pytest.raises(InputError, match="row 5 has length nan"):
        curate(CurationInputs(broken, captions, vocabulary, texts), tmp_path / "nan")
    with pytest.raises(InputError, match="neighbours: got 0"):
        CurateSettings(neighbours=0)


def zeroed(rows, at):
    rows = rows.copy()
    rows[at] = 0
    return rows


def test_the_fingerprint_changes_with_each_part_alone():
    parts = dict(zip(("embeddings", "captions", "vocabulary", "texts"), corpus(20), strict=True))
    parts["names"] = [str(i) for i in range(20)]
    first = CurationInputs(**parts).fingerprint()
    assert CurationInputs(**parts).fingerprint() == first
    embeddings, texts = parts["embeddings"].copy(), parts["texts"].copy()
    embeddings[19], texts[0] = embeddings[18], texts[1]
    changes = {
        "embeddings": embeddings,
        "captions": [*parts["captions"][:-1], None],
        "vocabulary": Vocabulary([*parts["vocabulary"].concepts[:-1], "dog"]),
        "texts": texts,
        "names": None,
    }
    for name, value in changes.items():
        found = CurationInputs(**parts | {name: value}).fingerprint()
        assert {part for part in first if found[part] != first[part]} == {name}


def test_inputs_count_the_pictures():
    assert len(CurationInputs(*corpus(20))) == 20
