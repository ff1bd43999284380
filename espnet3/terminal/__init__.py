"""Output for users: lines, progress bars and tables on a terminal or in a file.

Imports `errors` only; `status` and the layers above it may import it.
"""
