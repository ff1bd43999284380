"""The exception of this package: one line for the user."""


class ClusterError(Exception):
    """One line, and the exit code of the command: 2 for a mistake found before anything was done."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
