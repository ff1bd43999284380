"""submitit's executors: which private names are used, that they are there, and what ours makes of them."""

import ast
import inspect
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import submitit
from submitit.core.core import PicklingExecutor
from submitit.slurm.slurm import SlurmInfoWatcher

from espnet3.errors import UserError
from espnet3.launcher.submit import executor as module
from espnet3.launcher.submit.executor import BatchExecutor
from espnet3.launcher.submit.request import JobRequest, sbatch_parameters
from espnet3.launcher.submit.submission import submit
from espnet3.resources import Resources
from espnet3.slurm.command import SlurmAway

PACKAGE = Path(inspect.getfile(module)).parents[2]
PRIVATE: dict[str, tuple[Any, tuple[str, ...]]] = {
    "SlurmExecutor._submit_command": (submitit.SlurmExecutor, ("self", "command")),
    "SlurmExecutor._submitit_command_str": (submitit.SlurmExecutor, ()),
    "SlurmExecutor._make_submission_file_text": (submitit.SlurmExecutor, ("self", "command", "uid")),
    "SlurmExecutor._make_submission_command": (submitit.SlurmExecutor, ("self", "submission_file_path")),
    "SlurmExecutor._get_job_id_from_submission_command": (submitit.SlurmExecutor, ("string",)),
    "SlurmExecutor._internal_process_submissions": (submitit.SlurmExecutor, ("self", "delayed_submissions")),
}
"""Private name of submitit -> where it is, and the parameters it is called with."""
PUBLIC = {
    submitit.SlurmJob: (
        *("watcher", "paths", "state", "done", "wait", "cancel", "result", "results", "exception"),
    ),
    SlurmInfoWatcher: ("register_job", "get_info", "get_state", "is_done", "update", "clear"),
}
"""What the job handle overrides."""


@pytest.mark.parametrize("name", PRIVATE)
def test_submitit_has_the_private_name(name: str):
    owner, parameters = PRIVATE[name]
    attribute = name.partition(".")[2]
    assert hasattr(owner, attribute), f"submitit has no {name} any more"
    found = inspect.getattr_static(owner, attribute)
    if not isinstance(found, property):
        now = tuple(inspect.signature(getattr(owner, attribute)).parameters)
        assert now == parameters, f"submitit's {name} takes {now}, not {parameters}"


def test_submitit_has_what_the_job_handle_overrides():
    wanted = [(owner, name) for owner, names in PUBLIC.items() for name in names]
    gone = [f"{owner.__name__}.{name}" for owner, name in wanted if not hasattr(owner, name)]
    assert not gone, f"submitit has no {', '.join(gone)} any more"


def test_submitit_submits_by_the_methods_that_are_overridden():
    """An upgrade that goes another way would leave ours uncalled."""
    flow = inspect.getsource(PicklingExecutor._internal_process_submissions)
    assert "self._submit_command(self._submitit_command_str)" in flow
    flow = inspect.getsource(submitit.SlurmExecutor._submit_command)
    for step in (
        "make_submission_file_text",
        "make_submission_command",
        "get_job_id_from_submission_command",
    ):
        assert f"self._{step}(" in flow


def test_private_names_of_submitit_stand_in_one_file():
    own = {"_sbatch", "_id_in_queue"}
    source = Path(inspect.getfile(module))
    names = {name.partition(".")[2] for name in PRIVATE}
    nodes = list(ast.walk(ast.parse(source.read_text())))
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {node.name for node in nodes if isinstance(node, ast.FunctionDef)}
    used = {name for name in used if name.startswith("_") and not name.startswith("__")}
    assert used - own == names
    names |= {"_make_sbatch_string", "_cancel_at_deletion"}
    for path in PACKAGE.rglob("*.py"):
        assert path == source or not any(name in path.read_text() for name in names), path


def request(folder: Path, **given: Any) -> JobRequest:
    folder.mkdir(exist_ok=True)
    return JobRequest(Resources(**given), folder, name="n", token="espnet3:t", output=folder / "log")


