"""Asking and telling the cluster: port, real client, fake, watch, cache, queue, lease."""
