"""Torch's flight recorder counts collectives; its reader is a private name."""

import subprocess
import sys

COUNTED = """
from espnet3.components.flight_recorder import collectives, record_collectives
import torch, torch.distributed as dist
assert collectives() == (0, 0)
record_collectives()
dist.init_process_group("gloo", init_method="tcp://127.0.0.1:0", rank=0, world_size=1)
before = collectives()
for _ in range(3):
    dist.all_reduce(torch.ones(2))
print(collectives()[0] - before[0], flush=True)
while collectives()[1] - before[1] != 3:  # it learns of the end a moment later
    pass
print("completed")
"""


def test_collectives_that_were_started_and_completed_are_counted():
    done = subprocess.run(
        [sys.executable, "-c", COUNTED], capture_output=True, text=True, check=False, timeout=300
    )
    assert done.stdout == "3\ncompleted\n", done.stderr
