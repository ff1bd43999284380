"""The corpus mini_digits: strings of digits spoken by espeak-ng voices in noise; its recipes share it."""
