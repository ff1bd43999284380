"""Records in a run directory: attempts, their ranks, jobs, and the inputs of each stage."""
