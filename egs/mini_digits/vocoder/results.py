"""Print the results of run directories as the table in the README: `python results.py TAG [TAG ...]`."""

from pathlib import Path

from espnet3.rundir.results import Measure, print_results

MEASURES = (Measure("mel_l1", "mel L1"), Measure("stoi", "STOI"), Measure("pesq", "PESQ"))

if __name__ == "__main__":
    print_results(Path(__file__).resolve().parent / "exp", MEASURES)
