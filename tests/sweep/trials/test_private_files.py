"""What a sweep reads to run it is nobody else's to write."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from espnet3.errors import UserError
from espnet3.sweep.trials.folder import config_file, trial_dir
from espnet3.sweep.trials.trial import Trial, read_base, trial_config, write_base, write_trial

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file to somebody else")


@pytest.fixture
def written(planned: Callable[..., object]) -> tuple[Path, Trial]:
    """A sweep whose files were written while the umask let everybody write, and its trial."""
    made = planned("seed=1,2")
    before = os.umask(0)
    try:
        for base in made.bases.values():
            write_base(made.sweep, base)
        write_trial(made.sweep, made.trials[0])
    finally:
        os.umask(before)
    read_base.cache_clear()
    return made.sweep, made.trials[0]


def files(sweep: Path, trial: Trial) -> dict[str, Path]:
    return {
        "config": config_file(sweep, trial.config),
        "configs": config_file(sweep, trial.config).parent,
        "trial": trial_dir(sweep, trial.name) / "trial.json",
        "folder": trial_dir(sweep, trial.name),
    }


def test_they_are_private_whatever_the_umask(written: tuple[Path, Trial]):
    sweep, trial = written
    assert trial_config(sweep, trial).seed == trial.values["seed"]
    assert files(sweep, trial)["configs"].stat().st_mode & 0o777 == 0o700
    assert not files(sweep, trial)["trial"].stat().st_mode & 0o022


@pytest.mark.parametrize("which", ["config", "configs", "trial", "folder"])
@pytest.mark.parametrize("how", ["chmod", pytest.param("chown", marks=as_root)])
def test_a_file_or_folder_that_others_could_have_written_is_not_run(
    written: tuple[Path, Trial], which: str, how: str
):
    sweep, trial = written
    path = files(sweep, trial)[which]
    if which == "config":
        path.parent.chmod(0o755)
    if how == "chmod":
        path.chmod(path.stat().st_mode | 0o020)
    else:
        os.chown(path, 65534, -1)
    with pytest.raises(UserError, match=f"^{path} .*as you"):
        trial_config(sweep, trial)


def test_a_configuration_that_is_gone_is_named(written: tuple[Path, Trial]):
    sweep, trial = written
    files(sweep, trial)["config"].unlink()
    with pytest.raises(UserError, match="is gone: the configuration was saved there"):
        trial_config(sweep, trial)
