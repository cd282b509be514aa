"""The trainer: a base model and a corpus become an adapter; the only room with gradients."""
