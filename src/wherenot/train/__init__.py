"""Training: configuration, trainer and runs. Only `wherenot.train.config` and `.agents.config` can be imported without transformers."""
