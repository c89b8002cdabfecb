"""The way to a bitstream for the PYNQ-Z2."""
