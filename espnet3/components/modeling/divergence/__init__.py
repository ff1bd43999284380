"""A training that goes wrong: gradients and weights that are not finite, what is skipped, when it fails."""
