"""What Slurm's commands print: banners, other encodings, cut lines, jobs of others, failures."""

import json
import shlex
from random import Random
from typing import ClassVar

from fuzzing.areas.area import Area, warm_up
from fuzzing.case import Case
from fuzzing.mutation import damaged_bytes, typo, word
from fuzzing.recipes import RUN, add_recipes, add_runs, add_slurm, answer
from fuzzing.sandbox import Sandbox

STATES = (
    "RUNNING",
    "PENDING",
    "COMPLETING",
    "COMPLETED",
    "FAILED",
    "CANCELLED by 0",
    "TIMEOUT",
    "NODE_FAIL",
    "REQUEUED",
    "",
)
IDS = ("4711", "4712", "4711 on cluster a")
PARTITIONS = (
    "PartitionName=normal AllowAccounts=ALL AllowQos=ALL Default=YES MaxNodes=4 MaxTime=1-00:00:00"
    " State=UP TotalCPUs=32 TotalNodes=4 TRES=cpu=32,mem=4G,node=4,gres/gpu=16 GraceTime=0 PreemptMode=OFF\n"
    "PartitionName=long Default=NO MaxNodes=UNLIMITED MaxTime=UNLIMITED State=UP TotalNodes=2\n"
)
BANNERS = (
    "",
    "",
    "",
    "Welcome to the cluster\n",
    "sbatch: info: 3 jobs in queue\n",
    "\x1b[1mNEWS\x1b[0m\n",
    "\udcff\udc80 maintenance\n",
)


class SlurmAnswers(Area):
    """Commands on submitted runs, with odd answers of Slurm."""

    name: ClassVar[str] = "slurm"

    def prepare(self, sandbox: Sandbox) -> None:
        """A submitted run and a sweep."""
        import espnet3.launcher.cancel
        import espnet3.launcher.resume
        import espnet3.slurm.retry as retry
        import espnet3.status.show
        import espnet3.sweep.show.status  # noqa: F401
        from espnet3.__main__ import main
        from espnet3.config import compose
        from shared_compositions import shared

        self.main = main
        retry.PAUSES_S = ()
        add_recipes(sandbox)
        add_runs(sandbox)
        add_slurm(sandbox)
        self.recipe = sandbox.folder / RUN
        compose._compose_files = shared(compose._compose_files)
        dry = ["run", "--recipe", str(self.recipe), "--dry-run", "launcher=slurm"]
        warm_up(main, dry, [*dry, "-m", "seed=1,2"], ["status", str(self.recipe / "exp")])
        jobs = sorted((self.recipe / "exp" / "submitted" / "jobs").glob("*/job.json"))
        self.jobs = [("101", "102")[n] + "|" + json.loads(p.read_text())["token"] for n, p in enumerate(jobs)]

    def make(self, random: Random, sandbox: Sandbox) -> Case:
        """Answers of all commands, some of them odd, and one command of ours."""
        submitted, sweep = self.recipe / "exp" / "submitted", self.recipe / "exp" / "sweeps" / "default"
        run = [
            "run",
            "--recipe",
            str(self.recipe),
            "launcher=slurm",
            "--detach",
            "--stage",
            "2",
            "check_data=off",
        ]
        line = random.choice(
            (
                ["status", str(submitted)], ["status", "--json", str(submitted)], ["status", str(sweep)],
                ["cancel", str(submitted)], ["cancel", str(sweep)], ["resume", "--detach", str(submitted)],
                ["resume", "--detach", str(sweep)], [*run, f"tag={random.choice(('new', 'submitted'))}"],
                [*run, "--multirun", "seed=1,2,3"], ["logs", str(submitted)],
                ["doctor", "--no-job", "--recipe", str(self.recipe)],
            )
        )  # fmt: skip
        answers = {
            "squeue": self._queue(random),
            "sacct": self._accounting(random),
            "sbatch": f"{random.choice(BANNERS)}Submitted batch job {random.choice(IDS)}\n",
            "scontrol": PARTITIONS,
            "scancel": "",
            "sinfo": "",
        }
        said = []
        for name in random.sample(sorted(answers), random.choice((0, 1, 1, 2))):
            raw = answers[name].encode("utf-8", "surrogateescape")
            raw = (
                damaged_bytes(random, raw)
                if random.random() < 0.6
                else typo(random, word(random)).encode("utf-8", "replace")
            )
            answers[name] = raw.decode("utf-8", "surrogateescape")
        if line[0] == "resume":  # it waits for a job that is completing
            answers = {name: text.replace("COMPLETING", "COMPLETED") for name, text in answers.items()}
        for name, text in answers.items():
            code = random.choices((0, 1, 127), (90, 8, 2))[0]
            answer(sandbox, name, text.encode("utf-8", "surrogateescape"), code)
            said.append(f"{name} ({code}): {text!r}")
        return Case(f"{shlex.join(line)}\n    " + "\n    ".join(said), lambda: self.main(line), writes=True)

    def _queue(self, random: Random) -> str:
        lines = [random.choice(BANNERS)]
        for job in (*self.jobs, "103_0|espnet3:def", "103_[1-2%1]|espnet3:def", "99|of a colleague"):
            job_id, token = job.split("|")
            fields = [
                job_id,
                random.choice(STATES),
                random.choice(("None", "Resources", "Dependency", word(random))),
            ]
            fields += [
                random.choice(("node1", "node[1-3]", "(null)")),
                random.choice(("N/A", "2026-12-01T10:00:00")),
                token,
            ]
            if random.random() < 0.7:
                lines.append("|".join(fields) + "\n")
        return "".join(lines)

    @staticmethod
    def _accounting(random: Random) -> str:
        ids = ("101", "101.batch", "101.0", "102", "103_0", "103_[1-2]")
        nodes = ("node1", "None assigned", word(random))
        return "".join(
            f"{job}|{random.choice(STATES)}|{random.choice(nodes)}|2026-12-01T10:00:00\n" for job in ids
        )
