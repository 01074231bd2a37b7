"""SGDiff: from one box to several captions with their masks. Start reading at `model.build_sgdiff`."""
