"""What a training is made of. The only layer that imports torch and Lightning at module level."""
