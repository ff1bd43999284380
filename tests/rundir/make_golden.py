"""Make run directories of this version's format, which every later version must be able to read.

Run once for each new number in `espnet3.rundir.files.json_file.FORMAT`: python tests/rundir/make_golden.py
Writes tests/rundir/golden/format-<n>: a finished training, a submitted one and a sweep of two trials, made by
commands and functions of espnet3, without checkpoints and pictures, and with /golden instead of paths.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path

from espnet3.config.compose import compose, find_recipe
from espnet3.launcher.planning.plan import plan
from espnet3.launcher.submit.chain import describe_chain
from espnet3.rundir import claim
from espnet3.rundir.files.json_file import FORMAT, write_dataclass
from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.process import ProcessName
from espnet3.rundir.records.attempt import AttemptResult
from espnet3.rundir.records.job import write_job_result, write_submission
from espnet3.sweep.jobs.array import SubmittedArray, write_array
from espnet3.sweep.show.searcher import SEARCHER, Searcher
from espnet3.sweep.trials.folder import array_dir
from espnet3.sweep.trials.search_record import SearchRecord, SearchRequest, search_dir, write_search

ROOT = Path(__file__).resolve().parents[2]
GOLDEN = Path(__file__).with_name("golden") / f"format-{FORMAT}"
SMALL = ("prepare.sizes={train: 32, valid: 16, test: 16}", "logger.tensorboard=null", "trainer.max_epochs=2")
TEXT = (".json", ".yaml", ".log", ".csv", ".sh")


def main() -> None:
    """Make, copy and clean."""
    with tempfile.TemporaryDirectory() as folder:
        recipe = Path(folder).resolve() / "golden"
        ignored = shutil.ignore_patterns("exp", "data", "__pycache__")
        shutil.copytree(ROOT / "egs" / "TEMPLATE", recipe, ignore=ignored)
        run(recipe)
        run(recipe, "--stage", "2", "--multirun", "seed=1,2")
        submitted, sweep = submit(recipe), recipe / "exp" / "sweeps" / "default"
        make_search(recipe)
        hand_to_slurm(sweep)
        with claim.hold(submitted):
            keep(recipe)


def run(recipe: Path, *words: str) -> None:
    """A command of the user's."""
    subprocess.run(
        [sys.executable, "-m", "espnet3", "run", "--recipe", str(recipe), *words, *SMALL], check=True
    )


def submit(recipe: Path) -> Path:
    """A chain of two jobs, of which the first has failed."""
    config = compose(find_recipe(recipe), ["launcher=slurm", "tag=submitted"])
    jobs = plan(config, ["train", "validate"])
    train, validate = describe_chain(jobs, config, force=[False, False], command=["run.sh launcher=slurm"])
    exp_dir = Path(config.exp_dir)
    write_submission(jobs_dir(exp_dir) / train.name, "101")
    write_job_result(
        jobs_dir(exp_dir) / train.name, AttemptResult("failed", "rank 0: ValueError: no microphone")
    )
    write_submission(jobs_dir(exp_dir) / validate.name, "102")
    return exp_dir


def make_search(recipe: Path) -> None:
    """A search that was submitted and has begun one trial."""
    sweep = recipe / "exp" / "sweeps" / "search"
    search_dir(sweep).mkdir(parents=True)
    request = SearchRequest(str(recipe), ["seed=range(1,9)"], ["train"], "run.sh --multirun", ["run.sh"])
    write_search(sweep, SearchRecord(request, 20, ["seed-1"]))
    write_dataclass(search_dir(sweep) / SEARCHER, Searcher("espnet3:abc", again=False))
    write_submission(search_dir(sweep), "103")


def hand_to_slurm(sweep: Path) -> None:
    """The trials once more, as an array."""
    names = sorted(path.name for path in (sweep / "trials").iterdir())
    array = SubmittedArray(
        "espnet3:def", [[name] for name in names], ["train"], True, ["run.sh"], 3, asdict(ProcessName.own())
    )
    write_array(sweep, array_dir(sweep, 1), array)
    write_submission(array_dir(sweep, 1), "104")


def keep(recipe: Path) -> None:
    """Copy what the commands of espnet3 read, without anything of this machine."""
    shutil.rmtree(GOLDEN, ignore_errors=True)
    names = {str(recipe): "/golden", str(ROOT): "/golden/espnet3", sys.executable: "python"}
    names |= {
        sys.prefix: "/golden/venv",
        str(Path.home()): "/golden/home",
        socket.gethostname(): "golden-host",
    }
    for path in sorted(recipe.glob("data/stages/*")) + sorted(recipe.glob("exp/**/*")):
        target = GOLDEN / path.relative_to(recipe)
        is_copy = path.match("attempts/*/config.yaml")
        if path.is_file() and not is_copy and path.suffix in (*TEXT, ".ckpt"):
            target.parent.mkdir(parents=True, exist_ok=True)
            text = path.read_text() if path.suffix in TEXT else ""
            for name, stand_in in names.items():
                text = text.replace(name, stand_in)
            target.write_text(text)


if __name__ == "__main__":
    main()
