"""What watches a rank from beside it: stop signals, times to stop at, and that it moves."""
