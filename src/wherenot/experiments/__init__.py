"""Experiments as data: the settings of each, by name."""
