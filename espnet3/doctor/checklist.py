"""Findings about the cluster and this machine: pure functions."""

from collections.abc import Iterator, Mapping
from pathlib import Path

from espnet3.doctor.finding import Finding, note, right, wrong
from espnet3.number_text import counted
from espnet3.resources import Resources
from espnet3.slurm.environment import sbatch_defaults, sbatch_variable, surrounding_job
from espnet3.slurm.site.cluster import COMMANDS, Cluster
from espnet3.slurm.site.partitions import Partition

SHARED_FILE_SYSTEMS = (
    *("nfs", "nfs4", "lustre", "gpfs", "beegfs", "fhgfs", "ceph", "cephfs", "glusterfs", "wekafs", "panfs"),
    *("afs", "pvfs2", "orangefs", "cifs", "smb3", "9p", "quobyte", "juicefs", "vast", "daos", "sshfs"),
)
SHORT_GRACE_S = 30


def about_cluster(cluster: Cluster) -> Iterator[Finding]:
    """Slurm's commands, controller, partitions, and accounting, requeueing and preemption."""
    absent = [name for name in COMMANDS if name in cluster.missing]
    if absent:
        yield wrong(
            f"{', '.join(absent)} not on PATH",
            "log in to a node from which jobs are submitted, or load the site's Slurm module;"
            " launcher=local needs none",
        )
        return
    yield right(f"{cluster.version}: {', '.join(COMMANDS)}")
    if cluster.away:
        yield wrong(
            f"Slurm's controller does not answer ({cluster.away})",
            "try again later, or ask the site; SLURM_CONF must name this cluster's slurm.conf, if it is set",
        )
        return
    yield right(f"the controller of cluster {cluster.name} answers")
    for partition in cluster.partitions:
        yield _about_partition(partition, cluster)
    if not any(partition.is_default for partition in cluster.partitions):
        yield note("no partition is the default", "name one: resources.all.partition in a site file")
    yield from _about_accounting(cluster)
    yield from _about_arrays_and_preemption(cluster)


def about_resources(resources: Resources, cluster: Cluster) -> Iterator[Finding]:
    """Whether the user may use the account and QOS of `train`, and whether jobs need a wckey."""
    accounts = {association.account for association in cluster.associations}
    if resources.account and accounts and resources.account not in accounts:
        yield wrong(
            f"resources.train.account={resources.account} is none of yours",
            f"you may use {', '.join(sorted(accounts))}",
        )
    allowed = {qos for association in cluster.associations for qos in association.qos}
    if resources.qos and allowed and resources.qos not in allowed:
        yield wrong(
            f"resources.train.qos={resources.qos} is none of yours",
            f"you may use {', '.join(sorted(allowed))}",
        )
    if cluster.enforces("wckeys") and "wckey" not in resources.additional_parameters:
        wckeys = ", ".join(cluster.wckeys) or "ask the site which"
        yield note(
            "jobs need a wckey here",
            f"resources.all.additional_parameters: {{wckey: …}} in a site file ({wckeys}), unless you"
            " have a default",
        )


def about_environment(environment: Mapping[str, str]) -> Iterator[Finding]:
    """Variables of sbatch that espnet3 ignores, and whether this shell is inside a job."""
    if job_id := surrounding_job(environment):
        yield note(f"this shell is inside Slurm job {job_id}")
        return
    for name, value in sorted(sbatch_defaults(environment).items()):
        yield note(
            f"{sbatch_variable(name)}={value} is not used, so that only the configuration decides",
            f"say it in a site file (resources.all.{name}: {value})",
        )


def about_file_systems(paths: Mapping[str, Path], mounts: str) -> Iterator[Finding]:
    """Whether other machines can see `paths`, judged by the kind of file system.

    Args:
        paths: description -> absolute path.
        mounts: the text of /proc/self/mountinfo.
    """
    kinds = {name: file_system(path, mounts) for name, path in paths.items()}
    for name, path in paths.items():
        if _is_shared(kinds[name]):
            yield right(f"{name} ({path}) is on a network file system, {kinds[name]}")
    local = [name for name in paths if not _is_shared(kinds[name])]
    if local:
        shown = ", ".join(f"{name} ({paths[name]}, {kinds[name] or 'unknown'})" for name in local)
        yield note(f"on file systems that nodes may not see: {shown}", "the probe job tells")


