"""What the tools of the checkout share: paths, progress, locks, interrupts, space and processes."""
