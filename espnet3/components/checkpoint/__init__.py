"""What a checkpoint holds, and when and how it is written and read."""
