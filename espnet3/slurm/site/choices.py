"""The names that there are, for a message in which Slurm refuses one."""

import getpass
from collections.abc import Callable, Sequence

from espnet3.errors import UserError, first_of
from espnet3.slurm.command import ask
from espnet3.slurm.site.cluster import TIMEOUT_S, parse_associations
from espnet3.slurm.site.partitions import Partition

_SHOWN = 5


def there_are(refusal: str, partitions: Sequence[Partition]) -> str:
    """The end of a message: "; your QOS are low, normal"; empty if `refusal` is about something else.

    Slurm is asked for accounts, QOS and features only if it has refused one; nothing is said if it does not
    answer.

    Args:
        refusal: Slurm's own message.
        partitions: those of the site.
    """
    for sign, what, names_of in _KINDS:
        if sign in refusal.lower():
            try:
                names = names_of(partitions)
            except UserError:
                return ""
            return f"; {what} {first_of(names, _SHOWN)}" if names else ""
    return ""


def _partitions(partitions: Sequence[Partition]) -> list[str]:
    return [part.name for part in partitions]


def _accounts(partitions: Sequence[Partition]) -> list[str]:
    return list(dict.fromkeys(row.account for row in parse_associations(_associations())))


def _qos(partitions: Sequence[Partition]) -> list[str]:
    own = list(dict.fromkeys(name for row in parse_associations(_associations()) for name in row.qos))
    return own or _sacctmgr("qos", "format=Name").split()


def _features(partitions: Sequence[Partition]) -> list[str]:
    shown = ask(["sinfo", "--noheader", "--format=%f"], timeout_s=TIMEOUT_S).replace(",", " ").split()
    return [name for name in dict.fromkeys(shown) if name != "(null)"]


def _associations() -> str:
    return _sacctmgr("associations", f"user={getpass.getuser()}", "format=Account,Partition,QOS")


def _sacctmgr(entity: str, *arguments: str) -> str:
    return ask(["sacctmgr", "--noheader", "--parsable2", "show", entity, *arguments], timeout_s=TIMEOUT_S)


_KINDS: tuple[tuple[str, str, Callable[[Sequence[Partition]], list[str]]], ...] = (
    ("invalid partition", "there are", _partitions),
    ("invalid account", "your accounts are", _accounts),
    ("invalid qos", "your QOS are", _qos),
    ("invalid feature", "nodes have", _features),
)
"""What Slurm's message holds, what is said, and the names."""
