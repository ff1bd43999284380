"""Arrays that a site takes, and their batch scripts."""

from pathlib import Path

import pytest

from espnet3.rundir.layout import jobs_dir
from espnet3.rundir.records.job import read_job_id, read_jobs, write_submission
from espnet3.slurm.site.limits import Limits, limits_in
from espnet3.slurm.site.settings import parse_settings
from espnet3.sweep.jobs.array import SubmittedArray, own_job, read_array, write_array
from espnet3.sweep.jobs.submit import array_requests, job_request, split_evenly


@pytest.fixture
def batch(planned):
    (batch,) = planned("seed=1,2,3,4,5", "launcher=slurm", "resources.train.nodes=2").batches()
    return batch


def test_an_array_is_split_where_the_site_takes_no_more_elements(batch):
    names = [trial.name for trial in batch.trials]
    (part,) = array_requests(batch, names, Limits(), max_parallel=None, trials_per_job=1)
    assert part.indices == "0-4" and part.trials == names
    parts = array_requests(batch, names, Limits(array_size=2), max_parallel=4, trials_per_job=1)
    assert [part.indices for part in parts] == ["0-1%2", "0-1%1", "0-0%1"]
    assert [name for part in parts for name in part.trials] == names
    (part,) = array_requests(batch, names, Limits(array_size=3), max_parallel=1, trials_per_job=2)
    assert part.elements == [names[:2], names[2:4], names[4:]]
    assert [half.indices for half in part.split(1)] == ["0-0%1", "0-1%1"]


def test_what_may_run_at_once_is_shared_out():
    assert [sum(split_evenly(total, 3)) for total in (3, 7, 100)] == [3, 7, 100]
    assert split_evenly(1, 3) == [1, 1, 1]


def test_limits_are_read_from_the_sites_configuration():
    shown = (
        "Configuration data\nMaxArraySize            = 77\nMaxJobCount             = 500\nMaxNodeCount = 4\n"
    )
    assert limits_in(parse_settings(shown)) == Limits(77, 500)
    assert limits_in({}) == Limits(1001, 10_000)


def test_the_script_runs_one_process_for_each_element(batch):
    (part,) = array_requests(batch, ["a", "b"], Limits(), max_parallel=1, trials_per_job=1)
    script = job_request(
        part, Path("/s/arrays/3"), name="asr.x.sweep", token="espnet3:t", after=["7", "8"]
    ).script
    for line in (
        *("#SBATCH --array='0-1%1'", "#SBATCH --comment=espnet3:t", "#SBATCH --dependency=afterok:7:8"),
        *("#SBATCH --kill-on-invalid-dep=yes", "#SBATCH --nodes=2", "#SBATCH --requeue"),
        *("#SBATCH --output=/s/arrays/3/logs/%a.log", "#SBATCH --job-name=asr.x.sweep"),
    ):
        assert line in script.splitlines() or line.replace("'", "") in script.splitlines(), line
    assert script.count("-u -m espnet3.sweep.execute.element /s/arrays/3") == 1


def test_each_trial_has_a_job_that_knows_its_place_in_the_array(tmp_path: Path):
    def handed_over(number: int) -> SubmittedArray:
        array = SubmittedArray(
            token=f"espnet3:{number}", elements=[["one"], ["two"]], stages=["train", "validate"],
            force=False, command=["run.sh"], max_restarts=3,
            submitted_by={"host": "h", "pid": 1, "started": "x"}, written_at=float(number),
        )  # fmt: skip
        write_array(tmp_path, tmp_path / "arrays" / str(number), array)
        return array

    first = handed_over(1)
    folder = tmp_path / "arrays" / "1"
    assert read_array(folder) == first
    assert folder.stat().st_mode & 0o777 == 0o700
    (job,) = read_jobs(tmp_path / "trials" / "two")
    assert (job.token, job.stages, job.element) == ("espnet3:1[1]", ["train", "validate"], 1)
    own = jobs_dir(tmp_path / "trials" / "two") / job.name
    assert own.stat().st_mode & 0o777 == 0o700
    assert read_job_id(own) is None
    write_submission(folder, "70")
    assert read_job_id(own) == "70_1"
    assert own_job(tmp_path, "two", first, 1) == job
    second = handed_over(2)
    assert own_job(tmp_path, "two", first, 1) is None  # handed to another array since
    assert own_job(tmp_path, "two", second, 1) is not None
