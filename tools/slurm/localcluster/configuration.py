"""The contents of the configuration files, as pure functions of a Cluster."""

from __future__ import annotations

from pathlib import Path

from .settings import Cluster

# Seconds. A node goes DOWN at the second unanswered ping that ends this long after its last answer; a ping
# lasts up to MessageTimeout: together 37 s.
NODE_TIMEOUT = 15
# A node answers a request to end a step when the step has ended: after KillWait at the latest. A request
# without an answer in time is sent again a minute later, and would end that step of the requeued job.
KILL_WAIT = 10
MESSAGE_TIMEOUT = KILL_WAIT + 10
# Slurm holds a requeued job for the lifetime of a job credential: two minutes by default.
CREDENTIAL_LIFE = 10


def slurm_conf(cluster: Cluster) -> str:
    """slurm.conf: GPUs as GRES, accounting, two partitions of which `urgent` preempts `normal` by requeue."""
    controller, database, *nodes = cluster.ports
    folder = cluster.folder
    lines = [
        "ClusterName=espnet3",
        "SlurmctldHost=localhost(127.0.0.1)",
        f"SlurmctldPort={controller}",
        f"SlurmUser={cluster.user}",
        f"SlurmdUser={cluster.user}",
        f"AuthInfo=socket={cluster.munge_socket},cred_expire={CREDENTIAL_LIFE}",
        f"StateSaveLocation={folder}/state",
        f"SlurmdSpoolDir={folder}/spool/%n",
        f"SlurmctldPidFile={folder}/slurmctld.pid",
        f"SlurmdPidFile={folder}/%n.pid",
        f"SlurmctldLogFile={cluster.log('slurmctld')}",
        f"SlurmdLogFile={cluster.log('%n')}",
        "MailProg=/bin/true",
        "",
        "# no cgroups: this also runs in a container",
        "ProctrackType=proctrack/linuxproc",
        "TaskPlugin=task/none",
        "JobAcctGatherType=jobacct_gather/linux",
        "MpiDefault=none",
        "SlurmdParameters=config_overrides",
        "# salloc's shell runs on the first node; a command that is given to salloc, where it was called",
        "LaunchParameters=use_interactive_step",
        "",
        "SchedulerType=sched/backfill",
        "SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2",
        "SelectType=select/cons_tres",
        "SelectTypeParameters=CR_CPU_Memory",
        "DefMemPerCPU=1000",
        "GresTypes=gpu",
        "PreemptType=preempt/partition_prio",
        "PreemptMode=REQUEUE",
        f"KillWait={KILL_WAIT}",
        "",
        f"SlurmdTimeout={NODE_TIMEOUT}",
        "TCPTimeout=2",
        f"MessageTimeout={MESSAGE_TIMEOUT}",
        "ReturnToService=2",
        "",
        "AccountingStorageType=accounting_storage/slurmdbd",
        "AccountingStorageHost=localhost",
        f"AccountingStoragePort={database}",
        # not a password: where slurmctld and sacct find munged when they talk to slurmdbd
        f"AccountingStoragePass={cluster.munge_socket}",
        "AccountingStorageTRES=gres/gpu",
        "",
    ]
    for name, port in zip(cluster.node_names, nodes, strict=True):
        lines.append(
            f"NodeName={name} NodeHostname=localhost NodeAddr=127.0.0.1 Port={port} CPUs={cluster.cpus}"
            f" RealMemory={cluster.memory_mb} Gres=gpu:{cluster.gpus} State=UNKNOWN"
        )
    lines += [
        "",
        "PartitionName=normal Nodes=ALL Default=YES PriorityTier=1 PreemptMode=REQUEUE",
        "PartitionName=urgent Nodes=ALL PriorityTier=10 PreemptMode=OFF",
    ]
    return "\n".join(lines) + "\n"


def gres_conf(cluster: Cluster) -> str:
    """gres.conf: every node's GPUs; without any, an empty list."""
    lines = ["AutoDetect=off"]
    if cluster.gpus:
        names = ",".join(cluster.node_names)
        lines.append(f"NodeName={names} Name=gpu File={','.join(map(str, gpu_files(cluster)))}")
    return "\n".join(lines) + "\n"


def gpu_files(cluster: Cluster) -> list[Path]:
    """The files that stand for the GPUs' devices; Slurm takes CUDA_VISIBLE_DEVICES from their last digits."""
    return [cluster.folder / "gpu" / f"gpu{index}" for index in range(cluster.gpus)]


def slurmdbd_conf(cluster: Cluster) -> str:
    """slurmdbd.conf: accounting in MariaDB over its socket, which MYSQL_UNIX_PORT names."""
    return "\n".join(
        [
            "DbdHost=localhost",
            "DbdAddr=127.0.0.1",
            f"DbdPort={cluster.ports[1]}",
            f"SlurmUser={cluster.user}",
            "AuthType=auth/munge",
            f"AuthInfo=socket={cluster.munge_socket}",
            f"LogFile={cluster.log('slurmdbd')}",
            f"PidFile={cluster.folder}/slurmdbd.pid",
            "StorageType=accounting_storage/mysql",
            "StorageHost=localhost",
            "StorageUser=root",
            "StorageLoc=slurm_acct_db",
            "",
        ]
    )


def configuration_files(cluster: Cluster) -> dict[Path, str]:
    """Every configuration file and its text."""
    directory = cluster.slurm_conf.parent
    return {
        cluster.slurm_conf: slurm_conf(cluster),
        directory / "gres.conf": gres_conf(cluster),
        # otherwise slurmd asks systemd for a scope, where there is systemd
        directory / "cgroup.conf": "IgnoreSystemd=yes\n",
        directory / "slurmdbd.conf": slurmdbd_conf(cluster),
    }


def exports(cluster: Cluster) -> str:
    """The shell commands that make Slurm's commands use this cluster."""
    return f"export SLURM_CONF={cluster.slurm_conf}\n"
