"""Settings of Hydra's that would have no effect are refused, each with what has it."""

from pathlib import Path

import pytest

from espnet3.api.command import Command
from espnet3.errors import UserError


@pytest.mark.parametrize(
    ("word", "said"),
    [
        ("hydra/launcher=submitit_slurm", "launcher=slurm or local sets where trials run"),
        ("hydra.launcher.partition=gpu", "launcher=slurm or local sets where trials run"),
        ("hydra.run.dir=out", "has no effect on run.sh: exp_dir=/PATH"),
        ("++hydra.sweep.dir=out", "has no effect on run.sh: sweep.dir=/PATH"),
        ("hydra.mode=MULTIRUN", "--multirun runs a sweep"),
        ("+hydra.job.chdir=true", "it is for python -m espnet3.hydra_app"),
        ("hydra.sweeper.params.seed=1,2", "KEY=a,b with --multirun"),
        ("+hydra.sweeper.params={seed: 1}", "KEY=a,b with --multirun"),
    ],
)
def test_a_setting_of_hydras_without_effect_is_refused(word: str, said: str):
    with pytest.raises(UserError) as caught:
        Command(Path("recipe"), [word]).check()
    assert str(caught.value).startswith(word) and said in str(caught.value)


def test_what_a_search_takes_is_taken():
    Command(Path("recipe"), ["hydra/sweeper=optuna", "hydra.sweeper.n_trials=3", "hydrant=1"]).check()
