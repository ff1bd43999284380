"""The subcommands of `espnet3`, one file each: flags, and a call of the package that does the work.

Each file has `add(verbs)`, which adds its parser, and `main(options, rest)`, which returns the exit code.
Imports are inside `main`, so that --help is instant.
"""
