"""General parts of the tools: paths, errors, progress, locks, interrupts, space, processes."""
