"""What the person in front of the command sees."""

import pytest

from espnet3.terminal.screen import folded

STATS = "stage 1 collect_stats: 96 train and 32 valid utterances, feats of 129 dimensions in exp/be23, 4.1 s"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("stage 0 prepare starts", "stage 0 prepare starts"),
        (
            STATS,
            "stage 1 collect_stats: 96 train and 32 valid utterances, feats of 129 dimensions\n"
            "  in exp/be23, 4.1 s",
        ),
        (f"    raise ValueError({'x' * 80!r})", f"    raise ValueError({'x' * 80!r})"),
        (
            f"detached; follow it with `espnet3 logs -f {'egs/' * 12}exp/default`, or `espnet3 cancel` it",
            "detached; follow it with\n"
            f"  `espnet3 logs -f {'egs/' * 12}exp/default`,\n"
            "  or `espnet3 cancel` it",
        ),
        (f"failed: {'p/' * 60} is missing", f"failed:\n  {'p/' * 60}\n  is missing"),
    ],
)
def test_lines_are_folded_between_words_and_never_inside_paths_and_commands(text: str, shown: str):
    assert folded(text, 80) == shown
