"""From a dataset to the batches of a rank: which utterances, in which order, padded, by which workers."""
