"""When we are woken: the only kopf of the project."""
