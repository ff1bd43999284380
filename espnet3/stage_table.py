"""The stages of a recipe as a table: a new stage is one entry here, and the function that it names.

Plain data, so that planning, fingerprints, directories and --help follow without importing a stage.
`resources.<stage>` in conf/resources.yaml says what its job asks for.
"""

from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from typing import Any, Literal

RUN_DIRECTORY = "exp_dir"
"""Key of the run directory, which belongs to one training; trainings share the other directories."""
NO_RESULT = ("recipe_dir", "tag", "exp_dir", "resources", "launcher", "logger", "sweep", "check_data")
"""Top-level keys of a configuration that don't affect results."""
AS_IF_ABSENT = {"dataset.on_bad": "error"}
"""Keys that change no result at this value."""

NOT_GIVEN = {"trainer.max_steps": -1}
"""Values that say no more than null does."""

LONGER = ("trainer.max_epochs", "trainer.max_steps")
"""The only keys that may be raised to continue a training."""

Keys = Callable[[Any], Iterable[str]]
"""From a configuration (DictConfig or nested dicts) to keys of it."""


@dataclass(frozen=True)
class Stage:
    """An entry of the table."""

    number: int
    name: str
    function: str
    """Dotted name of a function of the configuration and a Task that returns a StageResult."""
    directory: str
    """Key of its output directory: data_dir, stats_dir, or exp_dir."""
    fingerprint: Keys
    """The keys whose values decide its result: when one has changed, the stage runs again."""
    reads: tuple[Literal["manifests", "statistics", "training", "test data"], ...] = ("manifests",)
    """Inputs from earlier stages; when such a file has changed, the stage runs again. Only a stage that reads
    test data depends on `dataset.test` and its manifests."""
    needs: tuple[str, ...] = ()
    """Keys without which it can't run; `a|b`: one of them."""
    settings: tuple[str, ...] = ()
    """Keys at the top level of the configuration that no other stage reads."""
    speed_only: tuple[str, ...] = ()
    """Keys that may be changed while it is not done: they affect speed, or what an interruption costs."""
    owns_outputs: bool = False
    """Whether nobody else writes its outputs: it runs again when one of them has changed, such as damaged
    statistics. Manifests of stage 0 are edited by hand."""
    many_tasks: bool = False
    """Whether it may run as several ranks."""
    trains: bool = False
    """Whether it is a training: it resumes from the checkpoints in its directory, and a job of several stages
    has its time limit and max_restarts."""

    @property
    def is_shared(self) -> bool:
        """Whether trainings with the same inputs, such as trials of a sweep, share its output."""
        return self.directory != RUN_DIRECTORY


def keys(*names: str) -> Keys:
    """These keys, for every configuration."""
    return lambda config: names


def listed_at(group: str, name: str) -> Keys:
    """The keys that are listed in the configuration under `group.name`."""
    return lambda config: tuple(config[group][name])


def whole_configuration(config: Any) -> Iterable[str]:
    """All top-level keys except NO_RESULT and the settings of single stages."""
    excluded = {*NO_RESULT, *(key for stage in STAGES.values() for key in stage.settings)}
    return tuple(str(key) for key in config if key not in excluded)


_STAGES = (
    Stage(
        number=0,
        name="prepare",
        function="espnet3.stages.prepare.run",
        directory="data_dir",
        fingerprint=keys("prepare", "manifests"),
        reads=("test data",),
        needs=("prepare._target_",),
        settings=("prepare",),
        speed_only=("prepare.workers",),
    ),
    Stage(
        number=1,
        name="collect_stats",
        function="espnet3.stages.collect_stats.run",
        directory="stats_dir",
        fingerprint=listed_at("collect_stats", "depends_on"),
        needs=("model._target_",),
        settings=("collect_stats",),
        # What dataset.check refuses is in the list that a stage reads, where it is left out.
        speed_only=("collect_stats.batch_size", "collect_stats.num_workers", "dataset.check"),
        owns_outputs=True,
        many_tasks=True,
    ),
    Stage(
        number=2,
        name="train",
        function="espnet3.stages.train.run",
        directory=RUN_DIRECTORY,
        fingerprint=whole_configuration,
        reads=("manifests", "statistics"),
        needs=(
            *("model._target_", "optimizer|optimizers"),
            "trainer.max_epochs|trainer.max_steps|trainer.max_time",
        ),
        speed_only=(
            *("checkpoint.keep_last", "checkpoint.every_minutes", "checkpoint.every_n_batches"),
            # A training that these have ended may go on with another value.
            *("trainer.nonfinite_gradients", "trainer.hang_timeout_s"),
        ),
        many_tasks=True,
        trains=True,
    ),
    Stage(
        number=3,
        name="validate",
        function="espnet3.stages.validate.run",
        directory=RUN_DIRECTORY,
        fingerprint=keys("validate", "model", "dataset", "manifests"),
        reads=("manifests", "training", "test data"),
        needs=("validate._target_", "model._target_"),
        settings=("validate",),
    ),
)

STAGES: dict[str, Stage] = {stage.name: stage for stage in _STAGES}
"""Name -> stage, by number."""


def is_longer(old: object, new: object) -> bool:
    """Whether a value of LONGER was raised from `old` to `new`; None and -1 are no limit."""
    if old == new or old in (None, -1):
        return False
    return new in (None, -1) or (isinstance(old, int) and isinstance(new, int) and new > old)


def label(stage: str) -> str:
    """A stage as messages name it: "stage 2 train"."""
    return f"stage {STAGES[stage].number} {stage}"


def are_stages(names: Collection[str]) -> bool:
    """Whether `names`, as a file has them, are stages that there are, and at least one."""
    return bool(names) and all(name in STAGES for name in names)


def own_stages() -> list[str]:
    """Names of the stages whose output is in the run directory."""
    return [name for name, stage in STAGES.items() if not stage.is_shared]


def numbered() -> str:
    """All stages in one line: "0 prepare, 1 collect_stats, …"."""
    return ", ".join(f"{stage.number} {name}" for name, stage in STAGES.items())
