"""The Lightning module and how its optimizers are run."""
