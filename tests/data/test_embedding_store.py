import json
import os
import signal
import subprocess
import sys
import textwrap
import time

import numpy as np
import pytest
from PIL import Image

from segue.data.embedding_store import EmbeddingStore, Item, StorePlan, fill_store, picture_items, text_items
from segue.types import InputError

PLAN = StorePlan("an embedder", "texts", width=3, shard_rows=4, batch_size=2)


def items(count=10, broken=()):
    def load(i):
        if i in broken:
            raise InputError(f"item {i}: torn")
        return i

    return [Item(f"item {i}", f"content {i}", lambda i=i: load(i)) for i in range(count)]


def embed(batch):
    return np.array([[i, i / 2, -i] for i in batch], np.float32)


def contents(folder):
    return {p.name: p.read_bytes() for p in folder.iterdir()}


def test_rows_come_back_in_order(tmp_path):
    store = fill_store(tmp_path / "s", items(), embed, PLAN, about={"encoder": "mine"})
    expected = embed(range(10)).astype(np.float16)
    assert len(store) == 10
    assert store.names == [f"item {i}" for i in range(10)]
    assert [len(shard) for shard in store.shards] == [4, 4, 2]
    assert all(isinstance(shard, np.memmap) for shard in store.shards)
    assert np.array_equal(store.rows(), expected)
    for start in range(10):
        for stop in range(start, 11):
            assert np.array_equal(store.rows(start, stop), expected[start:stop])
    assert np.array_equal(store.take([9, 0, 4, 4]), expected[[9, 0, 4, 4]])
    chunks = list(store.chunks(3))
    assert [start for start, _ in chunks] == [0, 3, 6, 9]
    assert np.array_equal(np.concatenate([part for _, part in chunks]), expected)
    manifest = json.loads((tmp_path / "s/manifest.json").read_text())
    assert (manifest["shards"], manifest["bad_count"], manifest["about"]) == ([4, 4, 2], 0, {"encoder": "mine"})
    assert sorted(contents(tmp_path / "s")) == ["manifest.json", *(f"shard-0000{i}.npy" for i in range(3))]


def test_a_shard_that_can_not_be_written_is_not_there(tmp_path, monkeypatch):
    def full_disk(file, rows):
        file.write(b"half of it")
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(np, "save", full_disk)
        with pytest.raises(OSError, match="No space"):
            fill_store(tmp_path / "s", items(), embed, PLAN)
    assert sorted(contents(tmp_path / "s")) == ["manifest.json"]
    fill_store(tmp_path / "s", items(), embed, PLAN)
    fill_store(tmp_path / "at once", items(), embed, PLAN)
    assert contents(tmp_path / "s") == contents(tmp_path / "at once")


def test_a_finished_store_is_not_computed_again(tmp_path):
    fill_store(tmp_path, items(), embed, PLAN)
    before = contents(tmp_path)

    def never(_):
        raise AssertionError

    assert len(fill_store(tmp_path, items(), never, PLAN)) == 10
    assert contents(tmp_path) == before


def test_a_failed_run_is_gone_on_with(tmp_path):
    fill_store(tmp_path / "whole", items(), embed, PLAN)
    seen = []

    def fails(batch):
        seen.extend(batch)
        if 5 in batch:
            raise RuntimeError("out of memory")
        return embed(batch)

    with pytest.raises(RuntimeError):
        fill_store(tmp_path / "s", items(), fails, PLAN)
    with pytest.raises(InputError, match="2 of 3 shards are not filled yet; run the same"):
        EmbeddingStore(tmp_path / "s")
    seen.clear()
    with pytest.raises(RuntimeError):
        fill_store(tmp_path / "s", items(), fails, PLAN)
    assert seen == [4, 5]  # the first shard is not computed again
    fill_store(tmp_path / "s", items(), embed, PLAN)
    assert contents(tmp_path / "s") == contents(tmp_path / "whole")


