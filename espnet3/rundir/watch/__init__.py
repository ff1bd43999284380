"""What a rank shows its watcher, whatever it hangs in: its activity, and its stacks."""
