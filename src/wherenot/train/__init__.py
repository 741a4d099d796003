"""Training: configuration, trainer and runs. Only `wherenot.train.config` can be imported without transformers."""
