"""Where Slurm refuses a name, those that there are end the message."""

from pathlib import Path

import pytest

from espnet3.slurm.site.choices import there_are
from espnet3.slurm.site.partitions import Partition

SACCTMGR = """#!/bin/sh
case "$*" in
*associations*) {associations} ;;
*) printf 'normal\\nhigh\\n' ;;
esac
"""
SINFO = "#!/bin/sh\nprintf '(null)\\na100,ib\\nib\\n'\n"
MINE = "printf 'speech||normal,low\\nvision|gpu|low\\nspeech|gpu|\\n'"


@pytest.fixture
def site(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Slurm's commands as a site has them; to be called with what sacctmgr says of associations."""
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def make(associations: str) -> None:
        for name, text in (("sacctmgr", SACCTMGR.format(associations=associations)), ("sinfo", SINFO)):
            (tmp_path / name).write_text(text)
            (tmp_path / name).chmod(0o755)

    return make


@pytest.mark.parametrize(
    ("refusal", "associations", "said"),
    [
        ("invalid partition specified: x", MINE, "; there are short, long"),
        (
            "Invalid account or account/partition combination specified",
            MINE,
            "; your accounts are speech, vision",
        ),
        ("Invalid qos specification", MINE, "; your QOS are normal, low"),
        ("Invalid qos specification", "true", "; your QOS are normal, high"),
        ("Invalid feature specification", MINE, "; nodes have a100, ib"),
        ("Invalid account or account/partition combination", "exit 1", ""),
        ("Requested node configuration is not available", MINE, ""),
    ],
)
def test_a_refused_name_is_followed_by_those_that_there_are(site, refusal: str, associations: str, said: str):
    site(associations)
    assert there_are(refusal, [Partition("short"), Partition("long")]) == said


def test_a_handful_is_named():
    partitions = [Partition(f"p{number}") for number in range(9)]
    assert there_are("invalid partition", partitions) == "; there are p0, p1, p2, p3, p4 and 4 more"
