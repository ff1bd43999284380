"""Tell how runs are, from their files and Slurm's queue: from any shell, whoever started them."""
