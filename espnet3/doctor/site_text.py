"""The text of a commented site file for a cluster: a pure function."""

from collections.abc import Mapping

from espnet3.number_text import counted
from espnet3.resources import Resources
from espnet3.slurm.environment import sbatch_defaults
from espnet3.slurm.site.cluster import Cluster
from espnet3.slurm.site.partitions import Partition, eligible_partitions

COLUMN = 44


def site_text(cluster: Cluster, environment: Mapping[str, str], *, date: str) -> str:
    """The text of a site file: required settings are set, optional ones are comments.

    Args:
        cluster: what Slurm reports.
        environment: its SBATCH_ variables are the user's present defaults of sbatch.
        date: when it is written.
    """
    lines = [
        f"# espnet3 on the cluster {cluster.name}, as `espnet3 doctor --write-site` found it on {date}.",
        "# Every recipe reads this over its own configuration and under the command line; `run.sh --cfg job`",
        "# shows the result. conf/site.yaml of the clone says more. The partitions:",
        *(f"#   {_partition(partition, cluster)}" for partition in cluster.partitions),
        "",
        _line("launcher", "slurm", "where stages run unless launcher=… is given", 0, used=False),
        "",
        "resources:",
        "  all:" + " " * (COLUMN - 6) + "# every stage",
    ]
    user = sbatch_defaults(environment)
    default = next((part for part in cluster.partitions if part.is_default), None)
    first = default or next(iter(cluster.partitions), None)
    partition = user.get("partition") or (first.name if first else "NAME")
    accounts = list(dict.fromkeys(association.account for association in cluster.associations))
    qos = list(dict.fromkeys(name for association in cluster.associations for name in association.qos))
    account = user.get("account") or cluster.default_account or next(iter(accounts), "NAME")
    why = f"Slurm's default is {default.name}" if default else "there is no default here"
    lines += [
        _line("partition", partition, why, 4, used="partition" in user or default is None),
        _line("account", account, _user_has(accounts, cluster.default_account), 4, used="account" in user),
        _line("qos", user.get("qos") or next(iter(qos), "NAME"), _user_has(qos), 4, used="qos" in user),
        _line(
            "constraint", user.get("constraint", "FEATURE"), _features(cluster), 4, used="constraint" in user
        ),
        *_time(cluster, partition),
        *_additional_parameters(cluster, user),
    ]
    gpu = next((part for part in cluster.partitions if part.gpus), None)
    chosen = eligible_partitions(cluster.partitions, partition)
    if gpu is not None and not any(part.gpus for part in chosen):
        lines += ["  train:", _line("partition", gpu.name, "the one above has no GPUs", 4, used=True)]
    lines += [
        "  prepare:",
        _line("launcher", "local", "on the login node, if nodes have no network", 4, used=False),
    ]
    return "\n".join(lines) + "\n"


def _line(key: str, value: str, comment: str, indent: int, *, used: bool) -> str:
    text = f"{' ' * indent}{'' if used else '# '}{key}: {value}"
    return f"{text.ljust(COLUMN - 1)} # {comment}"


def _partition(partition: Partition, cluster: Cluster) -> str:
    kinds = "; ".join(map(str, cluster.hardware.get(partition.name, ()))) or counted(partition.nodes, "node")
    default = " (default)" if partition.is_default else ""
    return f"{partition.name}{default}: {kinds}; time limit: {partition.time_limit}"


def _user_has(names: list[str], default: str = "") -> str:
    shown = [f"{name} (default)" if name == default else name for name in names]
    return f"yours: {', '.join(shown)}" if shown else "none is needed"


def _features(cluster: Cluster) -> str:
    kinds = (kind for kinds in cluster.hardware.values() for kind in kinds)
    features = sorted({name for kind in kinds for name in kind.features.split(",") if name})
    return f"of nodes: {', '.join(features)}" if features else "nodes have none"


def _time(cluster: Cluster, partition: str) -> list[str]:
    """A time limit, set if that of the partition is below our default."""
    limits = [part.max_minutes for part in eligible_partitions(cluster.partitions, partition)]
    longest = None if None in limits else max((limit for limit in limits if limit), default=None)
    usual = Resources().timeout_min
    is_shorter = longest is not None and longest < usual
    minutes = int(longest) if longest is not None and is_shorter else usual
    why = "the partition's limit; a training goes on after it" if is_shorter else "of one attempt, in minutes"
    return [_line("timeout_min", str(minutes), why, 4, used=is_shorter)]


def _additional_parameters(cluster: Cluster, user: Mapping[str, str]) -> list[str]:
    """Options of sbatch that have no key of their own."""
    options = {key: user[key] for key in ("wckey", "reservation") if key in user}
    if cluster.enforces("wckeys") and cluster.wckeys:
        options.setdefault("wckey", cluster.wckeys[0])
    shown = ", ".join(f"{key}: {value}" for key, value in options.items()) or "reservation: NAME"
    why = "jobs need a wckey here" if "wckey" in options else "any further option of sbatch"
    return [_line("additional_parameters", f"{{{shown}}}", why, 4, used=bool(options))]
