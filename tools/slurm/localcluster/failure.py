"""The one exception of this package: what went wrong, in a line for the person at the terminal."""


class ClusterError(Exception):
    """One line, and the exit code of the command: 2 for a mistake found before anything was done."""

    def __init__(self, message: str, code: int = 1) -> None:
        super().__init__(message)
        self.code = code
