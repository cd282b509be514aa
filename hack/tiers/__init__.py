"""The test tiers: which exist, what each needs, and the table of `make test`."""
