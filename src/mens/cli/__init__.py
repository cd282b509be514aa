"""The `mens` command: thin; every sub-command calls a library that programs can call too."""
