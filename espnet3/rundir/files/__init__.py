"""Reading and writing files of a run directory: atomic, with a format number, writable only by the user."""
