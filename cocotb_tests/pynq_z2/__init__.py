"""Benches of the overlays as the board sees them."""
