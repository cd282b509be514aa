"""HTTP: written once, above every engine."""
