"""Phone screens to click on, rendered with a known shortcut: where things usually are."""
