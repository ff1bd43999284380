"""Run one stage: decide whether it must run, start its tasks, follow them, and write the result."""

import shutil
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from omegaconf import DictConfig

from espnet3.config.secrets import saved_text
from espnet3.errors import short_path
from espnet3.launcher.attempt.data_check import check_data, leaves_out, reads_data
from espnet3.launcher.attempt.finished_before import FinishedBefore
from espnet3.launcher.attempt.follow import follow
from espnet3.launcher.planning.decide import Decision, decide, new_record
from espnet3.launcher.planning.plan import ONE_MACHINE, Job
from espnet3.launcher.rank.interrupts import SecondInterrupt, StopSignals
from espnet3.launcher.start.local import local_environment, start_local
from espnet3.launcher.start.step import start_step, step_environment
from espnet3.launcher.start.tasks import RunningTasks
from espnet3.outcomes.attempt import aborted_result, attempt_result
from espnet3.outcomes.hang import failed_if_repeated
from espnet3.rundir.files.atomic import remove_torn, write_json, write_text
from espnet3.rundir.files.json_file import with_format
from espnet3.rundir.files.reading import files_in
from espnet3.rundir.layout import (
    CHECKPOINTS,
    TRAINING_FILES,
    attempt_dir,
    is_of_training,
    new_attempt,
    stage_home,
)
from espnet3.rundir.process import ProcessName
from espnet3.rundir.provenance import provenance
from espnet3.rundir.records.attempt import (
    AttemptResult,
    Begin,
    attempt_dirs,
    progress_mark,
    read_attempts,
    write_begin,
    write_result,
)
from espnet3.rundir.records.job import next_time
from espnet3.rundir.records.record import Record, read_record, write_record
from espnet3.slurm.own_job import is_ended_by_slurm, own_slurm_job_id
from espnet3.slurm.step import allocated_nodes
from espnet3.stage_table import STAGES, label
from espnet3.terminal.screen import Screen

STOP_WITHIN_S = 60.0
"""How long a task may take to save and end, where no time limit says it: one utterance may take hours."""

StartStep = Callable[[Job, Path, Path, Begin], RunningTasks]
"""Starts the tasks of an attempt in an allocation: (job, run directory, attempt's directory, begin)."""


@dataclass(frozen=True)
class RunOptions:
    """How stages are run: what differs between a command in a terminal and a job on a node."""

    screen: Screen
    command: list[str]
    """The user's command line."""
    force: bool = False
    job: str = ""
    """Name of the submitted job that runs the stages; empty if none does."""
    interrupts: Callable[[], StopSignals] = StopSignals
    restarts: Callable[[Job, AttemptResult, str], bool] = lambda job, result, progress: False
    """Whether the job restarts after this result; the text is `progress_mark` from before the attempt."""
    start_step: StartStep = start_step
    nodes: Sequence[str] = ()
    """Those of the job, this one first and spares last; empty: the allocation's."""
    stop_at: float | None = None
    """See `Begin.stop_at`."""
    stop_within_s: float = STOP_WITHIN_S
    """See `Begin.stop_within_s`."""
    show_log: bool = True
    """Whether the log of rank 0 is shown."""


