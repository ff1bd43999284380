"""Text that fits a terminal's width: folded between words, or without its middle."""

import re
from collections.abc import Collection, Sequence
from pathlib import Path


def folded(text: str, width: int) -> str:
    """`text` in lines of at most `width` columns, indented after the first.

    Words and text between backquotes are not split: people copy paths and commands. An indented text, such
    as a line of a traceback, stays as it is.
    """
    if len(text) <= width or text.startswith(" "):
        return text
    first, *words = re.findall(r"\S*`[^`]*`\S*|\S+", text)
    lines = [first]
    for word in words:
        if len(lines[-1]) + 1 + len(word) > width:
            lines.append(f"  {word}")
        else:
            lines[-1] += f" {word}"
    return "\n".join(lines)


def without_middle(text: str, width: int) -> str:
    """`text` without its middle if it is longer than `width`: names of trials differ at both ends."""
    if len(text) <= width:
        return text
    return f"{text[: width // 2]}…{text[len(text) - (width - 1 - width // 2) :]}"


def path_within(path: str, width: int) -> str:
    """`path` without folders in its middle if it is longer than `width`: `/home/…/asr/exp/default`.

    Its first and last part stay.
    """
    first, *rest = Path(path).parts
    kept = rest[-1:]
    for part in reversed(rest[:-1]):
        if len(str(Path(first, "…", part, *kept))) > width:
            break
        kept.insert(0, part)
    return path if len(path) <= width or len(kept) == len(rest) else str(Path(first, "…", *kept))


def narrowed(sizes: Sequence[int], columns: Collection[int], excess: int, least: int) -> list[int]:
    """Widths of columns, of which `columns` lose `excess` together, the widest first, down to `least`."""
    narrow = list(sizes)
    for _ in range(max(0, excess)):
        widest = max(columns, key=narrow.__getitem__, default=None)
        if widest is None or narrow[widest] <= least:
            break
        narrow[widest] -= 1
    return narrow
