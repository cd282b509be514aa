"""Documents become drafts of rows: one module per extractor, all of them pure."""