KILLED = """
    import sys, time
    from pathlib import Path
    sys.path.insert(0, sys.argv[2])
    from test_embedding_store import PLAN, embed, items
    from segue.data.embedding_store import fill_store

    def slow(batch):
        time.sleep(0.05)
        return embed(batch)

    fill_store(Path(sys.argv[1]), items(40), slow, PLAN)
"""


def test_killed_again_and_again_it_comes_to_the_same_bytes(tmp_path):
    fill_store(tmp_path / "whole", items(40), embed, PLAN)
    command = [sys.executable, "-c", textwrap.dedent(KILLED), str(tmp_path / "s"), os.path.dirname(__file__)]
    kills = 0
    for wanted in (1, 4):
        process = subprocess.Popen(command)
        while process.poll() is None and len(list(tmp_path.glob("s/shard-*.npy"))) < wanted:
            time.sleep(0.005)
        process.send_signal(signal.SIGKILL)
        kills += process.wait() == -signal.SIGKILL
    assert kills == 2
    assert 4 <= len(list(tmp_path.glob("s/shard-*.npy"))) < 10
    assert subprocess.run(command, check=False).returncode == 0
    left = contents(tmp_path / "s")
    assert {n: b for n, b in left.items() if not n.startswith(".")} == contents(tmp_path / "whole")


def test_bad_items_stop_before_anything_is_computed(tmp_path):
    def never(_):
        raise AssertionError

    with pytest.raises(InputError, match=r"2 of 10 inputs can't be read: item 3: torn; item 9: torn.*--on-bad skip"):
        fill_store(tmp_path, items(broken=(3, 9)), never, PLAN)
    assert list(tmp_path.iterdir()) == []


def test_bad_items_are_skipped_named_and_counted(tmp_path):
    store = fill_store(tmp_path, items(broken=(3, 9)), embed, PLAN, on_bad="skip")
    assert store.bad == {"item 3": "item 3: torn", "item 9": "item 9: torn"}
    assert store.manifest["bad_count"] == 2
    assert np.array_equal(store.rows()[:, 0], [0, 1, 2, 4, 5, 6, 7, 8])
    with pytest.raises(InputError, match="2 of 10 inputs can't be read"):
        fill_store(tmp_path, items(broken=(3, 9)), embed, PLAN)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"plan": StorePlan("another", "texts", 3, 4, 2)}, "a store with embedder an embedder, got another"),
        ({"plan": StorePlan("an embedder", "images", 3, 4, 2)}, "a store with kind texts, got images"),
        ({"plan": StorePlan("an embedder", "texts", 3, 5, 2)}, "a store with shard_rows 4, got 5"),
        ({"items": items(9)}, "a store of 10 other inputs than these 9"),
        ({"items": items()[::-1]}, "by name, content or order"),
        ({"items": [*items(9), Item("item 9", "changed", lambda: 9)]}, "by name, content or order"),
    ],
)
def test_refuses_a_store_of_something_else(tmp_path, change, message):
    fill_store(tmp_path, items(), embed, PLAN)
    before = contents(tmp_path)
    with pytest.raises(InputError, match=message):
        fill_store(tmp_path, change.get("items", items()), embed, change.get("plan", PLAN))
    assert contents(tmp_path) == before


def test_refuses_what_is_no_store(tmp_path):
    with pytest.raises(InputError, match=r"no manifest.json there"):
        EmbeddingStore(tmp_path / "nowhere")
    (tmp_path / "letter.txt").write_text("dear")
    with pytest.raises(InputError, match=r"holds letter.txt and no manifest.json, so it is no store"):
        fill_store(tmp_path, items(), embed, PLAN)
    (tmp_path / "manifest.json").write_text("{}")
    with pytest.raises(InputError, match="not the manifest of a store"):
        EmbeddingStore(tmp_path)
    (tmp_path / "manifest.json").write_text("{")
    with pytest.raises(InputError, match="not readable as JSON"):
        EmbeddingStore(tmp_path)


