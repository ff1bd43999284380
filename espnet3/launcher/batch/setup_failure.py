"""Writes the result of a job in whose script a line of `setup` has failed: its batch process does not run."""

import sys
from pathlib import Path

from espnet3.errors import UserError
from espnet3.outcomes.job import failed_result
from espnet3.rundir.records.job import write_element_result, write_job_result
from espnet3.slurm.own_job import own_array_index


def main(folder: str, key: str, code: str, line: str) -> None:
    """Write and print that `line` of the configuration's `key` has ended with exit code `code`."""
    failed = f"ended with exit code {code}; give `… || true` if it may fail"
    ended = failed if code != "0" else "ended the script before the stage began"
    result = failed_result(UserError(f"{key}: `{line}` {ended}"))
    print(result.reason, flush=True)
    index = own_array_index()
    if index is None:
        write_job_result(Path(folder), result)
    else:
        write_element_result(Path(folder), index, result)


if __name__ == "__main__":
    main(*sys.argv[1:])
