"""Print the results of run directories as the table in the README: `python results.py TAG [TAG ...]`."""

from pathlib import Path

from espnet3.rundir.results import Measure, percent, print_results

RATES = (
    Measure("token_error_rate", "token error", percent),
    Measure("utterance_error_rate", "utterance error", percent),
)

if __name__ == "__main__":
    print_results(Path(__file__).resolve().parent / "exp", RATES, mean=True)
