"""Checks of what stands beside a `_target_`: that it exists, takes these arguments, and of which type.

Source is read; nothing is imported. May import what `checks` may.
"""
