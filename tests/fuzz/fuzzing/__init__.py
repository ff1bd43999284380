"""Seeded fuzzers: damaged input of every kind, given to the real commands and readers.

`tools/fuzz` runs them for long, `tests/fuzz/test_fuzz.py` a few cases of each area. An area makes a case from
a seed alone, so that a finding can be repeated. Each case runs in a forked process, with a time limit and
under a guard (`guard.py`) that lets it write in the sandbox only, and end no process but its own.
"""
