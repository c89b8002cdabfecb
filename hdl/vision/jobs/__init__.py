"""Descriptor jobs of the vision overlay: from the doorbell to the result record."""
