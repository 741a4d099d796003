"""Training: configuration, trainer and runs. Only the two `config` modules can be imported without transformers."""
