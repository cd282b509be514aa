"""The server: one HTTP contract above interchangeable engines."""
