"""The trainer: a base model and a corpus become an adapter; the only room with gradients."""

import logging

# While it is imported it warns of a kernel that it would fetch from a hub: nobody here misses it.
logging.getLogger("bitsandbytes.backends.cpu.ops").setLevel(logging.ERROR)
