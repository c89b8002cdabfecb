"""Training jobs: what the switch knows of those it serves, and the commands that change it."""
