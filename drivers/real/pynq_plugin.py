"""What PYNQ imports by itself (entry point ``pynq.lib``) before it looks for an overlay's drivers.

Without PYNQ nothing happens.
"""

from __future__ import annotations

import sys

from drivers.real.pynq_ip import bind

__all__: list[str] = []

if "pynq" in sys.modules:
    bind()
