"""How files of a run directory are written and read: atomically, with a format number, for the user alone."""
