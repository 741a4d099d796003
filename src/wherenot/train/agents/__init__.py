"""Training of GUI agents. Only `wherenot.train.agents.config` can be imported without transformers, peft and trl."""
