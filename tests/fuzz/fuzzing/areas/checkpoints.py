"""Checkpoints, damaged: what is read must be what was written, or be refused in one line."""

import io
from collections.abc import Callable
from pathlib import Path
from random import Random
from typing import Any, ClassVar

from fuzzing.areas.area import Area
from fuzzing.areas.data import _said
from fuzzing.areas.trained import train_small
from fuzzing.case import Case, Wrong
from fuzzing.mutation import damaged, damaged_bytes, damaged_json, value
from fuzzing.sandbox import Sandbox


class Checkpoints(Area):
    """The folder of a training, with damaged checkpoints."""

    name: ClassVar[str] = "checkpoints"

    def prepare(self, sandbox: Sandbox) -> None:
        """Train a little; the checkpoint within an epoch gets a second rank's gradients."""
        import torch

        from espnet3.components.checkpoint.atomic_io import AtomicCheckpointIO
        from espnet3.components.checkpoint.folder import part_name
        from espnet3.components.checkpoint.held_gradients import KEY, checksum
        from espnet3.components.data.instantiation import instantiate_node
        from espnet3.components.modeling.lightning_module import ESPnetLightningModule

        self.config = train_small(sandbox)
        self.folder = Path(self.config.exp_dir) / "checkpoints"
        self.module = ESPnetLightningModule(instantiate_node(self.config.model), self.config)
        for path in sorted(self.folder.glob("epoch=*.ckpt")):
            content = torch.load(path, weights_only=True)
            part = self.folder / part_name(path.name, 1)
            AtomicCheckpointIO().save_checkpoint({KEY: {"": {"x": torch.ones(3)}}}, part)
            content[KEY]["parts"] = [
                {"file": part.name, "bytes": part.stat().st_size, "crc32": checksum(part)}
            ]
            path.unlink()
            AtomicCheckpointIO().save_checkpoint(content, path)
        last = self.folder / "last.ckpt"
        last.unlink()
        last.write_bytes(sorted(self.folder.glob("epoch=*.ckpt"))[-1].read_bytes())
        self.names = sorted(path.name for path in self.folder.iterdir() if path.suffix in (".ckpt", ".part"))
        self.intact = {name: torch.load(self.folder / name, weights_only=True) for name in self.names}
        sandbox.add_foreign(self.config.exp_dir, self.folder)

    def make(self, random: Random, sandbox: Sandbox) -> Case:
        """One file, or some, and one reader of them."""
        said: list[str] = []
        rebuilt: set[str] = set()
        for name in random.sample(self.names, random.choice((1, 1, 2, len(self.names)))):
            path = self.folder / name
            how = self._damage(random, path)
            if how.startswith("rebuilt"):
                rebuilt.add(name)
            said.append(f"{path.name}: {how}")
        if random.random() < 0.2:
            ranking = self.folder / "best.json"
            ranking.write_bytes(damaged_json(random, ranking.read_bytes()))
            said.append(f"best.json: {ranking.read_bytes()[:500]!r}")
        reader = random.choice((self._continue, self._continue, self._begin, self._score))
        text = f"{reader.__name__}\n    " + "\n    ".join(said)
        return Case(text, lambda: _said(lambda: reader(rebuilt)), codes=(0, 2))

    def _damage(self, random: Random, path: Path) -> str:
        """Damage a file; returns how."""
        content = path.read_bytes()
        kind = random.random()
        if kind < 0.03:
            path.unlink()
            path.mkdir()
            return "a folder"
        if kind < 0.05:
            path.unlink()
            path.symlink_to(path.name)
            return "a link to itself"
        if kind < 0.1:
            name = random.choice(
                ("epoch=99999999999999999999999-step=1.ckpt", "epoch=2-batch=9-step=7.ckpt", "x.ckpt")
            )
            path.rename(path.with_name(name))
            return f"renamed to {name}"
        if kind < 0.2:
            other = random.choice([name for name in self.names if (self.folder / name).is_file()])
            path.write_bytes((self.folder / other).read_bytes())
            return f"rebuilt: a copy of {other}"
        if kind < 0.45:
            changed, how = self._rebuilt(random, path.name)
            path.write_bytes(changed)
            return f"rebuilt: {how}"
        damaged_content = damaged_bytes(random, content, random.choice((1, 1, 1, 3)))
        path.write_bytes(damaged_content)
        places = [
            at for at, (old, new) in enumerate(zip(content, damaged_content, strict=False)) if old != new
        ]
        return f"{len(content)} bytes, now {len(damaged_content)}; first difference at {places[:1]}"

    def _rebuilt(self, random: Random, name: str) -> tuple[bytes, str]:
        """What torch can read, and no training has written."""
        import torch

        class Evil:
            def __reduce__(self) -> Any:
                return print, ("code was run",)

        file = io.BytesIO()
        kind = random.random()
        if kind < 0.3:
            content: Any = random.choice(
                (None, [], {}, 5, "a", torch.ones(2), {"state_dict": {}}, {"state_dict": 1}, Evil())
            )
        elif kind < 0.4:
            content = {"state_dict": self.intact[name].get("state_dict"), "espnet3": value(random)}
        else:
            content = damaged(random, self.intact[name], random.choice((1, 1, 2)))
        try:
            torch.save(content, file)
        except Exception:  # not everything can be pickled
            torch.save([], file)
        return file.getvalue(), repr(content)[:300]

    def _continue(self, rebuilt: set[str]) -> None:
        """As stage 2 does."""
        from espnet3.components.checkpoint.newest_intact import newest_intact, read_whole
        from espnet3.components.checkpoint.ranking import best_checkpoint, last_checkpoint

        choice = newest_intact(self.folder, self.module)
        if choice.path is not None and choice.path.name in self.intact and choice.path.name not in rebuilt:
            content, problem = read_whole(choice.path)
            if problem or not _same(content, self.intact[choice.path.name]):
                raise Wrong(f"{choice.path.name} is damaged, and training would continue from it")
        last_checkpoint(self.folder)
        best_checkpoint(self.folder)

    def _begin(self, rebuilt: set[str]) -> None:
        """As `init_from` does."""
        from espnet3.components.checkpoint.initial_weights import load_initial_weights

        before = {name: tensor.clone() for name, tensor in self.module.model.state_dict().items()}
        problems = []
        for name in self.names:
            if (self.folder / name).exists():
                problems += [
                    self._weights(
                        name, rebuilt, before, lambda path: load_initial_weights(self.module.model, path)
                    )
                ]
        _raise_first(problems)

    def _score(self, rebuilt: set[str]) -> None:
        """As stage 3 does."""
        from espnet3.stages.validate import _load_model, find_checkpoint

        before = {name: tensor.clone() for name, tensor in self.module.model.state_dict().items()}
        path = find_checkpoint(self.config)
        _raise_first(
            [self._weights(path.name, rebuilt, before, lambda path: _load_model(self.module.model, path))]
        )

    def _weights(
        self, name: str, rebuilt: set[str], before: dict[str, Any], load: Callable[[Path], Any]
    ) -> Exception | None:
        """Load weights; they must be those that were written."""
        from espnet3.errors import UserError

        try:
            load(self.folder / name)
        except UserError as error:
            now = self.module.model.state_dict()
            if not _same(now, before) and load.__name__ == "load_initial_weights":
                raise Wrong(f"{name} was refused, and the model has changed") from error
            return error
        finally_read = self.module.model.state_dict()
        if name in self.intact and name not in rebuilt:
            written = self.intact[name].get("state_dict")
            if written is not None and not _same(finally_read, written):
                raise Wrong(f"{name} is damaged, and its weights were taken")
        self.module.model.load_state_dict(before)
        return None


def _raise_first(problems: list[Exception | None]) -> None:
    for problem in problems:
        if problem is not None:
            raise problem


def _same(one: Any, other: Any) -> bool:
    """Whether nested data are equal, bit for bit."""
    import torch

    if isinstance(one, torch.Tensor):
        return isinstance(other, torch.Tensor) and one.dtype == other.dtype and one.shape == other.shape and (
            bool((one == other).all() or (torch.isnan(one) == torch.isnan(other)).all())
        )  # fmt: skip
    if isinstance(one, dict) and isinstance(other, dict):
        return one.keys() == other.keys() and all(_same(inner, other[key]) for key, inner in one.items())
    if isinstance(one, list | tuple) and isinstance(other, list | tuple):
        return len(one) == len(other) and all(map(_same, one, other))
    return bool(one == other) or (one != one and other != other)
