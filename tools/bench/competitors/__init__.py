"""Trainings that are compared: each is `train(setting, steps)` and returns its model and seconds per step."""
