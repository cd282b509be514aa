"""What verification costs when artifacts are published and fetched."""
