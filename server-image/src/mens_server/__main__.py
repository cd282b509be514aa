"""`python -m mens_server`."""

from __future__ import annotations

import logging
import os
import sys

from mens_server import process

if __name__ == "__main__":
    code = process.main(sys.argv[1:], os.environ)
    logging.shutdown()
    # Python would wait for transfers that still run in threads, longer than the grace period.
    os._exit(code)
