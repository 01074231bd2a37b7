import torch

from segue.methods.checkpoint import write_checkpoint


def test_everyone_may_read_a_checkpoint(tmp_path):
    """A temporary folder's own mode once came along with its files: another user's server couldn't read them."""
    extra = tmp_path / "extra"
    extra.mkdir(mode=0o700)
    (extra / "tokenizer.json").write_text("{}")
    folder = tmp_path / "model"
    for _ in range(2):  # fresh, and over an older one
        write_checkpoint(folder, {"method": "any"}, {"x": torch.zeros(2)}, extra)
        assert folder.stat().st_mode & 0o777 == 0o755
        assert {f.name: f.stat().st_mode & 0o777 for f in folder.iterdir()} == {
            "config.json": 0o644, "model.safetensors": 0o644, "tokenizer.json": 0o644
        }  # fmt: skip
