"""The folder of a search: private, because a job runs its script, and removed if the search is refused."""

import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from espnet3.errors import UserError, cannot_write
from espnet3.rundir.files.private import check_private, make_private
from espnet3.sweep.trials.folder import is_sweep
from espnet3.sweep.trials.search_record import search_dir


@contextmanager
def search_folder(sweep: Path) -> Iterator[None]:
    """Create the folder; remove it if the command is refused before there is a sweep.

    Raises:
        UserError: it can't be created, or others can write to it.
    """
    folder = search_dir(sweep)
    try:
        make_private(folder)
    except FileExistsError:
        check_private(folder)
    except OSError as error:
        raise cannot_write(error, folder) from error
    try:
        yield
    except UserError:
        if not is_sweep(sweep):
            shutil.rmtree(folder, ignore_errors=True)
            for empty in (sweep, sweep.parent, sweep.parent.parent):
                with suppress(OSError):  # there is something in it
                    empty.rmdir()
        raise
