"""The corpus that is curated, and its pictures as items of a store."""

import hashlib
import json
from functools import partial

import numpy as np
import pytest
from PIL import Image

from scenes_and_encoder import write_encoder
from segue.api.curation import curate_corpus, picture_item, read_curation_corpus
from segue.data.embedding_store import EmbeddingStore
from segue.data.images import read_image
from segue.methods.cocu.archive import read_archive
from segue.methods.dual_encoder.checkpoint import load_dual_encoder
from segue.types import InputError, Picture


def photos(folder, captions):
    """A Karpathy folder with these captions, one list a picture."""
    (folder / "images").mkdir(parents=True)
    entries = []
    for i, texts in enumerate(captions):
        rng = np.random.default_rng(i)
        Image.fromarray(rng.integers(0, 255, (24, 24, 3), np.uint8)).save(folder / f"images/{i}.png")
        sentences = [{"raw": text, "tokens": text.split(), "sentid": 10 * i + j} for j, text in enumerate(texts)]
        entries.append({"filename": f"{i}.png", "imgid": i, "split": "train", "sentences": sentences})
    (folder / "dataset_mine.json").write_text(json.dumps({"images": entries, "dataset": "mine"}))
    return folder


def test_a_vocabulary_of_a_hundred_thousand_words_is_read(tmp_path):
    folder = photos(tmp_path / "photos", [["a dog on the word99999"], ["the sky"]])
    (tmp_path / "words.txt").write_text("\n".join(f"word{i}" for i in range(100_000)))
    corpus = read_curation_corpus(folder, "train", vocabulary=tmp_path / "words.txt")
    assert len(corpus.vocabulary) == 100_000
    assert corpus.vocabulary.find(corpus.captions[0][0]) == {99_999}


def test_a_picture_with_a_file_of_its_own_has_its_hash_without_decoding_it(tmp_path):
    file = tmp_path / "1.png"
    file.write_bytes(b"no picture")
    item = picture_item(Picture("1", partial(read_image, file)))
    assert item.content_key == hashlib.sha256(b"no picture").hexdigest()
    with pytest.raises(InputError, match=r"1\.png"):
        item.load()


def test_a_picture_without_one_has_the_hash_of_its_pixels():
    black, white = (picture_item(Picture("1", partial(np.full, (2, 2, 3), v, np.uint8))) for v in (0, 255))
    assert black.content_key != white.content_key
    assert black.load().max() == 0


def test_captions_in_use_are_the_first_ones_that_are_not_blank(tmp_path):
    folder = photos(tmp_path / "photos", [["a dog", " ", "two dogs", "the dog"], [], ["a dog", "a cat"]])
    (tmp_path / "words.txt").write_text("dog\n")
    read = partial(read_curation_corpus, folder, "train", vocabulary=tmp_path / "words.txt", on_bad="skip")
    assert read(captions=2).captions == [("a dog", "two dogs"), (), ("a dog", "a cat")]
    assert len(read().captions[0]) == 3
    with pytest.raises(InputError, match="captions: got -1"):
        read(captions=-1)
    silent = photos(tmp_path / "silent", [[], [" "]])
    with pytest.raises(InputError, match="none of 2 pictures has a caption"):
        read_curation_corpus(silent, "train", on_bad="skip")


def test_pictures_that_can_not_be_read_stop_or_leave_the_corpus(tmp_path):
    folder = photos(tmp_path / "photos", [[f"a dog{i} on the grass"] for i in range(6)])
    (folder / "images/2.png").write_bytes(b"broken")
    (tmp_path / "words.txt").write_text("grass\nsky\n")
    corpus = read_curation_corpus(folder, "train", vocabulary=tmp_path / "words.txt")
    encoder = load_dual_encoder(str(write_encoder(tmp_path / "encoder")))
    with pytest.raises(InputError, match="1 of 6 inputs can't be read"):
        curate_corpus(corpus, tmp_path / "out", encoder, "tiny")
    report, kept, bad = curate_corpus(corpus, tmp_path / "out", encoder, "tiny", on_bad="skip")
    assert report["pictures"] == len(kept.pictures) == len(kept.captions) == 5
    assert list(bad) == [corpus.pictures[2].name]
    assert kept.captions == corpus.captions[:2] + corpus.captions[3:]
    store = EmbeddingStore(tmp_path / "out/pictures")
    assert store.names == [picture.name for picture in kept.pictures]
    assert store.manifest["about"] == {"encoder": "tiny"}
    assert EmbeddingStore(tmp_path / "out/concepts").names == ["grass", "sky"]
    assert len(read_archive(tmp_path / "out/archive/archive.parquet")) == 5
