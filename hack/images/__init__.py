"""Builds the container images without a registry and brings them into a cluster.

The commands are `python -m hack.images --help`; other tools call `ensure`. Standard library only:
this package runs before any virtual environment exists.
"""

from hack.images.sync import Result, ensure, lacking, room, run

__all__ = ["Result", "ensure", "lacking", "room", "run"]
