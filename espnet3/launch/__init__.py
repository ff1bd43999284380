"""Jobs: planned, submitted, run and told. Knows nothing about training."""
