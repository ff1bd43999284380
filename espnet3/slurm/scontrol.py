"""Parses the output of `scontrol --oneliner show …`."""


def fields(line: str) -> dict[str, str]:
    """The `Key=value` fields of one line; a value with blanks is cut after its first word."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)
