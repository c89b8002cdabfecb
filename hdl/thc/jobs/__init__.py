"""Training jobs, which software opens, and descriptor jobs, which work for them."""
