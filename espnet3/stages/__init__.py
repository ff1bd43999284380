"""The four stages of a recipe, one file each: a function of the configuration and the task."""
