"""Lets `python -m hack.cluster` start the command line."""

import sys

from hack.cluster import cli

sys.exit(cli.main())
