"""The doctor's findings and site file, as pure functions of what a cluster and its nodes say."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from espnet3.config.compose import compose, find_recipe
from espnet3.doctor.checklist import (
    about_cluster,
    about_environment,
    about_file_systems,
    about_resources,
    file_system,
)
from espnet3.doctor.diagnosis import ProbeResults, diagnose
from espnet3.doctor.report import Answer, Batch, Report
from espnet3.doctor.site_text import site_text
from espnet3.resources import Resources
from espnet3.slurm.site.cluster import (
    Association,
    Cluster,
    NodeKind,
    parse_associations,
    parse_hardware,
)
from espnet3.slurm.site.partitions import eligible_partitions, parse_minutes, parse_partitions
from espnet3.slurm.site.settings import parse_settings

SETTINGS = """Configuration data as of 2026-01-01T00:00:00
AccountingStorageEnforce = associations,limits,qos,safe,wckeys
ClusterName             = kelvin
JobRequeue              = 1
KillWait                = 30 sec
MaxArraySize            = 1001
PreemptMode             = GANG,CANCEL
PreemptType             = preempt/qos
SLURM_CONF              = /etc/slurm/slurm.conf
TrackWCKey              = Yes

Slurmctld(primary) at head1 is UP
"""
PARTITIONS = (
    "PartitionName=cpu AllowAccounts=speech,vision AllowQos=ALL Default=YES GraceTime=0 MaxNodes=8"
    " MaxTime=12:00:00 Nodes=c[1-9] PreemptMode=CANCEL State=UP TotalNodes=9 TRES=cpu=72,mem=1G,node=9\n"
    "PartitionName=gpu AllowAccounts=ALL AllowQos=long Default=NO GraceTime=60 MaxNodes=UNLIMITED"
    " MaxTime=2-00:00:00 Nodes=g[1-2] PreemptMode=OFF State=DOWN TotalNodes=2 TRES=cpu=8,gres/gpu=8\n"
)
HARDWARE = """cpu|9|8|64000|(null)|(null)
gpu|1|64|512000|gpu:a100:4(S:0-1)|a100,ib
gpu|1|64+|256000|gpu:v100:4|v100
"""
KELVIN = Cluster(
    version="slurm 23.02.1",
    settings=parse_settings(SETTINGS),
    partitions=tuple(parse_partitions(PARTITIONS)),
    hardware=parse_hardware(HARDWARE),
    associations=parse_associations("speech||normal,long\nvision|gpu|normal\n"),
    default_account="speech",
    wckeys=("asr",),
)


def lines(findings) -> list[str]:
    return [str(finding) for finding in findings]


def only(findings, part: str) -> str:
    """The one line that holds `part`."""
    (line,) = [line for line in lines(findings) if part in line]
    return line


def test_what_slurm_prints_is_read():
    assert KELVIN.name == "kelvin" and KELVIN.enforces("wckeys") and not KELVIN.enforces("nothing")
    cpu, gpu = KELVIN.partitions
    assert (cpu.is_default, cpu.max_minutes, cpu.max_nodes, cpu.accounts) == (
        True,
        720,
        8,
        ("speech", "vision"),
    )
    assert (gpu.max_minutes, gpu.max_nodes, gpu.nodes, gpu.gpus, gpu.grace_s, gpu.qos) == (
        2880, None, 2, 8, 60, ("long",),
    )  # fmt: skip
    assert (cpu.time_limit, gpu.time_limit) == ("12:00 h", "2 days")
    assert KELVIN.hardware["gpu"] == (
        NodeKind(1, 64, 512000, "gpu:a100:4", "a100,ib"),
        NodeKind(1, 64, 256000, "gpu:v100:4", "v100"),
    )
    assert KELVIN.associations[1] == Association("vision", "gpu", ("normal",))


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("UNLIMITED", None),
        ("30:00", 30),
        ("01:30:00", 90),
        ("1-00:00:00", 1440),
        ("2-12", 3600),
        ("INFINITE", None),
    ],
)
def test_times_are_read_as_slurm_prints_them(text: str, minutes: float | None):
    assert parse_minutes(text) == minutes


def test_a_job_may_name_several_partitions_or_none():
    assert [part.name for part in eligible_partitions(KELVIN.partitions, "gpu,cpu")] == ["cpu", "gpu"]
    assert [part.name for part in eligible_partitions(KELVIN.partitions, None)] == ["cpu"]
    assert eligible_partitions(KELVIN.partitions, "none") == []


def test_a_cluster_is_told_line_by_line():
    findings = list(about_cluster(KELVIN))
    assert only(findings, "partition cpu (default)") == (
        "✓ partition cpu (default): 9 nodes of 8 CPUs, 62 GB; time limit: 12:00 h; at most 8 nodes a job;"
        " jobs may be preempted (CANCEL, GraceTime 0 s); accounts: speech, vision"
    )
    assert only(findings, "partition gpu").endswith("QOS: long: it is DOWN")
    assert "gpu:a100:4, features a100,ib; 1 node of" in only(findings, "partition gpu")
    assert "speech (default) with QOS normal, long; vision in gpu with QOS normal" in only(
        findings, "your accounts"
    )
    assert only(findings, "wckeys").startswith("· wckeys are needed; yours: asr")
    assert "espnet3 resume" in only(findings, "PreemptMode GANG,CANCEL")
    assert "MaxArraySize 1001" in only(findings, "MaxArraySize") and "✓ sacct answers" in lines(findings)
    assert all("\n" not in line for line in lines(findings))


def test_what_is_missing_is_said_with_what_to_do():
    lost = lines(about_cluster(Cluster(missing=("sbatch", "sacct"))))
    assert len(lost) == 1 and lost[0].startswith("✗ sbatch not on PATH: ")
    away = lines(about_cluster(Cluster(version="slurm 1", away="Unable to contact")))
    assert away[-1].startswith("✗ Slurm's controller does not answer (Unable to contact): ")
    without = replace(KELVIN, no_sacct="Connection refused", associations=())
    assert only(about_cluster(without), "sacct does").startswith(
        "· sacct does not answer (Connection refused): "
    )
    assert only(about_cluster(without), "no account").startswith("✗ you have no account here")
    free = replace(without, settings={**KELVIN.settings, "AccountingStorageEnforce": "none"})
    assert "✓ no account is needed" in lines(about_cluster(free))
    nameless = replace(KELVIN, partitions=KELVIN.partitions[1:])
    assert "no partition is the default" in only(about_cluster(nameless), "no partition")


def test_accounts_and_keys_that_are_not_the_users_are_named():
    asked = Resources(account="biology", qos="gold")
    found = lines(about_resources(asked, KELVIN))
    assert found[0].startswith(
        "✗ resources.train.account=biology is none of yours: you may use speech, vision"
    )
    assert found[1].startswith("✗ resources.train.qos=gold is none of yours: you may use long, normal")
    assert found[2].startswith("· jobs need a wckey here") and "(asr)" in found[2]
    right = Resources(account="speech", qos="long", additional_parameters={"wckey": "asr"})
    assert lines(about_resources(right, KELVIN)) == []


def test_variables_of_sbatch_are_told_outside_of_a_job():
    assert lines(about_environment({"SBATCH_ACCOUNT": "speech", "HOME": "/"})) == [
        "· SBATCH_ACCOUNT=speech is not used, so that only the configuration decides:"
        " say it in a site file (resources.all.account: speech)"
    ]
    assert "inside Slurm job 7" in lines(about_environment({"SLURM_JOB_ID": "7", "SBATCH_X": "y"}))[0]


def test_file_systems_that_machines_share_are_told_from_others():
    mounts = (
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n"
        "30 22 0:40 / /home rw shared:1 - nfs4 server:/home rw\n"
        "31 22 0:41 / /home/ann\\040b rw - tmpfs none rw\n"
    )
    assert file_system(Path("/home/ann"), mounts) == "nfs4"
    assert file_system(Path("/home/ann b/x"), mounts) == "tmpfs"
    assert file_system(Path("/homes"), mounts) == "ext4"
    found = lines(about_file_systems({"A": Path("/home/x"), "B": Path("/tmp"), "C": Path("/opt")}, mounts))
    assert found == [
        "✓ A (/home/x) is on a network file system, nfs4",
        "· on file systems that nodes may not see: B (/tmp, ext4), C (/opt, ext4): the probe job tells",
    ]


VERSIONS = {"espnet3": "0.1.0", "torch": "2.13.0"}


def seen(*changes: dict, **own) -> ProbeResults:
    """Two nodes as they should be, but for `changes` of each one's report."""
    reports = {}
    for rank, change in enumerate(changes or ({}, {})):
        given = {
            "rank": rank,
            "node": f"n{rank}",
            "python": "3.11.2",
            "versions": VERSIONS,
            "token": "t",
            "gpus": 2,
        }
        reports[rank] = Report(**{**given, "torch_gpus": 2, **change})
    whole = ProbeResults(
        Path("/proj/exp/.probe"), "t", 2, "3.11.2", VERSIONS,
        Batch(["n0", "n1"], {"n0": "10.0.0.1", "n1": "10.0.0.2"}), reports,
        100.0, {0: Answer(0, 100.2), 1: Answer(1, 100.3)}, {0: 100.5, 1: 100.5},
    )  # fmt: skip
    return replace(whole, **own)


