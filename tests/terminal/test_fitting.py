"""Text that fits a terminal."""

import pytest

from espnet3.terminal.fitting import folded, narrowed, path_within, without_middle

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


@pytest.mark.parametrize(
    ("width", "shown"),
    [(80, "/data/recipes/egs/digits/asr/exp/default"), (30, "/…/egs/digits/asr/exp/default"),
     (20, "/…/asr/exp/default"), (5, "/…/default")],
)  # fmt: skip
def test_a_long_path_loses_folders_in_its_middle(width: int, shown: str):
    assert path_within("/data/recipes/egs/digits/asr/exp/default", width) == shown


def test_a_relative_path_keeps_its_first_folder_and_a_name_both_ends():
    assert path_within("egs/digits/asr/exp/sweeps/rates", 25) == "egs/…/exp/sweeps/rates"
    assert path_within("default", 3) == "default"
    assert without_middle("lr-1e-4__hash", 9) == "lr-1…hash"


def test_the_widest_columns_become_narrower_first():
    assert narrowed([4, 20, 30], {1, 2}, 15, least=8) == [4, 17, 18]
    assert narrowed([4, 20, 30], {1, 2}, 99, least=8) == [4, 8, 8]
    assert narrowed([4, 20], set(), 5, least=8) == [4, 20]
