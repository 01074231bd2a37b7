"""Weights by bundled name, folder and hub id."""

import pytest

from segue.types import InputError
from segue.weights import HUB_FILES, Weights, beside, bundled, pinned, resolve_weights


def test_a_bundled_name_a_folder_and_a_hub_id(tmp_path, monkeypatch):
    chest = bundled()["reclmis-chest"]
    assert resolve_weights("reclmis-chest") == Weights(str(chest), "main")
    assert resolve_weights("reclmis-chest").folder() == chest
    (tmp_path / "owner/name").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert resolve_weights("owner/name").source == "owner/name"  # a folder that is there comes before the hub
    assert resolve_weights("owner/other") == Weights("owner/other", "main")
    assert resolve_weights("owner/other@refs/pr/4") == Weights("owner/other", "refs/pr/4")
    assert resolve_weights("owner/some.thing-2@v1") == Weights("owner/some.thing-2", "v1")


@pytest.mark.parametrize("name", ["nonsense", "a/b/c", "owner/name@", "@v1", "/no/where"])
def test_what_is_none_of_them_is_refused(name):
    with pytest.raises(InputError, match=r"model '.*': neither a folder .*reclmis-chest.* owner/name\[@revision\]"):
        resolve_weights(name)
    with pytest.raises(
        InputError, match=r"detector '.*': neither a folder .* a YOLOX, or a DETR .* owner/name\[@revision\]"
    ) as error:
        resolve_weights(name, "detector")
    assert "reclmis-chest" not in str(error.value)  # none of the bundled models is a detector


def test_a_copy_beside_a_checkpoint_comes_first(tmp_path):
    (tmp_path / "encoder").mkdir()
    (tmp_path / "encoder/config.json").touch()
    assert beside(tmp_path, "encoder") == str(tmp_path / "encoder")
    assert beside(tmp_path, "clip:encoder") == f"clip:{tmp_path / 'encoder'}"
    for name in ("clip:openai/clip", "me/encoder@v1", "/no/where", "scenes-encoder"):
        assert beside(tmp_path, name) == name


def test_a_repository_is_fetched_at_its_revision_and_without_pickles(tmp_path, monkeypatch):
    asked = {}

    def download(repository, *, revision, allow_patterns):
        asked.update(repository=repository, revision=revision, patterns=allow_patterns)
        return str(tmp_path)

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    assert resolve_weights("me/mine@v1").folder() == tmp_path
    assert asked == {"repository": "me/mine", "revision": "v1", "patterns": list(HUB_FILES)}
    assert not any(pattern.endswith((".bin", ".pt", ".ckpt")) for pattern in HUB_FILES)


def test_a_repository_that_can_not_be_had(monkeypatch):
    def download(*_, **__):
        raise OSError("no connection\nand more")

    monkeypatch.setattr("huggingface_hub.snapshot_download", download)
    with pytest.raises(InputError, match=r"me/mine: neither a folder nor to be had from the hub \(no connection\)"):
        resolve_weights("me/mine").folder()


def test_a_hub_id_is_recorded_with_the_commit_that_was_read(tmp_path, monkeypatch):
    """A branch moves on: the run could not be repeated."""
    commit = "0123456789abcdef0123456789abcdef01234567"
    cache = {
        ("me/clip", "config.json", "main"),
        ("me/clip", "config.json", "v1"),
        ("me/sd", "model_index.json", "main"),
    }

    def look_up(repository, file, *, revision):
        there = (repository, file, revision) in cache
        return f"/cache/models--x/snapshots/{commit}/{file}" if there else None

    monkeypatch.setattr("huggingface_hub.try_to_load_from_cache", look_up)
    assert pinned("me/clip") == f"me/clip@{commit}"
    assert pinned("clip:me/clip@v1") == f"clip:me/clip@{commit}"
    assert pinned("diffusion:me/sd") == f"diffusion:me/sd@{commit}"
    for name in ("me/unknown", "reclmis-chest", "synthetic", "0.01", "None", "detector.onnx", str(tmp_path)):
        assert pinned(name) == name
    (tmp_path / "me/clip").mkdir(parents=True)
    monkeypatch.chdir(tmp_path)
    assert pinned("me/clip") == "me/clip"  # the folder comes before the hub
