"""Caption <-> layout synthesis, both ways in one set of weights; see `model`."""
