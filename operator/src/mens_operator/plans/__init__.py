"""What should exist now: pure functions from (resource, observed, now) to an Outcome."""
