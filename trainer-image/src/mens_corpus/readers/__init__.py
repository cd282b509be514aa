"""Where documents come from: S3 folders, Git commits, local folders; all look like one tree."""