def test_nodes_that_are_as_they_should_be():
    found = lines(diagnose(seen()))
    assert [line[0] for line in found] == ["✓"] * 6
    assert "all nodes see /proj/exp;" in found[0] and "0.5 s" in found[0]
    assert "Python 3.11.2 and espnet3 0.1.0, torch 2.13.0 on all nodes" in found[1]


@pytest.mark.parametrize(
    ("problem", "line"),
    [
        (seen({}, {"token": "old"}), "✗ n1 did not read in /proj/exp what was written there: put clone"),
        (seen({}, {"distrust": "it belongs to uid 7"}), "✗ n1 would not run what lies there: it belongs"),
        (seen({}, {"other_files": ["/r/conf/config.yaml"]}), "✗ n1 does not see /r/conf/config.yaml as here"),
        (seen({}, {"python": "3.9.1"}), "✗ versions differ: Python 3.9.1 on n1, 3.11.2 here"),
        (seen({"versions": {**VERSIONS, "torch": None}}, {}), "✗ versions differ: torch None on n0, 2.13.0"),
        (seen({}, {"unresolved": ["n0"]}), "· names of nodes do not resolve: n0 by 10.0.0.1"),
        (seen({}, {"unresolved": ["n0"]}, batch=Batch(["n0", "n1"], {})), "✗ n0: neither name nor"),
        (seen({}, {"unreachable": "n0, port 1: refused"}), "✗ n1 can't connect to n0 (n0, port 1: refused)"),
        (
            seen(batch=Batch(["n0", "n1"], {}, is_requeued=False)),
            "· Slurm does not requeue jobs here (Requeue=0",
        ),
        (seen({"interface": "ib0"}, {"interface": "eth0"}), "✓ gloo and NCCL use ib0 on n0, eth0 on n1"),
        (seen({}, {"gpus": 1}), "✗ 2 GPUs were asked for on each node: n1 gives 1"),
        (seen({"torch_gpus": 0}, {}), "· torch 2.13.0 sees other numbers of GPUs: 0 on n0"),
        (seen({}), "✗ nothing came from n1"),
        (seen(answers={0: Answer(0, 100.2)}), "✗ n1 did not see within a minute"),
        (seen(answer_seen_at={0: 100.5, 1: 130.5}), "· all nodes see /proj/exp; a file and"),
        (seen(answers={0: Answer(0, 100.2), 1: Answer(1, 170.5)}), "✗ clocks differ from here: n1 is 70 s"),
        (seen(answers={0: Answer(0, 40.0), 1: Answer(1, 100.2)}), "✗ clocks differ from here: n0 is 60 s be"),
    ],
)  # fmt: skip
def test_a_node_that_is_not_is_named(problem: ProbeResults, line: str):
    found = lines(diagnose(problem))
    matching = [one for one in found if one.startswith(line)]
    assert len(matching) == 1, found


