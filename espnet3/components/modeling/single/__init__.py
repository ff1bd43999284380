"""Training with one optimizer: Lightning's automatic optimization, in which batches can be skipped."""