def test_the_script_is_the_one_that_the_stock_executor_makes(tmp_path: Path, slurm):
    (slurm.folder / "bin" / "srun").symlink_to("/bin/true")  # submitit asks for it
    asked = request(tmp_path / "job", nodes=3, partition="gpu", additional_parameters={"reservation": "x"})
    stock = submitit.SlurmExecutor(asked.folder)
    stock.update_parameters(**sbatch_parameters(asked), use_srun=False)
    assert asked.script == stock._make_submission_file_text(asked.executor()._submitit_command_str, "")


def test_sbatch_gets_the_script_once_and_no_variables_of_another_job(tmp_path: Path, slurm, monkeypatch):
    monkeypatch.setenv("SBATCH_PARTITION", "none")
    monkeypatch.setenv("SLURM_NTASKS", "8")
    monkeypatch.setenv("MINE", "yes")
    slurm.says("sbatch", "Submitted batch job 12 on cluster c\n")
    asked = request(tmp_path / "job")
    job = asked.executor().submit_command()
    assert job.job_id == "12" and isinstance(job, submitit.SlurmJob)
    assert slurm.called == [f"sbatch {tmp_path}/job/job.sh"]
    assert (tmp_path / "job" / "job.sh").read_text() == asked.script
    assert sorted(path.name for path in asked.folder.iterdir()) == ["job.sh"]  # nothing is pickled
    environment = (slurm.folder / "environment").read_text()
    assert "MINE=yes" in environment
    assert "SBATCH_PARTITION" not in environment and "SLURM_NTASKS" not in environment


def test_a_job_that_slurm_took_without_saying_so_is_found_by_its_token(tmp_path: Path, slurm, monkeypatch):
    monkeypatch.setattr("espnet3.slurm.retry.PAUSES_S", (0.0,))
    slurm.queue("31", "PENDING", "espnet3:t")
    slurm.fails("sbatch", "sbatch: error: Batch job submission failed: Socket timed out")
    assert request(tmp_path / "job").executor().submit_command().job_id == "31"
    assert [line.split()[0] for line in slurm.called] == ["sbatch", "squeue"]


@pytest.mark.parametrize(
    "answer",
    [
        "Welcome: job 7 of the week\nSubmitted batch job 33\n",
        "Submitted batch job 33 on cluster c\nsee job 9 for an example\n",
    ],
)
def test_the_id_is_in_sbatchs_own_line_whatever_a_wrapper_prints(tmp_path: Path, slurm, answer: str):
    slurm.says("sbatch", answer)
    assert request(tmp_path / "job").executor().submit_command().job_id == "33"


def test_an_answer_without_an_id_is_looked_up_in_the_queue(tmp_path: Path, slurm, monkeypatch):
    monkeypatch.setattr("espnet3.slurm.retry.PAUSES_S", (0.0,))
    slurm.says("sbatch", "welcome\n")
    slurm.queue("32_1", "PENDING", "espnet3:t")
    assert request(tmp_path / "job").executor().submit_command().job_id == "32"
    slurm.queue("32_1", "PENDING", "espnet3:other")
    with pytest.raises(SlurmAway, match="without a job id: 'welcome'"):
        request(tmp_path / "job").executor().submit_command()


def test_when_slurm_stays_away_the_job_says_what_to_do_later(tmp_path: Path, slurm, monkeypatch):
    monkeypatch.setattr("espnet3.slurm.retry.PAUSES_S", ())
    slurm.fails("sbatch", "sbatch: error: Batch job submission failed: Socket timed out")
    job = request(tmp_path / "job")
    with pytest.raises(SlurmAway, match=r"is away: .*When it is back, `espnet3 resume` submits"):
        submit(job)
    with pytest.raises(SlurmAway, match=r"When it is back, ask again$"):
        submit(replace(job, when_back="ask again"))


def test_a_refusal_is_slurms_own_word(tmp_path: Path, slurm, monkeypatch):
    monkeypatch.setattr("espnet3.slurm.retry._last_away", None)
    slurm.fails("sbatch", "sbatch: error: invalid partition specified: x")
    with pytest.raises(UserError, match=r"^invalid partition specified: x$"):
        request(tmp_path / "job").executor().submit_command()


def test_a_function_is_not_pickled(tmp_path: Path):
    executor = BatchExecutor(tmp_path, ["true"], {"comment": "t"})
    with pytest.raises(TypeError, match="submit_command"):
        executor.submit(print, 1)
    assert list(tmp_path.iterdir()) == []
