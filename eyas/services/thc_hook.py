"""The public name of :mod:`eyas.services.hook.thc_hook`, as README has it."""

from __future__ import annotations

from eyas.services.hook.thc_hook import ThcState, thc_hook

__all__ = ["ThcState", "thc_hook"]
