"""The trainer: fine-tunes a LoRA adapter on a base model and a corpus."""

import logging

# bitsandbytes warns at import that it would fetch a kernel from a hub; this setup does not need it.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
