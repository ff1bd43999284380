"""What a training has left in its run directory, and whether that is what another one left; not a test."""

import json
import os
import shutil

import torch

from espnet3.components.checkpoint.folder import position_of


def end_of(home):
    """Everything that a training has left: its last checkpoint, the best ones, and its log."""
    folder = home / "checkpoints"
    last = torch.load(folder / "last.ckpt", weights_only=True)
    names = [part["file"] for part in last["espnet3_held"]["parts"]]
    parts = {name: torch.load(folder / name, weights_only=True) for name in names}
    csv = home / "csv" / "metrics.csv"
    return {
        "last": last,
        "parts": parts,
        "best": json.loads((folder / "best.json").read_text()),
        "rows": csv.read_text().splitlines(),
        "torn": torn(home),
    }


def differences(one, other, where=""):
    """Paths of what differs between two nested structures, in any bit."""
    if isinstance(one, torch.Tensor) and isinstance(other, torch.Tensor):
        return [] if torch.equal(one, other) and one.dtype == other.dtype else [where]
    if type(one) is not type(other):
        return [where]
    if isinstance(one, dict):
        if list(one) != list(other):
            return [f"{where}: {sorted(set(one) ^ set(other), key=str) or 'order'}"]
        return [found for key in one for found in differences(one[key], other[key], f"{where}/{key}")]
    if isinstance(one, list | tuple):
        if len(one) != len(other):
            return [f"{where}: {len(one)} != {len(other)}"]
        pairs = enumerate(zip(one, other, strict=True))
        return [found for index, (a, b) in pairs for found in differences(a, b, f"{where}/{index}")]
    return [] if one == other or (one != one and other != other) else [where]


def checkpoints_of(home):
    """Names, oldest first."""
    names = [path.name for path in (home / "checkpoints").glob("epoch=*.ckpt")]
    return sorted(names, key=position_of)


def newest(home):
    """The newest checkpoint's name; empty without any."""
    return max(checkpoints_of(home), key=position_of, default="")


def torn(home):
    """Names of files beside the checkpoints that are being written, or were when a kill came."""
    return sorted(path.name for path in (home / "checkpoints").glob(".*"))


def killed_after(source, checkpoint, home):
    """Make `home` what `source` would be, had the run been killed some time after it wrote `checkpoint`.

    The log has all rows that followed.
    """
    folder = home / "checkpoints"
    folder.mkdir(parents=True)
    for path in (source / "checkpoints").iterdir():
        position = position_of(path.name)
        if position is not None and position <= position_of(checkpoint):
            os.link(path, folder / path.name)
    shutil.copy(source / "checkpoints" / "best.json", folder)
    shutil.copytree(source / "csv", home / "csv")
