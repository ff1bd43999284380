"""Lightning callbacks: progress, log lines, stopping on request."""
