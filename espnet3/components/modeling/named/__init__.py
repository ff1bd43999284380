"""Named optimizers: how several optimizers are configured, routed, run and counted; without Lightning."""
