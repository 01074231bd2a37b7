"""`segue lab run costs`: figures of the benchmarks as rows, which docs and claims can cite.

Run it on a quiet machine, one row at a time. Times are medians of one interleaved run, three times over.

experiment    what is measured
segmenters    parameters and multiply-accumulates, counted exactly, for one picture of 224 pixels
groupvit      our GroupViT beside that of transformers, at the paper's size
sgdiff        SGDiff beside its rival, which writes word by word
photographs   milliseconds a photograph that is captioned, 32 at once on two threads, with its encoder
decoding      CPU time of captions over that of `generate` of transformers, with a decoder of equal sizes
inference     CPU time a picture of bundled networks in float32 and bf16, one and 16 pictures at once
names         CPU time to name the pixels of a picture of 640 x 480 pixels, with 10 names and with 1,000
compiled       the same networks by torch.compile beside as they are, and what compiling takes
int8          graphs of segmenters and a decoder in int8 beside float32: CPU time, megabytes, what it costs
reading       COCO's files at their true size: CPU seconds and gigabytes to read them, and to check them
index         the index of curation, one thread: microseconds a picture to make and to search it, and its recall
curate        the stages of curation by the number of pictures; a million once
stages        CPU time a picture of each stage of curation, one thread, for a million pictures
start         CPU time of `segue caption IMAGE` beside torch and its weights alone; how soon the server is ready
folder        `segue segment FOLDER --note` beside the segmenter alone: CPU time a picture
weights       networks that users bring: parameters, megabytes of the file and of memory
steps         a training step of the papers' recipes at its true size: memory and CPU seconds
"""

from __future__ import annotations

import tempfile
from functools import partial
from pathlib import Path
from typing import Any

from segue.lab.bench.caption import beside_generate, measure_photographs
from segue.lab.bench.commands import SEGMENTERS, measure_folder, measure_start
from segue.lab.bench.curate import bench_curate, measure_index
from segue.lab.bench.data import measure_coco
from segue.lab.bench.groupvit import bench_groupvit
from segue.lab.bench.inference import NETWORKS, bench_inference, measure_compiled, measure_names
from segue.lab.bench.int8 import measure_decoder, measure_graph
from segue.lab.bench.reclmis import MODELS, counted
from segue.lab.bench.sgdiff import bench_sgdiff
from segue.lab.bench.steps import STEPS, measure_step
from segue.lab.bench.weights import DIFFUSION, WEIGHTS, measure
from segue.lab.engine import RequiredData, Row, Work
from segue.methods.cocu.curation.cost import SHARD_STAGES
from segue.synthetic.chest import make_chest

REPEATS = (0, 1, 2)  # in the place of seeds
PICTURES = (10_000, 100_000)
DATA = RequiredData("a folder with covid_cxr/ (chest X-rays in the LViT layout), flickr8k/", ("covid_cxr", "flickr8k"))
INDEXED = (100_000, 300_000, 10_000_000)
PICTURES_ONCE = 1_000_000  # takes too long for three times


def costs_table() -> list[Row]:
    """Segmenters, weights, steps, compiled and int8 once; the others three times."""
    rows = []
    for name in MODELS:
        rows.append(Row("segmenters", name, 0, partial(_segmenter, name, "")))
        rows.append(Row("segmenters", f"{name}, training", 0, partial(_segmenter, name, "_training")))
    for repeat in REPEATS:
        rows.append(Row("groupvit", "paper", repeat, _groupvit))
        rows.append(Row("sgdiff", "untrained", repeat, _sgdiff))
        rows += [Row("decoding", size, repeat, partial(_decoding, size)) for size in ("segue", "faithful")]
        rows += [Row("inference", name, repeat, partial(_inference, name)) for name in NETWORKS]
        rows.append(Row("reading", "coco", repeat, _reading))
        rows.append(Row("names", "photos-encoder", repeat, _names))
        rows += [_curate_row(count, repeat) for count in PICTURES]
    rows.append(_curate_row(PICTURES_ONCE, 0))
    rows.append(Row("stages", f"{PICTURES_ONCE:,} pictures", 0, _stages))
    rows += [Row("index", f"{count:,} pictures", 0, partial(_index, count)) for count in INDEXED]
    rows.append(Row("start", "captions-photos", 0, _start))
    rows.append(Row("photographs", "captions-photos", 0, _photographs, DATA))
    rows += [Row("folder", name, 0, partial(_folder, name)) for name in SEGMENTERS]
    rows += [Row("compiled", name, 0, partial(_compiled, name)) for name in NETWORKS]
    rows.append(Row("int8", "reclmis-chest", 0, _int8_phantoms))
    rows.append(Row("int8", "reclmis-cxr", 0, _int8_xrays, DATA))
    rows.append(Row("int8", "captions-photos, decoder", 0, _int8_decoder))
    rows += [Row("weights", name, 0, partial(_weights, name)) for name in (*WEIGHTS, DIFFUSION)]
    return rows + [Row("steps", name, 0, partial(_step, name)) for name in STEPS]


