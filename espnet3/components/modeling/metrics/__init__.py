"""The statistics of a training: sums over batches and ranks, and how they are logged."""
