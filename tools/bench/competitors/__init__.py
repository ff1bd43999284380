"""Trainings that are compared: each is `train(setting, steps)` and gives its model and seconds per step."""
