"""What others have written, such as Slurm's messages and names of metrics, does nothing to a terminal."""

import io
from collections.abc import Callable

import pytest
from rich.console import Console

from espnet3.__main__ import main
from espnet3.terminal.screen import ProgressBar, Screen

ODD = "\x1b[2J\a[/red]"


def show_heartbeat(screen: Screen) -> None:
    with ProgressBar(screen, "stage 2 [/red]") as bar:
        bar.show({"metrics": {ODD: 1.0}, "epoch": 1})
        bar.say(ODD)


def redraw(screen: Screen) -> None:
    with screen.redrawn() as show:
        show([[(ODD, "bold")]])


@pytest.mark.parametrize("is_terminal", [True, False])
@pytest.mark.parametrize(
    "show",
    [
        lambda screen: screen.line(ODD),
        lambda screen: screen.styled([(ODD, "bold")]),
        lambda screen: screen.metrics("valid", {ODD: ODD}),
        redraw,
        show_heartbeat,
    ],
)
def test_control_characters_and_markup_are_shown_as_text(
    show: Callable[[Screen], None], is_terminal: bool, capsys: pytest.CaptureFixture[str]
):
    screen, written = Screen(), io.StringIO()
    screen.console = Console(file=written, force_terminal=is_terminal, width=80, highlight=False)
    screen.is_terminal = is_terminal
    show(screen)
    text = written.getvalue() + capsys.readouterr().out
    assert "\x1b[2J" not in text.replace("\x1b[2J\x1b[H", "") and "\a" not in text
    assert r"\x1b[2J\x07[/red]" in text or (show is show_heartbeat and not is_terminal)


def test_a_mistake_is_one_line_whatever_was_given(capsys: pytest.CaptureFixture[str]):
    assert main(["run", "--recipe", "a\nb\r\x1b[2J\u2028c"]) == 2
    said = capsys.readouterr().err
    assert said.startswith(r"espnet3: a\nb\r\x1b[2J\u2028c is no recipe") and len(said.splitlines()) == 1