def test_a_torn_shard_is_named(tmp_path):
    store = fill_store(tmp_path, items(), embed, PLAN)
    shard = tmp_path / "shard-00001.npy"
    shard.write_bytes(shard.read_bytes()[:-5])
    with pytest.raises(InputError, match=r"shard-00001.npy: can't be read.*delete it"):
        EmbeddingStore(tmp_path).rows()
    np.save(shard, np.zeros((4, 2), np.float16))
    with pytest.raises(InputError, match=r"holds \(4, 2\) float16, expected \(4, 3\)"):
        EmbeddingStore(tmp_path).rows()
    shard.unlink()
    fill_store(tmp_path, items(), embed, PLAN)
    assert np.array_equal(EmbeddingStore(tmp_path).rows(), store.rows())


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (np.zeros((2, 4)), r"gave \(2, 4\) for 2 items, expected \(2, 3\)"),
        (np.full((2, 3), np.nan), "numbers that float16 can't hold, between item 0 and item 1"),
        (np.full((2, 3), 1e6), "numbers that float16 can't hold"),
    ],
)
def test_refuses_rows_that_do_not_fit(tmp_path, rows, message):
    with pytest.raises(InputError, match=message):
        fill_store(tmp_path, items(), lambda _: rows, PLAN)


def test_two_cannot_fill_one_store(tmp_path):
    def again(batch):
        with pytest.raises(InputError, match="another process is filling this store"):
            fill_store(tmp_path, items(), embed, PLAN)
        return embed(batch)

    fill_store(tmp_path, items(), again, PLAN)


def test_names_must_differ_and_there_must_be_some(tmp_path):
    with pytest.raises(InputError, match="two inputs have this name"):
        fill_store(tmp_path, [*items(2), *items(1)], embed, PLAN)
    with pytest.raises(InputError, match="nothing to embed"):
        fill_store(tmp_path, [], embed, PLAN)
    with pytest.raises(InputError, match="none of 2 inputs can be read"):
        fill_store(tmp_path, items(2, broken=(0, 1)), embed, PLAN, on_bad="skip")


def test_pictures_are_told_apart_by_their_bytes(tmp_path):
    Image.new("RGB", (4, 4)).save(tmp_path / "a.png")
    (tmp_path / "torn.png").write_bytes(b"no png")
    first = picture_items([("a", tmp_path / "a.png"), ("torn", tmp_path / "torn.png"), ("gone", tmp_path / "gone.png")])
    assert first[0].load().shape == (4, 4, 3)
    for item in first[1:]:
        with pytest.raises(InputError, match=item.name):
            item.load()
    Image.new("RGB", (4, 4), "red").save(tmp_path / "a.png")
    assert picture_items([("a", tmp_path / "a.png")])[0].content_key != first[0].content_key


def test_blank_texts_are_bad():
    good, blank = text_items([("line 1", "a dog"), ("line 2", " ")])
    assert good.load() == "a dog"
    with pytest.raises(InputError, match="line 2: a blank text"):
        blank.load()


def test_nothing_to_embed_is_refused(tmp_path):
    with pytest.raises(InputError, match="nothing to embed: got no input"):
        fill_store(tmp_path / "s", [], embed, PLAN)
    with pytest.raises(InputError, match="nothing to embed: none of 2 inputs can be read"):
        fill_store(tmp_path / "t", items(2, broken=(0, 1)), embed, PLAN, on_bad="skip")


@pytest.mark.parametrize("name", ["width", "shard_rows", "batch_size"])
def test_a_plan_of_nothing_is_refused(name):
    with pytest.raises(InputError, match=f"{name}: got 0, expected 1 or more"):
        StorePlan("an embedder", "texts", **{"width": 3, "shard_rows": 4, "batch_size": 2, name: 0})


def test_a_pipe_among_pictures_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.png")
    (item,) = picture_items([("pipe", tmp_path / "pipe.png")])
    with pytest.raises(InputError, match=r"pipe\.png: an empty file"):
        item.load()
