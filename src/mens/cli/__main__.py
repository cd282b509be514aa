"""`python -m mens.cli` is `mens`."""

from __future__ import annotations

import sys

from mens.cli import main

sys.exit(main.main())
