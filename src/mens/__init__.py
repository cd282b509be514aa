"""Mens: resources, artifacts and provenance, importable without a cluster and without a GPU."""
