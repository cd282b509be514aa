"""Wire types: pure, no tensors and no sockets."""
