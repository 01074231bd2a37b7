"""Scene graphs of pictures that come without one: a detector for the nodes, a relation head or geometry for the edges.

Shapes: N nodes.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from segue.methods.detectors import Detections, Detector
from segue.methods.sgdiff.graph import SceneGraph, spatial_relations
from segue.methods.sgdiff.relations import RelationHead
from segue.types import InputError


def detect_graph(image: NDArray[np.uint8], detector: Detector, head: RelationHead | None = None) -> SceneGraph:
    """The scene graph of a picture (H, W, 3) uint8, with the features of the detector's decoder where it has one.

    head: predicts the edges; without it they are those of `graph.spatial_relations`.
    Raises InputError when nothing is detected.
    """
    found = detector(image)
    if not found.labels:
        raise InputError(
            f"no object found with a probability of {detector.threshold} or more; give a graph, or regions"
        )
    return graph_from_detections(found, (image.shape[1], image.shape[0]), head)


def graph_from_detections(found: Detections, size: tuple[int, int], head: RelationHead | None = None) -> SceneGraph:
    """The graph of one or more detections in a picture of `size` (width, height); see `detect_graph`."""
    labels, boxes, features = found
    relations = spatial_relations(boxes) if head is None else head.predict(labels, boxes, size)
    return SceneGraph(tuple(labels), boxes, tuple(relations), size, features=features)