def _is_shared(kind: str) -> bool:
    return kind.removeprefix("fuse.") in SHARED_FILE_SYSTEMS


def file_system(path: Path, mounts: str) -> str:
    """The kind of file system of `path`, from the text of /proc/self/mountinfo; empty if unknown."""
    mount, kind = "", ""
    for line in mounts.splitlines():
        before, _, after = line.partition(" - ")
        fields = before.split()
        if len(fields) < 5 or not after:
            continue
        point = fields[4].replace("\\040", " ")
        if path.is_relative_to(point) and len(point) >= len(mount):
            mount, kind = point, after.split()[0]
    return kind


def _about_partition(partition: Partition, cluster: Cluster) -> Finding:
    nodes = "; ".join(map(str, cluster.hardware.get(partition.name, ()))) or counted(partition.nodes, "node")
    words = [nodes, f"time limit: {partition.time_limit}"]
    if partition.max_nodes is not None:
        words.append(f"at most {counted(partition.max_nodes, 'node')} a job")
    if partition.preempt_mode not in ("OFF", "N/A"):
        words.append(f"jobs may be preempted ({partition.preempt_mode}, GraceTime {partition.grace_s} s)")
    if partition.accounts:
        words.append(f"accounts: {', '.join(partition.accounts)}")
    if partition.qos:
        words.append(f"QOS: {', '.join(partition.qos)}")
    name = f"partition {partition.name}{' (default)' if partition.is_default else ''}"
    text = f"{name}: {'; '.join(words)}"
    return right(text) if partition.state == "UP" else note(text, f"it is {partition.state}")


def _about_accounting(cluster: Cluster) -> Iterator[Finding]:
    if cluster.no_sacctmgr:
        yield note(f"accounts are not known ({cluster.no_sacctmgr})")
    elif cluster.associations:
        shown = []
        for association in cluster.associations:
            default = " (default)" if association.account == cluster.default_account else ""
            where = f" in {association.partition}" if association.partition else ""
            qos = ", ".join(association.qos) or "of the partition"
            shown.append(f"{association.account}{default}{where} with QOS {qos}")
        yield right(f"your accounts: {'; '.join(shown)}")
    elif cluster.enforces("associations"):
        yield wrong("you have no account here, and jobs need one", "ask the site for an association")
    else:
        yield right("no account is needed")
    if cluster.no_sacct:
        yield note(
            f"sacct does not answer ({cluster.no_sacct})",
            "states of jobs that ended some minutes ago come from the run directory alone",
        )
    else:
        yield right("sacct answers")
    if cluster.setting("TrackWCKey").lower() == "yes" or cluster.enforces("wckeys"):
        needed = "needed" if cluster.enforces("wckeys") else "kept, not needed"
        yield note(f"wckeys are {needed}; yours: {', '.join(cluster.wckeys) or 'none'}")


def _about_arrays_and_preemption(cluster: Cluster) -> Iterator[Finding]:
    max_array_size = cluster.setting("MaxArraySize")
    yield right(
        f"MaxArraySize {max_array_size or 'unknown'}: a job array has at most so many elements; JobRequeue"
        f" {cluster.setting('JobRequeue') or 'unknown'} (our jobs ask to be requeued)"
    )
    mode, kind = cluster.setting("PreemptMode"), cluster.setting("PreemptType")
    wait = cluster.setting("KillWait").removesuffix(" sec")
    kill = f"KillWait {wait} s between SIGTERM and SIGKILL"
    if mode in ("", "OFF"):
        yield right(f"no preemption; {kill}")
    elif "CANCEL" in mode:
        yield note(
            f"preempted jobs are cancelled (PreemptMode {mode}, {kind}); {kill}",
            "they do not start again by themselves: espnet3 resume",
        )
    else:
        yield right(f"preemption: PreemptMode {mode}, {kind}; {kill}")
    if wait.isdigit() and int(wait) < SHORT_GRACE_S:
        yield note(
            f"KillWait is {wait} s",
            "a training that is cancelled has so long to save: let checkpoint.every_minutes be short",
        )
