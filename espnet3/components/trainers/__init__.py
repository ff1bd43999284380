"""From the configuration to a Lightning Trainer."""
