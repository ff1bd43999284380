"""The check of all data before time is spent: every line of a manifest, every file, every uid."""
