"""THC: gradients compressed so that they add up without being decompressed, in PyTorch."""
