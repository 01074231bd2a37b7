"""SGDiff: several grounded captions for one box on a picture. Start reading at `segue.methods.sgdiff.model.SGDiff`."""
