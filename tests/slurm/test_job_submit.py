"""Sites whose job_submit plugin refuses jobs, speaks to users and moves jobs, on a real cluster."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("fresh_ranks")]

STAGE_0 = ("--stage", "0", "--stop-stage", "0", "launcher=slurm")
DEMAND = "give the project as the comment, such as --comment=p42"
PLUGIN = f"""
function slurm_job_submit(job, partitions, uid)
   if job.comment == nil or not string.match(job.comment, "^p%d+ ") then
      slurm.log_user("{DEMAND}")
      return slurm.ERROR
   end
   job.partition = "urgent"
   slurm.log_user("Welcome!\\n12345 of 99999 CPU hours are left; your job goes to urgent")
   return slurm.SUCCESS
end

function slurm_job_modify(job, record, partitions, uid)
   return slurm.SUCCESS
end
"""


@pytest.fixture
def plugin(cluster) -> Iterator[None]:
    """The cluster with the plugin."""
    conf = Path(cluster.environment["SLURM_CONF"])
    script, before = conf.with_name("job_submit.lua"), conf.read_text()
    script.write_text(PLUGIN)
    conf.write_text(f"{before}JobSubmitPlugins=lua\n")
    try:
        cluster("scontrol", "reconfigure")
        assert "JobSubmitPlugins        = lua" in cluster("scontrol", "show", "config")
        yield
    finally:
        conf.write_text(before)
        cluster("scontrol", "reconfigure")
        script.unlink()


@pytest.mark.usefixtures("plugin")
def test_a_plugin_of_the_site_that_demands_speaks_and_moves_jobs_is_heard(
    cluster, small_recipe: Path, start: Callable[..., Any], start_on_slurm: Callable[..., Any]
):
    code, output = start(small_recipe, *STAGE_0, **cluster.environment).finish()
    assert (code, output.count("\n")) == (2, 1) and DEMAND in output, output
    assert not list((small_recipe / "exp").glob("*/jobs/*")) and not cluster("squeue", "--noheader")

    comment = "resources.prepare.additional_parameters={comment: p42}"
    code, output = start(small_recipe, *STAGE_0, comment, **cluster.environment).finish()
    assert code == 0 and "stage 0 prepare: 3 utterances" in output, output
    exp_dir = small_recipe / "exp" / "default"
    job = json.loads((exp_dir / "jobs" / "prepare-1" / "submission.json").read_text())["job_id"]
    shown = cluster("scontrol", "--oneliner", "show", "job", job)
    assert " Partition=urgent " in shown, shown
    _, output = start_on_slurm("status", exp_dir, "--json").finish()
    ((stage,),) = [run["stages"] for run in json.loads(output)["runs"]]
    assert (stage["state"], stage["job_id"]) == ("done", job)
