"""How often training waits for the device: the table of the README, counted on a device that counts.

What cannot be counted without a GPU is in `tools/gpu_check.sh`.
"""

import re
from pathlib import Path

import pytest

import counting_device
import device_reads

README = Path(__file__).resolve().parents[3] / "README.md"
KINDS = ("single", "named")


@pytest.fixture(scope="module")
def counts(tmp_path_factory, answers_of_ranks):
    """By case, kind and number of ranks: the waits of a training batch and of a validation batch."""
    found = {}
    for world_size in (1, 2):
        directory = tmp_path_factory.mktemp(f"ranks{world_size}")
        ranks = answers_of_ranks(device_reads.__file__, directory, world_size)
        for case in device_reads.CASES:
            for kind in KINDS:
                found[case, kind, world_size] = [answer[case][kind] for answer in ranks]
    return found


def table(counts):
    """Reads per training batch, as the README shows them."""
    lines = ["| | single | named | single, 2 ranks | named, 2 ranks |", "|---|---|---|---|---|"]
    for case in device_reads.CASES:
        cells = [
            max(rank["training"][counting_device.READ] for rank in counts[case, kind, world_size])
            for world_size in (1, 2)
            for kind in KINDS
        ]
        lines.append(f"| {case} | {' | '.join(map(str, cells))} |")
    return "\n".join(lines)


@pytest.mark.slow
def test_the_readme_says_how_many_reads_a_training_batch_has(counts):
    found = re.search(r"\| \| single \| named \|.*?(?=\n\n)", README.read_text(), flags=re.DOTALL)
    assert found and found[0] == table(counts), f"README.md should have:\n{table(counts)}"


@pytest.mark.slow
def test_a_validation_batch_reads_nothing_and_no_batch_copies_numbers_to_the_device(counts):
    for case, ranks in counts.items():
        for rank in ranks:
            assert rank["validation"] == {counting_device.READ: 0, counting_device.WRITE: 0}, case
            assert rank["training"][counting_device.WRITE] == 0, case
