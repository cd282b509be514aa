"""What computes tokens: one contract, several engines."""
