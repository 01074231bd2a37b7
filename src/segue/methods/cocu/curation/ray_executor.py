"""Curation on Ray Data: shards run on this machine's cores, or on a cluster's where RAY_ADDRESS names one.

The workers write part files into the run's folder, which all machines of a cluster must see. Ray restarts a lost worker
and gives it the shard again. As a shard is written whole or not at all, the archive is the same byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from segue.methods.cocu.archive import require
from segue.methods.cocu.curation.run import Executor, RunShard


def ray_executor(workers: int | None = None) -> Executor:
    """An executor for `curate` that runs shards on Ray's workers, each on a core of its own.

    workers: how many; as many as there are cores unless given. Raises InputError where Ray is not installed.
    """
    require("ray.data")
    return partial(_run_on_ray, workers=workers)


def _run_on_ray(
    run_shard: RunShard, numbers: Sequence[int], workers: int | None
) -> Iterator[tuple[int, dict[str, float]]]:
    ray = require("ray")
    if not numbers:
        return
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    data = require("ray.data")
    data.DataContext.get_current().enable_progress_bars = False
    cores = int(ray.cluster_resources().get("CPU", 1))
    shards = data.from_items([{"number": number} for number in numbers], override_num_blocks=len(numbers))
    finished = shards.map(
        _Worker,
        fn_constructor_args=(ray.put(run_shard),),
        concurrency=min(workers or cores, cores, len(numbers)),
        num_cpus=1,
    )
    for row in finished.iter_rows():
        yield row["number"], dict(zip(row["stages"], row["seconds"], strict=True))


class _Worker:
    """Holds the job, which it fetches once, and runs its shards."""

    def __init__(self, reference: Any) -> None:
        self.run_shard: RunShard = require("ray").get(reference)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number, seconds = self.run_shard(int(row["number"]))
        return {"number": number, "stages": list(seconds), "seconds": list(seconds.values())}
