"""Whether a scene shows what a caption asks for."""

from itertools import combinations

from segue.synthetic.scenes.placement import relation_holds, supporting_stuff


def shows(scene, request, seen=None):
    """Some choice of things answers every noun of the request and makes all its relations true. seen: what counts."""
    seen = list(range(len(scene.things))) if seen is None else list(seen)
    kinds = {s.kind for s in scene.stuff}
    return set(request.stuff) <= kinds and request.light in (None, scene.light) and _assign(scene, request, seen, [])


def _assign(scene, request, seen, chosen):
    if len(chosen) == len(request.things):
        return all(
            any(all(relation_holds(scene.things, (s, p, o)) for s in chosen[a] for o in chosen[b]) for p in predicates)
            for a, predicates, b in request.relations
        )
    wanted, taken = request.things[len(chosen)], {k for c in chosen for k in c}
    fits = [k for k in seen if k not in taken and _fits(scene, k, wanted)]
    low, high = wanted.count
    if low > 1:  # "two dogs": all that there are
        there = [k for k in seen if k not in taken and scene.things[k].kind in wanted.kinds]
        choices = [tuple(there)] if low <= len(there) <= high and set(there) <= set(fits) else []
    else:
        choices = combinations(fits, 1)
    return any(_assign(scene, request, seen, [*chosen, choice]) for choice in choices)


def _fits(scene, k, wanted):
    thing = scene.things[k]
    return (
        thing.kind in wanted.kinds
        and wanted.colour in (None, thing.colour)
        and wanted.size in (None, thing.size)
        and wanted.pose in (None, thing.pose)
        and wanted.ground in (None, floor(scene, k))
    )


def floor(scene, k):
    carrier = next((o for s, p, o in scene.relations if s == k and p == "on"), None)
    at = supporting_stuff(scene, k) if carrier is None else None
    return floor(scene, carrier) if carrier is not None else None if at is None else scene.stuff[at].kind
