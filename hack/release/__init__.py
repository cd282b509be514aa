"""A release as a dry run: versions, changelog, wheels, chart package, SBOMs and checksums."""
