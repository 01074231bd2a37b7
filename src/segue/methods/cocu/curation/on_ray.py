"""The shards of a curation on Ray Data: on this machine's cores, or on a cluster's where RAY_ADDRESS names one.

The workers write part files into the run's folder, which all machines of a cluster must see. Ray starts a lost worker
again and gives it the shard anew; as a shard is written whole or not at all, the archive is the same byte for byte.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Any

from segue.methods.cocu.archive import needed
from segue.methods.cocu.curation.run import Spread, Work


def on_ray(workers: int = 0) -> Spread:
    """A way to spread shards over Ray's workers, each on a core of its own; 0: as many as there are cores.

    Raises InputError where Ray is not installed.
    """
    needed("ray.data")
    return partial(_spread, workers=workers)


def _spread(work: Work, numbers: Sequence[int], workers: int) -> Iterator[tuple[int, dict[str, float]]]:
    ray = needed("ray")
    if not numbers:
        return
    if not ray.is_initialized():
        ray.init(include_dashboard=False, log_to_driver=False)
    data = needed("ray.data")
    data.DataContext.get_current().enable_progress_bars = False
    cores = int(ray.cluster_resources().get("CPU", 1))
    shards = data.from_items([{"number": number} for number in numbers], override_num_blocks=len(numbers))
    told = shards.map(
        _Worker,
        fn_constructor_args=(ray.put(work),),
        concurrency=min(workers or cores, cores, len(numbers)),
        num_cpus=1,
    )
    for row in told.iter_rows():
        yield row["number"], dict(zip(row["stages"], row["seconds"], strict=True))


class _Worker:
    """Holds the job, which is fetched once, and does its shards."""

    def __init__(self, work: Any) -> None:
        self.work: Work = needed("ray").get(work)

    def __call__(self, row: dict[str, Any]) -> dict[str, Any]:
        number, seconds = self.work(int(row["number"]))
        return {"number": number, "stages": list(seconds), "seconds": list(seconds.values())}
