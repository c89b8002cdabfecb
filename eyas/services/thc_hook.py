"""A short import path for :mod:`eyas.services.hook.thc_hook`."""

from __future__ import annotations

from eyas.services.hook.thc_hook import ThcState, thc_hook

__all__ = ["ThcState", "thc_hook"]
