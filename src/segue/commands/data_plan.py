"""`segue data plan`: what a training on a data set will take."""

from __future__ import annotations

from pathlib import Path

from tyro.conf import Positional


def plan(
    data: Positional[Path],
    /,
    recipe: str | None = None,
    processes: int = 1,
    workers: int = 0,
    json: bool = False,
    device: str = "auto",
) -> None:
    """Tell the hours and the memory that a training will take, from a few small steps of it on this machine.

    For pictures with notes it also tells what the training would choose for them: image size or patches, batch,
    augmentation, steps.

    Args:
        data: the data set to train on.
        recipe: reclmis (unless given, for a folder in the LViT layout), reclmis-chest, -qata, -mosmed, or one of cocu,
            crossmodal, sgdiff and syntic, as in `segue train`, each with its own settings.
        processes: how many train together, each on a device like this one.
        workers: processes that make batches for each of them.
        json: print one JSON object.
        device: on which the steps are measured: auto (a GPU where there is one), cpu, cuda, cuda:1, ...
    """
    from pkgutil import resolve_name

    from segue.commands.parsing import print_result
    from segue.nn.devices import resolve_device
    from segue.types import InputError

    device = resolve_device(device)
    if processes < 1 or workers < 0:
        raise InputError(f"got {processes} processes with {workers} workers, expected 1 or more, with 0 or more")
    if recipe is None:
        from segue.data.medical.lvit import splits

        if not splits(data):
            raise InputError(f"{data}: not in the LViT layout, so name the training to plan by --recipe, such as cocu")
        recipe = "reclmis"
    plan_training = resolve_name("segue.recipes.plan:plan_training")  # by name, as the command line starts trainings
    print_result(plan_training(recipe, data, processes=processes, workers=workers, device=device), json)
