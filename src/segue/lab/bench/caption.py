"""`segue lab bench caption`: the speed of SynTIC's decoding, and of the projection onto a text support set.

Times are medians over rounds in which every candidate takes its turn, so that a busy machine slows all of them alike.
Beside it stands `generate` of transformers with a GPT-2 of the decoder's sizes, by CPU time.
Memory is measured in fresh processes. Weights are random: every caption has exactly `tokens` tokens.
`measure_photographs` times the bundled captioner of photographs from the pixels on.
"""

from __future__ import annotations

import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor

from segue.api.captioner import load_captioner
from segue.commands.memory import keep_memory
from segue.data.formats import read_pictures
from segue.methods.syntic import SIZES, SupportSet, Syntic, build_syntic, system_config
from segue.nn.decoding import decode
from segue.nn.folding import lay_out_columns
from segue.nn.prefix_decoder import PrefixDecoder
from segue.options import Decoding
from segue.types import InputError

BATCHES = (1, 8, 32, 128)
BEAMS = (1, 3)
TAU = 0.01
END = 1


def bench_captioning(
    *,
    size: Literal["segue", "faithful"] = "segue",
    vocabulary: int = 10_000,
    tokens: int = 20,
    rounds: int = 3,
    support: int = 1_000_000,
    width: int = 512,
    queries: int = 256,
    k: int = 256,
    recall: float = 0.99,
) -> dict[str, Any]:
    """Speed of decoding, and of projection: exact, dense and by an index.

    Args:
        size: of the decoder.
        vocabulary: tokens that the decoder knows.
        tokens: tokens of a caption.
        rounds: how many times each candidate is timed; the median counts.
        support: captions in the support set; 0 leaves projection out.
        width: of the dual encoder.
        queries: pictures projected at a time.
        k: captions that are retrieved from the index.
        recall: the index searches more cells until it finds this share of the true k.

    Raises InputError for a number below 1 (support: below 0).
    """
    if min(tokens, rounds, width, queries, k) < 1 or support < 0:
        raise InputError("expected tokens, rounds, width, queries and k of 1 or more, and support of 0 or more")
    result: dict[str, Any] = {"threads": torch.get_num_threads(), "rounds": rounds}
    result["decoding"] = _decoding(size, vocabulary, tokens, rounds, width)
    result["time_of_generate"] = beside_generate(size, vocabulary, tokens, rounds)
    if support:
        result["projection"] = _projection(support, width, queries, k, recall, rounds)
    return result


