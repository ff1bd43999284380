"""Compose a recipe's configuration, check what the user changed in it, and fingerprint its parts."""
