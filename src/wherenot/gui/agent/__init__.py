"""A tiny agent that learns to click on rendered screens on a CPU."""
