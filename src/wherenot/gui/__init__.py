"""GUI agents: screens to click on, and what they do there."""
