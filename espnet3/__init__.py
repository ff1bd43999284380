"""espnet3: a launcher for HPC batch jobs and a suite of speech recipes."""

__version__ = "0.2.0"