def run_stage(job: Job, config: DictConfig, run_options: RunOptions) -> AttemptResult | None:
    """Run one stage, or skip it, and print a line at its start and end.

    Returns:
        How it ended; None after a second Ctrl-C.
    """
    home, name, screen = stage_home(config, job.stage), label(job.stage), run_options.screen
    if reads_data(job.stage) and leaves_out(config):  # the list decides whether the stage must run
        checked = _check_data(job, config, run_options)
        if checked is None or checked.outcome != "done":
            return checked
    decision = decide(config, job.stage, force=run_options.force)
    record = read_record(home, job.stage)
    if decision.action == "skip" and record is not None:
        say_skipped(job.stage, record, screen)
        return AttemptResult("done", "skipped")
    if reads_data(job.stage) and not leaves_out(config):
        checked = _check_data(job, config, run_options)
        if checked is None or checked.outcome != "done":
            return checked
    _print_decision(name, decision, screen)
    if decision.action == "from_scratch":
        screen.line(f"{name}: the old training is now in {short_path(move_aside(home))}")
    exp_dir = Path(config.exp_dir)
    for folder in (exp_dir, exp_dir / "stages", exp_dir / "csv", *attempt_dirs(exp_dir)):
        remove_torn(folder)
    start_record(job, config, decision, run_options.command)
    finished_before = FinishedBefore(home, job.stage, record)
    attempt = new_attempt(exp_dir, job.stage)
    started = time.monotonic()
    result = (
        _in_this_process(job, config)
        if job.launcher == "debug"
        else _attempt(job, config, attempt, run_options)
    )
    seconds = time.monotonic() - started
    record = read_record(home, job.stage)
    if result is None or result.outcome != "done":
        finished_before.restore(screen)
    continues = "it starts again by itself" if result and result.restarts else "the same command continues it"
    if result is None:
        screen.line(f"{name}: ended at once after {seconds:.1f} s; the same command continues it")
    elif result.outcome == "done" and record is not None:
        screen.line(f"{name}: {record.summary} in {short_path(record.where)}, {seconds:.1f} s")
    elif result.outcome == "stopped":
        reason = f" by {result.reason}" if result.reason and job.launcher not in ONE_MACHINE else ""
        screen.line(f"{name}: stopped{reason} after {seconds:.1f} s; {continues}")
    elif result.outcome == "killed":
        if result.reason and not result.restarts:  # otherwise the line that says so has the reason, too
            screen.line(result.reason)
        log = result.log or str(exp_dir / "logs" / job.stage / f"attempt-{attempt}")
        again = "" if result.restarts else f"; {continues}"
        screen.line(f"{name}: killed after {seconds:.1f} s, see {short_path(log)}{again}")
    else:
        logs = exp_dir / "logs" / job.stage / f"attempt-{attempt}"
        again = f"; {continues}" if result.restarts else ""
        screen.line(
            f"{name}: {result.outcome} after {seconds:.1f} s, logs are in {short_path(str(logs))}{again}"
        )
    return result


def _check_data(job: Job, config: DictConfig, run_options: RunOptions) -> AttemptResult | None:
    """Check the data before a stage reads them; a job that is stopped meanwhile may restart."""
    mark = progress_mark(stage_home(config, job.stage))
    result = check_data(config, run_options.screen, run_options.interrupts)
    if result is None or result.outcome == "done":
        return result
    run_options.screen.line("the check of the data was stopped; the same command continues it")
    return replace(result, restarts=run_options.restarts(job, result, mark))


def say_skipped(stage: str, record: Record | None, screen: Screen) -> None:
    """Print that a stage is skipped, and the summary of its result."""
    summary = record.summary if record else ""
    screen.line(f"{label(stage)}: skipped, unchanged since it was done: {summary}")


