import logging
import signal

import pytest
import torch
from lightning.pytorch.plugins.environments import SLURMEnvironment
from omegaconf import OmegaConf

import training_runs as runs
from espnet3.components.trainers.build import build_trainer, trainer_arguments
from espnet3.components.trainers.cluster_environment import TaskEnvironment
from espnet3.errors import UserError
from espnet3.rundir.task import Task

ALONE = Task.single("train")


def config(tmp_path, **trainer):
    return OmegaConf.create({"exp_dir": str(tmp_path), "trainer": {"max_epochs": 1, "devices": 1, **trainer}})


def test_a_mistyped_argument_is_refused_with_the_nearest(tmp_path):
    with pytest.raises(UserError, match=r"trainer\.max_epoch is no argument.*trainer\.max_epochs\?"):
        build_trainer(config(tmp_path, max_epoch=3), ALONE)


@pytest.mark.parametrize("key", ["logger", "callbacks", "use_distributed_sampler", "default_root_dir"])
def test_what_is_configured_elsewhere_is_refused_and_says_where(tmp_path, key):
    with pytest.raises(UserError, match=rf"trainer\.{key} cannot be given here: use "):
        build_trainer(config(tmp_path, **{key: True}), ALONE)


def test_num_device_of_published_configurations_is_accepted_and_unused(tmp_path):
    assert "num_device" not in trainer_arguments(config(tmp_path, num_device=8))


def test_ranks_in_another_number_than_was_launched_are_refused(tmp_path):
    with pytest.raises(UserError, match=r"2 ranks, but 1 launched.*resources\.train"):
        build_trainer(config(tmp_path, devices=2), ALONE)


def test_auto_means_the_cpu_where_no_gpu_was_asked_for(tmp_path):
    given = config(tmp_path, accelerator="auto")
    given.resources = {"train": {"gpus_per_node": 0}}
    assert build_trainer(given, ALONE).strategy.root_device.type == "cpu"


def test_slurm_around_it_changes_nothing(tmp_path, monkeypatch):
    variables = {
        "SLURM_NTASKS": "8", "SLURM_PROCID": "3", "SLURM_LOCALID": "3", "SLURM_NODEID": "1",
        "SLURM_JOB_ID": "17", "SLURM_JOB_NAME": "train", "SLURM_NTASKS_PER_NODE": "4",
    }  # fmt: skip
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    assert SLURMEnvironment.detect(), "Lightning would take it for its own"
    trainer = build_trainer(config(tmp_path), ALONE)
    assert trainer.world_size == 1 and trainer.global_rank == 0 and trainer.is_global_zero


def test_the_environment_is_the_task_and_the_rendezvous_of_the_variables(monkeypatch):
    monkeypatch.setenv("MASTER_ADDR", "node7")
    monkeypatch.setenv("MASTER_PORT", "12345")
    monkeypatch.setenv("NODE_RANK", "1")
    environment = TaskEnvironment(Task("train", rank=5, world_size=8, local_rank=1, num_nodes=2))
    assert (environment.main_address, environment.main_port) == ("node7", 12345)
    assert (environment.global_rank(), environment.local_rank(), environment.node_rank()) == (5, 1, 1)
    assert environment.world_size() == 8 and environment.creates_processes_externally


def test_a_missing_rendezvous_is_told_by_name(monkeypatch):
    monkeypatch.delenv("MASTER_ADDR", raising=False)
    with pytest.raises(RuntimeError, match="MASTER_ADDR is not set"):
        _ = TaskEnvironment(ALONE).main_address


def test_signal_handlers_stay_the_launchers_during_training(tmp_path):
    seen = []

    class Look(runs.Callback):
        def on_train_batch_start(self, *_):
            seen.append([signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)])

    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGUSR1)]
    runs.fit([runs.data(0)], tmp_path, callbacks=[Look()])
    assert seen == [before]


def test_lightning_says_nothing_of_its_own(tmp_path, caplog, capfd, recwarn):
    with caplog.at_level(logging.INFO):
        runs.fit([runs.data(0)], tmp_path, valid=[runs.data(1)])
    assert {record.name.split(".")[0] for record in caplog.records} <= {"espnet3"}
    assert [str(warning.message) for warning in recwarn] == []
    assert capfd.readouterr().out == ""


def test_callbacks_of_the_configuration_run_besides_ours(tmp_path):
    given = config(tmp_path)
    given.callbacks = {"rate": {"_target_": "lightning.pytorch.callbacks.LearningRateMonitor"}, "none": None}
    names = [type(callback).__name__ for callback in build_trainer(given, ALONE).callbacks]
    assert names == ["LearningRateMonitor"]


def test_the_precision_of_matrix_products_is_set_where_it_is_given(tmp_path):
    before = torch.get_float32_matmul_precision()
    try:
        build_trainer(config(tmp_path, float32_matmul_precision="high"), ALONE)
        assert torch.get_float32_matmul_precision() == "high"
        build_trainer(config(tmp_path, float32_matmul_precision=None), ALONE)
        assert torch.get_float32_matmul_precision() == "high"
    finally:
        torch.set_float32_matmul_precision(before)
    with pytest.raises(UserError, match="float32_matmul_precision=tf32: takes one of highest, high, medium"):
        build_trainer(config(tmp_path, float32_matmul_precision="tf32"), ALONE)


def test_a_profiler_an_accelerator_and_a_strategy_may_be_given_by_target(tmp_path):
    given = config(
        tmp_path,
        profiler={"_target_": "lightning.pytorch.profilers.SimpleProfiler"},
        accelerator={"_target_": "lightning.pytorch.accelerators.CPUAccelerator"},
        strategy={"_target_": "lightning.pytorch.strategies.SingleDeviceStrategy"},
    )
    trainer = build_trainer(given, ALONE)
    assert type(trainer.profiler).__name__ == "SimpleProfiler"
    assert trainer.strategy.root_device.type == "cpu"


def test_what_cannot_be_made_is_told_with_its_key(tmp_path):
    wrong = {"_target_": "lightning.pytorch.profilers.SimpleProfiler", "file": "x"}
    with pytest.raises(UserError, match=r"^trainer\.profiler: .*file"):
        build_trainer(config(tmp_path, profiler=wrong), ALONE)
    with pytest.raises(UserError, match=r"^trainer\.profiler .*its _target_ is missing"):
        build_trainer(config(tmp_path, profiler={"file": "x"}), ALONE)


@pytest.mark.parametrize(
    "strategy",
    [
        "ddp_spawn",
        "ddp_notebook",
        "ddp_fork_find_unused_parameters_true",
        {"_target_": "lightning.pytorch.strategies.DDPStrategy", "start_method": "spawn"},
    ],
)
def test_strategies_that_start_ranks_themselves_are_refused(tmp_path, strategy):
    with pytest.raises(UserError, match=r"starts ranks itself, but the launcher does: give auto or ddp"):
        build_trainer(config(tmp_path, strategy=strategy), ALONE)
