"""What a process does, from the stacks that Python's faulthandler has written of it."""

import linecache
import re
from collections.abc import Sequence
from dataclasses import dataclass

_FRAME = re.compile(r'  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)')
_LIBRARIES = re.compile(r"/lib(64)?/python\d|/(site|dist)-packages/|^<")
_OWN_WAITS = "components/modeling/named/reduction.py"

WAITING = "a collective"
"""What a rank is in that waits for other ranks."""
READING = "a read from the device"
"""Of a GPU: it waits for all that was given to it, collectives included."""
CALLBACK = "a callback"
"""Or a hook of the module: what a user has done every thousand batches may take long, and is no batch."""
HOOK = "a hook of the module"
UNHURRIED = ("checkpoint writing", "compilation")
"""What may take long, at any time of a training."""


@dataclass(frozen=True)
class Frame:
    """A line of a stack."""

    file: str
    line: int
    function: str

    @property
    def where(self) -> str:
        """File, line and function, in short."""
        return f"{self.file.rpartition('/')[2]}:{self.line} {self.function}"


@dataclass(frozen=True)
class Doing:
    """What a process is in."""

    what: str
    """Such as `data loading`, or WAITING; empty: not known."""
    operation: str = ""
    """The collective that it waits in, by the name of its function."""
    site: str = ""
    """The innermost line of code that is no library's."""


def main_stack(text: str) -> list[Frame]:
    """The stack of the main thread in `text`, innermost first: threads come in the order newest first."""
    stacks: list[list[Frame]] = [[]]
    for line in text.splitlines():
        if line.startswith(("Thread ", "Current thread ")):
            stacks.append([])
        elif found := _FRAME.fullmatch(line):
            stacks[-1].append(Frame(found["file"], int(found["line"]), found["function"]))
    return stacks[-1]


def doing(stack: Sequence[Frame]) -> Doing:
    """What the process with this stack of its main thread is in; the innermost frame that says it counts."""
    own = [frame for frame in stack if not _LIBRARIES.search(frame.file)]
    site = own[0].where if own else ""
    for place, frame in enumerate(stack):
        if frame.file.endswith("torch/distributed/distributed_c10d.py"):
            return Doing(WAITING, _operation(stack[place:]), site)
        if frame.file.endswith(_OWN_WAITS) and frame.function == "wait":
            return Doing(WAITING, "all_reduce of gradients", site)
        if not place and _READS_DEVICE.search(linecache.getline(frame.file, frame.line)):
            return Doing(READING, "", site)
        what = next(
            (what for pattern, what in _KINDS if pattern.search(f"{frame.file}:{frame.function}")), ""
        )
        if what:
            return Doing(what, "", site)
    return Doing("", "", site)


def _operation(stack: Sequence[Frame]) -> str:
    """The function of torch.distributed that was called: below decorators and collectives that it uses."""
    operation = ""
    for frame in stack:
        if not frame.file.endswith(("distributed_c10d.py", "c10d_logger.py")):
            break
        if frame.function != "wrapper":
            operation = frame.function
    return operation


_READS_DEVICE = re.compile(r"\.(tolist|item|cpu|synchronize)\(")
_KINDS = [
    (re.compile(pattern), what)
    for pattern, what in (
        (r"components/checkpoint/|callbacks/model_checkpoint\.py|:save_checkpoint$", "checkpoint writing"),
        (r"/torch/_(dynamo|inductor)/", "compilation"),
        (r"/torch/utils/data/|/loops/fetchers\.py|/combined_loader\.py|components/data/", "data loading"),
        (r"/torch/autograd/", "the backward pass"),
        (r"/torch/optim/|:optimizer_step$", "the optimizer"),
        (r"/torch/nn/modules/module\.py|:forward$|:(training|validation)_step$", "the forward pass"),
        (r"/trainer/call\.py:_call_callback_hooks$", CALLBACK),
        (r"/trainer/call\.py:_call_lightning_module_hook$", HOOK),
    )
]
