"""What files of a run directory say: attempts, their ranks, jobs, and what each stage was made from."""
