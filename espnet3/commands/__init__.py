"""The verbs of the command line, one file each: its flags, and a call of what does the work.

Each file has `add(verbs)`, which adds its parser, and `main(options, rest)`, which returns the exit code.
What a verb needs is imported when it runs, so that --help stays instant.
"""