def test_nothing_is_said_of_nodes_that_never_started():
    assert lines(diagnose(seen(batch=None))) == []


def test_a_site_file_sets_what_jobs_need_and_offers_the_rest(
    small_recipe: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    text = site_text(KELVIN, {"SBATCH_ACCOUNT": "vision", "SBATCH_WAIT": "1"}, date="2026-01-01")
    (tmp_path / "site.yaml").write_text(text)
    monkeypatch.setenv("ESPNET3_SITE", str(tmp_path / "site.yaml"))
    config = compose(find_recipe(small_recipe), [])
    assert config.launcher.name == "local"
    prepare, train = config.resources.prepare, config.resources.train
    assert (prepare.partition, prepare.account, prepare.timeout_min) == (None, "vision", 720)
    assert (train.partition, prepare.additional_parameters) == ("gpu", {"wckey": "asr"})
    for told in (
        "cluster kelvin",
        "#   gpu: 1 node of 64 CPUs, 500 GB, gpu:a100:4",
        "a100, ib, v100",
        "2026-01-01",
    ):
        assert told in text

    offered = re.sub(r"^( *)# (?=\w+: )", r"\1", text, flags=re.MULTILINE)
    (tmp_path / "site.yaml").write_text(offered)
    config = compose(find_recipe(small_recipe), [])
    assert (config.launcher.name, config.resources.prepare.launcher) == ("slurm", "local")
    assert config.resources.validate.partition == "cpu" and config.resources.validate.qos == "normal"


def test_a_site_without_anything_special_needs_nothing(small_recipe: Path, tmp_path: Path, monkeypatch):
    plain = Cluster(
        settings={"ClusterName": "one"}, partitions=tuple(parse_partitions("PartitionName=a Default=YES"))
    )
    (tmp_path / "site.yaml").write_text(site_text(plain, {}, date="today"))
    before = compose(find_recipe(small_recipe), [])
    monkeypatch.setenv("ESPNET3_SITE", str(tmp_path / "site.yaml"))
    assert compose(find_recipe(small_recipe), []) == before
