"""The test tiers: which exist, which this machine allows, and the table of `make test`."""