def medians(
    runs: dict[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, float]:
    """Median seconds of each; one more round warms up, unless `rounds` is 1."""
    times: dict[str, list[float]] = {name: [] for name in runs}
    for turn in range(rounds + (rounds > 1)):
        for name, run in runs.items():
            start = clock()
            run()
            if turn or rounds == 1:
                times[name].append(clock() - start)
    return {name: statistics.median(values) for name, values in times.items()}


# ---------------------------------------------------------------------------------------------- decoding


@dataclass
class _Sequences:
    """The state of decoding without KV cache: the prefix (R, P, W) and the tokens so far (R, L)."""

    prefix: Tensor
    tokens: Tensor

    def select(self, rows: Tensor) -> _Sequences:
        return _Sequences(self.prefix[rows], self.tokens[rows])


def start_without_cache(decoder: PrefixDecoder, prefix: Tensor) -> tuple[Tensor, _Sequences]:
    """Like `PrefixDecoder.start`, without keys and values."""
    sequences = _Sequences(prefix, torch.empty(len(prefix), 0, dtype=torch.int64))
    return decoder(prefix, sequences.tokens)[:, -1], sequences


def step_without_cache(decoder: PrefixDecoder, tokens: Tensor, sequences: _Sequences) -> tuple[Tensor, _Sequences]:
    """Like `PrefixDecoder.step`, by running the whole sequence again."""
    sequences = _Sequences(sequences.prefix, torch.cat([sequences.tokens, tokens[:, None]], 1))
    return decoder(sequences.prefix, sequences.tokens)[:, -1], sequences


def _decoding(size: str, vocabulary: int, tokens: int, rounds: int, width: int) -> dict[str, Any]:
    torch.manual_seed(0)
    config = system_config(SIZES[size], "full")
    model = build_syntic(config, vocabulary=vocabulary, encoder_width=width, end=END, suppressed_token_ids=[0]).eval()
    lay_out_columns(model.decoder)
    runs: dict[str, Callable[[], object]] = {}
    for batch in BATCHES:
        v = F.normalize(torch.randn(batch, width), dim=1)
        for cached in (True, False):
            runs[_name(batch, cached)] = partial(_generate, model, v, tokens, cached)
    seconds = medians(runs, rounds)
    captions = {name: int(name.split()[1]) / taken for name, taken in seconds.items()}
    naive = captions[_name(1, False)]
    return {
        "size": size,
        "params": sum(p.numel() for p in model.parameters()),
        "vocabulary": vocabulary,
        "tokens_per_caption": tokens,
        "captions_per_s": {name: round(value, 2) for name, value in captions.items()},
        "tokens_per_s": {name: round(value * tokens, 1) for name, value in captions.items()},
        "batch_128_cached_over_batch_1_without": round(captions[_name(128, True)] / naive, 1),
    }


def _name(batch: int, cached: bool) -> str:
    return f"batch {batch}{'' if cached else ' without cache'}"


@torch.inference_mode()
def _generate(model: Syntic, v: Tensor, tokens: int, cached: bool) -> list[list[int]]:
    prefix, decoder = model.prefix(v), model.decoder
    logits, cache = decoder.start(prefix) if cached else start_without_cache(decoder, prefix)
    step = decoder.step if cached else partial(step_without_cache, decoder)
    options = Decoding(max_tokens=tokens)
    found = decode(step, logits, cache, end=END, options=options, suppressed_token_ids=[0, END])
    return [hypotheses[0].tokens for hypotheses in found]


def beside_generate(size: str, vocabulary: int, tokens: int, rounds: int) -> dict[str, float]:
    """Our CPU time over that of `generate` of transformers, which decodes with a GPT-2 of the same sizes.

    By batch and beams; every caption has `tokens` tokens, the weights are random.
    """
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(0)
    config = system_config(SIZES[size], "decap")
    positions = tokens + 2
    decoder = PrefixDecoder(
        vocabulary=vocabulary, width=config.width, layers=config.layers, heads=config.heads, positions=positions
    ).eval()
    lay_out_columns(decoder)
    theirs = GPT2LMHeadModel(
        GPT2Config(
            vocab_size=vocabulary, n_positions=positions, n_embd=config.width, n_layer=config.layers,
            n_head=config.heads, bos_token_id=0, eos_token_id=END, pad_token_id=0,
        )
    ).eval()  # fmt: skip

    @torch.inference_mode()
    def ours(prefix: Tensor, beams: int) -> object:
        options = Decoding(max_tokens=tokens, beams=beams)
        return decode(decoder.step, *decoder.start(prefix), end=END, options=options, suppressed_token_ids=[0, END])

    def generate(prefix: Tensor, beams: int) -> object:
        return theirs.generate(
            inputs_embeds=prefix, attention_mask=torch.ones(prefix.shape[:2], dtype=torch.int64),
            min_new_tokens=tokens, max_new_tokens=tokens, num_beams=beams, do_sample=False, suppress_tokens=[0, END],
        )  # fmt: skip

    found = {}
    for batch in BATCHES:
        prefix = torch.randn(batch, 1, config.width)
        for beams in BEAMS:
            runs: dict[str, Callable[[], object]] = {
                "ours": partial(ours, prefix, beams),
                "generate": partial(generate, prefix, beams),
            }
            taken = medians(runs, rounds, time.process_time)
            found[f"batch {batch}, {beams} beam{'s' * (beams > 1)}"] = round(taken["ours"] / taken["generate"], 3)
    return found


# ------------------------------------------------------------------------------------------- photographs


def measure_photographs(data: Path, *, batch: int = 32, threads: int = 2, rounds: int = 5) -> dict[str, float]:
    """Milliseconds a photograph of `captions-photos`, from decoded pixels to captions with scores and distances.

    data: captioned photographs, of which the first `batch` of `val` are captioned at once. On `threads` threads
    `wall_ms` and `cpu_ms`, and `no_rerank_wall_ms` and `no_rerank_cpu_ms` without ranking ten candidates anew. Memory
    is kept as `segue caption` keeps it. Raises InputError as the reader does.
    """
    keep_memory()
    pictures = [picture.load() for picture in read_pictures(data, "val").pictures[:batch]]
    captioner, before = load_captioner("captions-photos", device="cpu"), torch.get_num_threads()
    runs: dict[str, Callable[[], object]] = {
        "": lambda: list(captioner.caption_many(pictures)),
        "no_rerank_": lambda: list(captioner.caption_many(pictures, rerank=False)),
    }
    torch.set_num_threads(threads)
    try:
        wall, cpu = medians(runs, rounds), medians(runs, rounds, time.process_time)
    finally:
        torch.set_num_threads(before)
    found = {f"{name}{kind}_ms": s for kind, times in (("wall", wall), ("cpu", cpu)) for name, s in times.items()}
    return {name: 1e3 * seconds / len(pictures) for name, seconds in found.items()}


# -------------------------------------------------------------------------------------------- projection


def clustered(rows: int, width: int, seed: int, clusters: int) -> NDArray[np.float16]:
    """(rows, width) unit vectors around common centres, whose cosine to it is about .86, whatever the seed."""
    generator = torch.Generator().manual_seed(0)
    centres = F.normalize(torch.randn(clusters, width, generator=generator), dim=1)
    generator.manual_seed(seed + 1)
    out = np.empty((rows, width), np.float16)
    for start in range(0, rows, 16_384):
        n = min(16_384, rows - start)
        centre = centres[torch.randint(clusters, (n,), generator=generator)]
        noise = torch.randn(n, width, generator=generator) * 0.6 * width**-0.5
        out[start : start + n] = F.normalize(centre + noise, dim=1).half().numpy()
    return out


def project_dense(v: Tensor, features: NDArray[np.float16]) -> Tensor:
    """Eq. 3 by float32 matmul, softmax and matmul over the whole support set."""
    t = torch.from_numpy(features).float()
    return F.normalize((v @ t.T).div_(TAU).softmax(1) @ t, dim=1)


def added_mb(kind: Literal["dense", "streamed"], support: int, width: int, queries: int) -> float:
    """MB by which a projection raises the peak resident memory of a fresh process that already holds the features."""
    code = f"""
import resource, numpy as np, torch
from segue.methods.syntic import SupportSet
from segue.lab.bench.caption import project_dense
tile = torch.nn.functional.normalize(torch.randn(8192, {width}), dim=1).half().numpy()
features = np.empty(({support}, {width}), np.float16)
for start in range(0, {support}, 8192):
    features[start : start + 8192] = tile[: {support} - start]
v = torch.nn.functional.normalize(torch.randn({queries}, {width}), dim=1)
run = {{"dense": lambda t: project_dense(v, t), "streamed": lambda t: SupportSet(t).project(v)}}["{kind}"]
run(tile[:256])  # memory that libraries take once
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
before = peak()
run(features)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return float(done.stdout)


def _projection(rows: int, width: int, queries: int, k: int, recall: float, rounds: int) -> dict[str, Any]:
    memory = {kind: round(added_mb(kind, rows, width, queries), 1) for kind in ("dense", "streamed")}
    clusters = -(-rows // (2 * k))  # of 2k captions each, so that the nearest k are of the query's own
    features = clustered(rows, width, seed=1, clusters=clusters)
    v = torch.from_numpy(clustered(queries, width, seed=2, clusters=clusters)).float()
    support = SupportSet(features, tau=TAU)
    start = time.perf_counter()
    support.build_index()
    built = time.perf_counter() - start
    reached = _tune(support, v, k, recall)
    runs: dict[str, Callable[[], object]] = {
        "dense": partial(project_dense, v, features),
        "streamed": partial(support.project, v),
        "index": partial(support.project_by_index, v, k),
    }
    seconds = medians(runs, rounds)
    exact, dense = support.project(v), project_dense(v, features)
    truncated = support.project_by_index(v, k, measure=True)
    assert truncated.lost_weight is not None
    return {
        "support": rows,
        "width": width,
        "queries": queries,
        "seconds": {name: round(value, 3) for name, value in seconds.items()},
        "added_memory_mb": memory,
        "streamed_error_max": float((exact - dense).abs().max()),
        "streamed_over_dense": round(seconds["streamed"] / seconds["dense"], 2),
        "index": {
            "k": k,
            "build_s": round(built, 1),
            "probes": getattr(support.index, "nprobe", 0),
            "recall": round(reached, 4),
            "faster_than_dense": round(seconds["dense"] / seconds["index"], 1),
            "faster_than_streamed": round(seconds["streamed"] / seconds["index"], 1),
            "weight_lost_mean": float(truncated.lost_weight.mean()),
            "weight_lost_max": float(truncated.lost_weight.max()),
            "projection_cosine_mean": float((truncated.features * exact).sum(1).mean()),
        },
    }


def _tune(support: SupportSet, v: Tensor, k: int, target: float) -> float:
    """Double the cells that are searched until the target recall of the true k is reached; returns the recall."""
    true = support.nearest(v, k)[1]
    found = 0.0
    probes = 1
    while found < target and probes <= 1024:
        if hasattr(support.index, "nprobe"):
            support.index.nprobe = probes
        place = support.nearest_by_index(v, k)[1]
        hits = [len(np.intersect1d(a, b)) for a, b in zip(place.numpy(), true.numpy(), strict=True)]
        found, probes = float(np.mean(hits)) / true.shape[1], 2 * probes
    return found
