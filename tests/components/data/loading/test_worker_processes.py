"""Workers of a rank among several come from a server without threads, and outlive requests to stop."""

import contextlib
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from espnet3.components.data.data_organizer import DataOrganizer
from espnet3.components.data.loading.dataloader_builder import DataLoaderBuilder
from espnet3.components.data.manifest import ManifestDataset
from espnet3.errors import UserError


@pytest.fixture
def loader(train_manifest, valid_manifest):
    """The training data of one of so many ranks."""

    def build(world_size, num_workers, **train):
        def entry(manifest):
            return [{"name": "mini", "dataset": ManifestDataset(manifest, 8000), **train}]

        organizer = DataOrganizer(train=entry(train_manifest), valid=entry(valid_manifest))
        config = {"train": {"batch_size": 2, "num_workers": num_workers}, "valid": {"batch_size": 2}}
        return DataLoaderBuilder(organizer, config, world_size=world_size).build("train")

    return build


def parent_of(pid):
    return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])


def test_those_of_a_single_rank_are_forked(loader):
    batches = iter(loader(1, 1))
    assert next(batches)[0] == next(iter(loader(1, 0)))[0]
    assert [parent_of(worker.pid) for worker in batches._workers] == [os.getpid()]


@pytest.mark.slow
def test_those_of_several_ranks_come_from_a_server_and_read_on_when_all_processes_are_asked_to_stop(loader):
    expected = [uids for uids, _ in loader(2, 0)]
    batches = iter(loader(2, 2))
    seen = [next(batches)[0]]
    workers = [worker.pid for worker in batches._workers]
    (server,) = {parent_of(worker) for worker in workers}
    assert parent_of(server) == os.getpid()
    for pid in (server, *workers):
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2):
            os.kill(pid, number)
    seen += [uids for uids, _ in batches]
    assert seen == expected and len(seen) > 4
    assert signal.SIGTERM not in signal.pthread_sigmask(signal.SIG_BLOCK, []), (
        "this process is asked as before"
    )


RANK = """
import os, sys
from pathlib import Path
from espnet3.components.data.data_organizer import DataOrganizer
from espnet3.components.data.loading.dataloader_builder import DataLoaderBuilder
from espnet3.components.data.manifest import ManifestDataset
data = [{"name": "mini", "dataset": ManifestDataset(sys.argv[1], 8000)}]
config = {"train": {"batch_size": 2, "num_workers": 2}, "valid": {"batch_size": 2}}
builder = DataLoaderBuilder(DataOrganizer(train=data, valid=data), config, world_size=int(sys.argv[2]))
batches = iter(builder.build("train"))
next(batches)
Path("new").write_text(" ".join(str(worker.pid) for worker in batches._workers))
Path("new").rename("workers")
sys.stdin.read()
"""


@pytest.mark.slow
@pytest.mark.parametrize("world_size", [1, 2])
def test_they_and_the_server_end_with_a_rank_that_is_killed(train_manifest, tmp_path, until, world_size):
    deep = tmp_path / "a-folder-for-temporary-files" / "whose-path-is-longer-than-that-of-a-socket-may-be"
    deep.mkdir(parents=True)
    rank = subprocess.Popen(
        [sys.executable, "-c", RANK, str(train_manifest), str(world_size)],
        stdin=subprocess.PIPE,
        cwd=tmp_path,
        env={**os.environ, "OMP_NUM_THREADS": "1", "TMPDIR": str(deep)},
    )
    with rank:
        try:
            until((tmp_path / "workers").exists, "a batch")
        except BaseException:
            rank.kill()
            raise
        workers = [int(pid) for pid in (tmp_path / "workers").read_text().split()]
        processes = {*workers, parent_of(workers[0])} - {rank.pid}
        rank.kill()
        try:
            until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in processes), "their end")
        finally:
            for pid in processes:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal.SIGKILL)


def test_data_that_cannot_be_sent_there_is_told(loader):
    told = r"dataloader\.train: with several ranks the data is sent to the workers, .*pickled.*<lambda>"
    with pytest.raises(UserError, match=told):
        loader(2, 1, transform=lambda sample: sample)


SENDS = """
import sys, torch
from torch.utils.data import DataLoader
from espnet3.components.data.loading.worker_processes import worker_options

class Large(torch.utils.data.Dataset):
    def __len__(self): return 4
    def __getitem__(self, index): return torch.zeros(1_000_000)

def first(items): return items[0]  # is moved to shared memory only when it is sent

if __name__ == "__main__":
    own = worker_options(int(sys.argv[1]), [])
    for _ in DataLoader(Large(), num_workers=1, collate_fn=first, **own): pass
"""


@pytest.mark.slow
@pytest.mark.parametrize("world_size", ["1", "2"])
def test_a_full_dev_shm_is_an_error_and_no_hang(tmp_path: Path, world_size: str):
    (tmp_path / "sends.py").write_text(SENDS)
    full = 'mount -t tmpfs -o size=1m tmpfs /dev/shm && exec "$@"'
    own = ["unshare", "--mount", "sh", "-c", full, "sh"]
    if os.geteuid() != 0:
        pytest.skip("mounting needs root")
    command = [*own, sys.executable, str(tmp_path / "sends.py"), world_size]
    with (tmp_path / "output").open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, timeout=240, check=False)
    text = (tmp_path / "output").read_text()
    assert done.returncode == 1 and "/dev/shm is full" in text, text
    assert "DataLoader worker" in text.splitlines()[-1], text
