"""What the job of a detached search asks for."""

from types import SimpleNamespace
from typing import Any

from omegaconf import OmegaConf

from espnet3.resources import Resources
from espnet3.sweep.search.job import searcher_resources

TRAIN = {
    "nodes": 4, "tasks_per_node": 8, "gpus_per_node": 8, "cpus_per_task": 12, "mem_gb": 400.0,
    "timeout_min": 90, "partition": "gpu", "account": "speech", "qos": "low", "constraint": "ib",
    "setup": ["module load python"], "srun_args": ["--mpi=pmix"],
    "additional_parameters": {
        "wckey": "asr", "reservation": "spring", "mail_type": "END", "exclude": "node7",
        "exclusive": True, "mem_per_gpu": "4G", "--nodelist": "node[1-4]", "gres": "nvme:1",
    },
}  # fmt: skip


def resources(**searcher: Any) -> Resources:
    own = {"mem_gb": 2.0, "timeout_min": None, "partition": None, "qos": None} | searcher
    config = OmegaConf.create({"resources": {"train": TRAIN}, "sweep": {"searcher": own}})
    planned: Any = SimpleNamespace(config=config)
    return searcher_resources(planned)


def test_it_is_one_small_task_where_and_for_whom_the_training_runs():
    assert resources() == Resources(
        mem_gb=2.0, timeout_min=90, partition="gpu", account="speech", qos="low", constraint="ib",
        setup=("module load python",),
        additional_parameters={
            "wckey": "asr", "reservation": "spring", "mail_type": "END", "exclude": "node7",
        },
    )  # fmt: skip


def test_its_own_settings_come_first():
    own = resources(partition="cpu", qos="high", timeout_min=30)
    assert (own.partition, own.qos, own.timeout_min) == ("cpu", "high", 30)
    assert own.constraint is None  # a feature of the other partition's nodes
    assert resources(partition="gpu").constraint == "ib"
