"""The engine of our own: Hugging Face weights, our attention, our adapters, our loop."""
