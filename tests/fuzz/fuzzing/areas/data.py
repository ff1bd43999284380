"""Data and statistics: manifests, audio, statistics, shapes, metrics, damaged."""

import gzip
import json
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from fuzzing.areas.area import Area
from fuzzing.areas.trained import train_small
from fuzzing.case import Case, Wrong
from fuzzing.mutation import damaged, damaged_bytes, value, word
from fuzzing.sandbox import FOREIGN, Sandbox, put

LEVELS = ("manifests", "quick", "full")


class Data(Area):
    """Some damaged files of data, and what reads them."""

    name: ClassVar[str] = "data"

    def prepare(self, sandbox: Sandbox) -> None:
        """Make data and statistics."""
        import matplotlib.font_manager  # noqa: F401

        import espnet3.components.data.checking.check
        import espnet3.components.data.loading.length_buckets
        import espnet3.components.modeling.global_mvn
        import espnet3.stages.check_data  # noqa: F401

        self.config = train_small(sandbox, stages=("prepare", "collect_stats"))
        self.data, self.stats = Path(self.config.data_dir), Path(self.config.stats_dir)
        sandbox.add_foreign(self.data, self.stats)
        self.curves = Path(self.config.exp_dir) / "csv" / "metrics.csv"
        self.curves.parent.mkdir(parents=True)
        self.curves.write_text("epoch,step,train/loss,valid/loss\n0,1,2.0,\n0,2,1.5,1.7\n1,4,1.25,1.5\n")
        made = [path for folder in (self.data, self.stats) for path in folder.rglob("*") if path.is_file()]
        self.files = [path for path in sorted(made) if FOREIGN not in str(path.relative_to(sandbox.folder))]

    def make(self, random: Random, sandbox: Sandbox) -> Case:
        """One file, or two, and one reader of it."""
        said = []
        kind, reader = random.choice(
            (
                ("*.jsonl", self._check), ("*.jsonl", self._check), ("*.jsonl", self._read_manifests),
                ("*.wav", self._check), ("*_stats.npz", self._read_statistics),
                ("*_shape", self._read_shapes), ("metrics.csv", self._read_metrics),
            )
        )  # fmt: skip
        files = [path for path in (*self.files, self.curves) if path.match(kind)]
        for path in random.sample(files, min(len(files), random.choice((1, 1, 2)))):
            content = self._damage(random, path)
            put(path, content)
            said.append(f"{path.relative_to(sandbox.folder)}: {(content or b'')[:1500]!r}")
        level, on_bad = random.choice(LEVELS), random.choice(("error", "skip"))
        text = f"{reader.__name__} level={level} on_bad={on_bad}\n    " + "\n    ".join(said)
        return Case(text, lambda: _said(lambda: reader(level, on_bad)), writes=True, codes=(0, 2))

    def _damage(self, random: Random, path: Path) -> bytes | None:
        content = path.read_bytes()
        kind = random.random()
        if kind < 0.02:
            return None
        if kind < 0.05:
            return gzip.compress(content, mtime=0)
        if kind < 0.1:
            return random.choice(self.files).read_bytes()
        if path.suffix == ".npz" and kind < 0.6:
            return _damaged_arrays(random)
        if path.suffix == ".jsonl" and kind < 0.7:
            lines = [json.loads(line) for line in content.splitlines() if line.strip()]
            if random.random() < 0.3:
                lines += [random.choice(lines)]
            at = random.randrange(len(lines))
            lines[at] = damaged(random, lines[at], random.choice((1, 1, 2)))
            return "\n".join(json.dumps(line) for line in lines).encode()
        if path.suffix in ("", ".csv") and kind < 0.6:
            rows = content.decode().splitlines()
            at = random.randrange(len(rows))
            separator = "," if path.suffix else " "
            cells = rows[at].split(separator)
            cells[random.randrange(len(cells))] = word(random, random.choice(cells))
            rows[at] = separator.join(cells)
            return "\n".join(rows).encode("utf-8", "surrogateescape")
        return damaged_bytes(random, content, random.choice((1, 1, 3)))

    def _check(self, level: str, on_bad: str) -> None:
        from espnet3.stages.check_data import run

        config = self.config.copy()
        config.dataset.on_bad = on_bad
        report = Path(self.config.exp_dir) / "data_check.txt"
        result = run(config, level, report, lambda done, total: None)
        print(json.dumps([result.summary, result.error]))
        lines = [*result.lines, result.error, result.summary, *result.remarks]
        if any("\n" in line for line in lines):
            raise Wrong(f"more than one line: {lines}")

    def _read_manifests(self, level: str, on_bad: str) -> None:
        from espnet3.components.data.manifest import ManifestDataset

        for split in ("train", "valid", "test"):
            dataset = ManifestDataset(self.config.manifests[split])
            for index in range(len(dataset)):
                dataset[index]

    def _read_statistics(self, level: str, on_bad: str) -> None:
        import torch

        from espnet3.components.modeling.global_mvn import GlobalMVN

        for path in self.stats.glob("*/*_stats.npz"):
            normalized = GlobalMVN(path)
            for name in ("mean", "std"):
                if not bool(torch.isfinite(getattr(normalized, name)).all()):
                    raise Wrong(f"{name} of {path.name} is not finite")

    def _read_shapes(self, level: str, on_bad: str) -> None:
        from espnet3.components.data.loading.length_buckets import LengthBuckets
        from espnet3.components.data.manifest import ManifestDataset

        for split in ("train", "valid"):
            uids = ManifestDataset(self.config.manifests[split]).uids()
            buckets = LengthBuckets(
                sorted((self.stats / split).glob("*_shape")), batch_size=3, batch_bins=10_000
            )
            if sorted(index for batch in buckets(uids) for index in batch) != list(range(len(uids))):
                raise Wrong("an utterance is not in exactly one batch")

    def _read_metrics(self, level: str, on_bad: str) -> None:
        from espnet3.components.learning_curve import draw_learning_curve
        from espnet3.rundir.curves import read_curves

        curves = read_curves(self.curves)
        read_curves(self.curves, by="epoch")
        if curves:
            draw_learning_curve(curves, self.curves.with_suffix(".png"), title="a_$b$ %")


def _said(read: Callable[[], Any]) -> int:
    """Exit code of what reads, as the command has it."""
    from espnet3.__main__ import exiting

    def command() -> int:
        read()
        return 0

    return exiting(command)


def _damaged_arrays(random: Random) -> bytes:
    """Statistics with arrays that are no statistics."""
    import io

    import numpy as np

    arrays: dict[str, Any] = {"count": 100, "sum": np.ones(4), "sum_square": np.full(4, 2.0)}
    key = random.choice(sorted(arrays))
    odd = (
        *(
            np.nan,
            np.inf,
            -1,
            0,
            "text",
            np.ones(3),
            np.ones((2, 2)),
            np.full(4, np.nan),
            np.zeros(0),
            np.array(["a"]),
        ),
        *(np.full(4, -1e300), np.ones(4, dtype=complex), np.array([None, 1], dtype=object), value(random)),
    )
    if random.random() < 0.2:
        del arrays[key]
    else:
        arrays[key] = random.choice(odd)
    file = io.BytesIO()
    try:
        np.savez(file, **arrays)
    except Exception:  # not everything can be an array
        return b"PK"
    return file.getvalue()