def _curate_row(count: int, repeat: int) -> Row:
    return Row("curate", f"{count:,} pictures", repeat, partial(_curation, count))


def _segmenter(name: str, phase: str, work: Work) -> dict[str, float]:
    """phase: "" for inference, "_training" for a training step."""
    counts = counted(name, 224)
    return {"params_m": counts[f"params{phase}"] / 1e6, "picture_gmac": counts[f"macs{phase}"] / 1e9}


def _decoding(size: str, work: Work) -> dict[str, float]:
    found = beside_generate(size, vocabulary=10_000, tokens=20, rounds=5)
    return {name.replace(", ", "_").replace(" ", "_"): ratio for name, ratio in found.items()}


def _names(work: Work) -> dict[str, float]:
    return measure_names("photos-encoder")


def _int8_phantoms(work: Work) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        make_chest(Path(place) / "data", seed=7, train=64, val=200, test=1, workers=1)
        return measure_graph("reclmis-chest", Path(place) / "data", Path(place))


def _int8_xrays(work: Work) -> dict[str, float]:
    with tempfile.TemporaryDirectory() as place:
        return measure_graph("reclmis-cxr", DATA.folder(work.data) / "covid_cxr", Path(place))


def _int8_decoder(work: Work) -> dict[str, float]:
    return measure_decoder("captions-photos")


def _index(count: int, work: Work) -> dict[str, float]:
    return measure_index(count)


def _compiled(name: str, work: Work) -> dict[str, float]:
    return measure_compiled(name)


def _start(work: Work) -> dict[str, float]:
    return measure_start()


def _photographs(work: Work) -> dict[str, float]:
    return measure_photographs(DATA.folder(work.data) / "flickr8k")


def _folder(name: str, work: Work) -> dict[str, float]:
    return measure_folder(name)


def _reading(work: Work) -> dict[str, float]:
    return measure_coco()


def _weights(name: str, work: Work) -> dict[str, float]:
    return measure(name)


def _step(name: str, work: Work) -> dict[str, float]:
    return measure_step(name)


def _groupvit(work: Work) -> dict[str, float]:
    found = bench_groupvit()
    ours = {
        f"{kind.removeprefix('ours_')}_ms": 1e3 * s for kind, s in found["seconds"].items() if kind.startswith("ours_")
    }
    return ours | {f"{kind}_over_transformers": value for kind, value in found["ours_over_transformers"].items()}


def _sgdiff(work: Work) -> dict[str, float]:
    """The rival's time over SGDiff's; the time of a further prompt as a share of the first; training steps a second."""
    found = bench_sgdiff()
    shares = {
        f"{kind}_at_{side}_pixels": sides[kind]
        for side, sides in found["pictures"].items()
        for kind in ("further_share", "further_share_detected")
    }
    speed = {name: found[name] for name in ("speedup", "speedup_with_masks", "usual_speedup")}
    return speed | shares | {"training_steps_per_s": found["train_steps_per_s"]}


def _inference(name: str, work: Work) -> dict[str, float]:
    """CPU ms a picture by dtype and batch size, and float32's over bf16's."""
    found = bench_inference(networks=(name,))["networks"][name]["cpu_ms_per_picture"]
    cost = {f"{dtype}_batch_{n}_ms": ms for dtype, of in found.items() for n, ms in of.items()}
    return cost | {f"batch_{n}_speedup": ms / found["bf16"][n] for n, ms in found["float32"].items()}


def _stages(work: Work) -> dict[str, float]:
    """CPU microseconds a picture; all: from captions to the archive, with the search's recall, without sampling."""
    found = bench_curate(pictures=PICTURES_ONCE)
    spent = {f"{stage}_us": 1e6 * seconds / PICTURES_ONCE for stage, seconds in found["cpu_seconds"].items()}
    return spent | {"recall": found["recall"], "peak_rss_mb": found["peak_rss_mb"]}


def _curation(count: int, work: Work) -> dict[str, float]:
    found: dict[str, Any] = bench_curate(pictures=count)
    return {
        **{f"{stage}_per_s": found["pictures_per_s"][stage] for stage in (*SHARD_STAGES, "sampling")},
        "picture_us": 1e3 * found["ms_per_picture"],
        "picture_cpu_us": 1e3 * found["cpu_ms_per_picture"],
        "recall": found["recall"],
        "peak_rss_mb": found["peak_rss_mb"],
        "growth_kb": found["rss_growth_kb_per_picture"],
        **{f"{name}_core_hours": hours["all"] for name, hours in found["projected_core_hours"].items()},
    }
