"""What `scontrol --oneliner show …` prints, as fields."""


def fields(line: str) -> dict[str, str]:
    """The `Key=value` words of one line; of a value with blanks only its first word."""
    return dict(word.split("=", 1) for word in line.split() if "=" in word)
