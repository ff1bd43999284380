"""A real Slurm cluster of several nodes on one machine; `tools/slurm/cluster` is its command."""
