"""Readers of documents: S3 folders, Git commits and local folders, behind one protocol."""