def _attempt(job: Job, config: DictConfig, number: int, run_options: RunOptions) -> AttemptResult | None:
    """Start the tasks with `job.launcher`, follow them, and write `begin.json` and `end.json`."""
    exp_dir, home = Path(config.exp_dir), stage_home(config, job.stage)
    directory = attempt_dir(exp_dir, job.stage, number)
    in_step = job.launcher in ("slurm", "allocation")
    nodes = list(run_options.nodes or allocated_nodes())[: job.resources.nodes] if in_step else []
    begin = Begin(
        stage=job.stage,
        number=number,
        launcher=job.launcher,
        world_size=job.world_size,
        launched_by=asdict(ProcessName.own()),
        job=run_options.job,
        slurm_job_id=own_slurm_job_id() if in_step else "",
        nodes=nodes,
        gpus_per_node=job.resources.gpus_per_node,
        spares=list(run_options.nodes)[len(nodes) :],
        command=run_options.command,
        environment=step_environment(job, nodes) if in_step else local_environment(job),
        stop_at=run_options.stop_at,
        stop_within_s=run_options.stop_within_s,
        progress=progress_mark(home),
        started_at=next_time(exp_dir),
    )
    write_begin(directory, begin)
    write_text(directory / "config.yaml", saved_text(config))
    start = run_options.start_step if in_step else start_local
    running: list[RunningTasks] = []
    with run_options.interrupts() as interrupts:
        try:
            running.append(start(job, exp_dir, directory, begin))
            result = follow(
                running[0],
                label(job.stage),
                interrupts.stop,
                run_options.screen,
                show_log=run_options.show_log,
                nodes=nodes,
            )
        except SecondInterrupt:
            for tasks in running:
                tasks.kill()
            write_result(directory, aborted_result())
            return None
        except BaseException as error:
            for tasks in running:
                tasks.kill()
            write_result(directory, aborted_result(error))
            raise
        if result.hung_at and begin.job:
            attempts = [one for one in read_attempts(exp_dir, job.stage) if one.begin.job == begin.job]
            result = failed_if_repeated(result, attempts[:-1])
        if result.node and is_ended_by_slurm(begin.slurm_job_id):
            result = replace(result, node="")  # a rank may die of the signal
        result = replace(result, restarts=run_options.restarts(job, result, begin.progress))
        write_result(directory, result)
    return result


def _in_this_process(job: Job, config: DictConfig) -> AttemptResult:
    """Run the stage in this process; its output is the command's own."""
    from espnet3.launcher.rank.task import configure_logging, install_stop_signals, run_stage
    from espnet3.rundir.records.outcome import TaskState
    from espnet3.rundir.task import Task

    task = Task.single(job.stage)
    install_stop_signals(task.stop, second_signal_raises=True)
    configure_logging(rank=0)
    state = run_stage(config, task, TaskState(rank=0, process={}, log=""))
    return attempt_result([state], world_size=1)


def start_record(job: Job, config: DictConfig, decision: Decision, command: list[str]) -> None:
    """Write the record of a stage that starts; of a training also its configuration and provenance."""
    home = stage_home(config, job.stage)
    record = new_record(config, job.stage)
    if decision.action == "continue":
        # A finished training that is extended is unfinished again; the files it has read stay recorded.
        old = read_record(home, job.stage)
        if old is not None:
            record.files, record.file_list = old.files | record.files, old.file_list
    write_record(home, job.stage, record)
    if STAGES[job.stage].trains:
        write_text(home / "config.yaml", saved_text(config))
        write_json(home / "run.json", with_format(provenance(command, Path(config.recipe_dir))))


def _print_decision(name: str, decision: Decision, screen: Screen) -> None:
    reason = f": {decision.reason}" if decision.reason else ""
    verb = {
        "run": "runs again" if reason else "starts",
        "continue": "continues",
        "from_scratch": "starts from scratch",
    }
    screen.line(f"{name} {verb[decision.action]}{reason}")


def move_aside(exp_dir: Path) -> Path:
    """Move an old training out of `exp_dir` into a new folder beside it; returns that folder.

    What else lies in `exp_dir` stays.
    """
    number = 1
    while (old := exp_dir.with_name(f"{exp_dir.name}.old-{number}")).exists():
        number += 1
    old.mkdir()
    for name in TRAINING_FILES:
        if name == CHECKPOINTS and (others := _of_others(exp_dir / name)):
            (old / name).mkdir()
            for path in files_in(exp_dir / name):
                if path not in others:
                    shutil.move(path, old / name / path.name)
        elif (exp_dir / name).exists():
            shutil.move(exp_dir / name, old / name)
    return old


def _of_others(checkpoints: Path) -> list[Path]:
    """What a person has put into a folder of checkpoints, such as weights that were averaged."""
    return [path for path in files_in(checkpoints, "[!.]*") if not is_of_training(path.name)]
