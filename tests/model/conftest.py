"""Environment of all tests that import torch."""

from __future__ import annotations

import os

# torch reads this when it loads OpenMP. Tests share the machine, where spinning threads are
# expensive.
os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
os.environ.setdefault("HF_HUB_OFFLINE", "1")
