"""The stages of a recipe as a table: a new stage is one entry here, and the function that it names.

Plain data, so that planning, fingerprints, directories and --help follow without importing a stage.
`resources.<stage>` in conf/resources.yaml says what its job asks for.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, Literal

RUN_DIRECTORY = "exp_dir"
"""The key of the run directory, which is a training's own; other directories are shared by trainings."""
NO_RESULT = ("recipe_dir", "tag", "exp_dir", "resources", "launcher", "logger", "sweep")
"""Keys at the top level of a configuration that no result depends on."""

Keys = Callable[[Any], Iterable[str]]
"""From a configuration (DictConfig or nested dicts) to keys of it."""


@dataclass(frozen=True)
class Stage:
    """What is known of a stage before it runs."""

    number: int
    name: str
    function: str
    """Dotted name: it takes the configuration and a Task, and returns a StageResult."""
    directory: str
    """Key of the directory that it fills: data_dir, stats_dir, or exp_dir."""
    fingerprint: Keys
    """The keys whose values decide its result: when one has changed, the stage runs again."""
    reads: tuple[Literal["manifests", "statistics", "training"], ...] = ("manifests",)
    """What it needs of the stages before it; when such a file has changed, the stage runs again."""
    settings: tuple[str, ...] = ()
    """Keys at the top level of the configuration that no other stage reads."""
    speed_only: tuple[str, ...] = ()
    """Keys that change how fast a stage is, or how much a kill costs, and nothing else."""
    many_tasks: bool = False
    """Whether it may run as several ranks."""
    trains: bool = False
    """It is a training: it continues from the checkpoints in its directory, and a job of several stages has
    its time limit and number of restarts."""

    @property
    def is_shared(self) -> bool:
        """Whether trainings, such as trials of a sweep, that read the same share what it makes."""
        return self.directory != RUN_DIRECTORY


def keys(*names: str) -> Keys:
    """These keys, for every configuration."""
    return lambda config: names


def listed_at(group: str, name: str) -> Keys:
    """The keys that the configuration lists at `group.name`."""
    return lambda config: tuple(config[group][name])


def whole_configuration(config: Any) -> Iterable[str]:
    """Every key at the top level but NO_RESULT and what is another stage's alone."""
    excluded = {*NO_RESULT, *(key for stage in STAGES.values() for key in stage.settings)}
    return tuple(str(key) for key in config if key not in excluded)


_STAGES = (
    Stage(
        number=0,
        name="prepare",
        function="espnet3.stages.prepare.run",
        directory="data_dir",
        fingerprint=keys("prepare", "manifests"),
        reads=(),
        settings=("prepare",),
        speed_only=("prepare.workers",),
    ),
    Stage(
        number=1,
        name="collect_stats",
        function="espnet3.stages.collect_stats.run",
        directory="stats_dir",
        fingerprint=listed_at("collect_stats", "depends_on"),
        speed_only=("collect_stats.batch_size", "collect_stats.num_workers"),
        many_tasks=True,
    ),
    Stage(
        number=2,
        name="train",
        function="espnet3.stages.train.run",
        directory=RUN_DIRECTORY,
        fingerprint=whole_configuration,
        reads=("manifests", "statistics"),
        speed_only=("checkpoint.keep_last", "checkpoint.every_minutes", "checkpoint.every_n_batches"),
        many_tasks=True,
        trains=True,
    ),
    Stage(
        number=3,
        name="validate",
        function="espnet3.stages.validate.run",
        directory=RUN_DIRECTORY,
        fingerprint=keys("validate", "model", "dataset", "manifests"),
        reads=("manifests", "training"),
        settings=("validate",),
    ),
)

STAGES: dict[str, Stage] = {stage.name: stage for stage in _STAGES}
"""Name -> stage, by number."""


def label(stage: str) -> str:
    """How a stage is called on the screen: "stage 2 train"."""
    return f"stage {STAGES[stage].number} {stage}"


def own_stages() -> list[str]:
    """Names of the stages that fill the run directory."""
    return [name for name, stage in STAGES.items() if not stage.is_shared]


def numbered() -> str:
    """All of them in one line: "0 prepare, 1 collect_stats, …"."""
    return ", ".join(f"{stage.number} {name}" for name, stage in STAGES.items())
