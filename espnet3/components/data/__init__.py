"""Datasets, data loaders, batching and the statistics of features."""
