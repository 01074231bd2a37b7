"""Pictures and texts embedded into stores."""

import numpy as np
import pytest

from scenes_and_encoder import write_encoder
from segue.api.embedding import embed_items
from segue.data.embedding_store import Item, text_items
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.types import InputError


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    return load_dual_encoder(str(write_encoder(tmp_path_factory.mktemp("encoder") / "e")))


def test_texts_and_images_go_through_their_own_encoder(encoder, tmp_path):
    texts = ["a dog", "the grass", "a photo"]
    store = embed_items("texts", text_items(zip("abc", texts, strict=True)), tmp_path / "texts", encoder, "tiny")
    np.testing.assert_allclose(store.rows(), encoder.embed_texts(texts).numpy(), atol=1e-3)
    assert store.manifest["plan"]["batch_size"] == 4096
    image = np.random.default_rng(0).integers(0, 256, (32, 32, 3), dtype=np.uint8)
    store = embed_items("images", [Item("a", "1", lambda: image)], tmp_path / "images", encoder, "tiny", shard_rows=7)
    np.testing.assert_allclose(store.rows(), encoder.embed_images([image]).numpy(), atol=1e-3)
    assert store.manifest["plan"] == {
        "embedder": encoder.fingerprint, "kind": "images", "width": 8, "shard_rows": 7, "batch_size": 32,
    }  # fmt: skip
    assert store.manifest["about"] == {"encoder": "tiny"}


def test_the_batch_size_is_counted_and_checked(encoder, tmp_path):
    items = text_items((str(i), f"a dog {i}") for i in range(5))
    assert len(embed_items("texts", items, tmp_path / "s", encoder, "tiny", batch_size=2)) == 5
    with pytest.raises(InputError, match="batch_size: got 0, expected 1 or more"):
        embed_items("texts", items, tmp_path / "t", encoder, "tiny", batch_size=0)
