"""The open flow, experimental: Yosys, nextpnr-xilinx and Project X-Ray.

nextpnr-xilinx has no timing of DSP48E1, block RAM and PS7 for this chip, so the frequency that it
reports is no evidence for these overlays.  Nothing here was run by us.
"""

from __future__ import annotations

from string import Template

__all__ = ["DATABASES", "TOOLS", "command", "script"]

TOOLS = ("yosys", "nextpnr-xilinx", "fasm2frames", "xc7frames2bit")
"""What has to be on PATH."""
DATABASES = ("CHIPDB", "PRJXRAY_DB_DIR")
"""Environment variables that the script needs: folders of nextpnr's and of Project X-Ray's data."""

_SCRIPT = Template("""\
#!/bin/sh
# Makes $name.bit for the PYNQ-Z2 with openXC7's tools; experimental. Run it in this folder, with
# CHIPDB the folder of nextpnr-xilinx's $database.bin and PRJXRAY_DB_DIR that of Project X-Ray's
# data.
# No tool here times DSP48E1, block RAM and PS7: try the bitstream at a low FCLK0 first.
set -eu
: "$${CHIPDB:?set CHIPDB to the folder of $database.bin}"
: "$${PRJXRAY_DB_DIR:?set PRJXRAY_DB_DIR to the folder of zynq7/$part}"

rm -f $name.bit $name.frames $name.fasm
yosys -q -p "synth_xilinx -flatten -abc9 -arch xc7 -top $name; write_json $name.json" $name.v
nextpnr-xilinx --chipdb "$$CHIPDB/$database.bin" --json $name.json --fasm $name.fasm \\
    --freq $megahertz
fasm2frames --part $part --db-root "$$PRJXRAY_DB_DIR/zynq7" $name.fasm > $name.frames
xc7frames2bit --part_file "$$PRJXRAY_DB_DIR/zynq7/$part/part.yaml" --part_name $part \\
    --frm_file $name.frames --output_file $name.bit
""")


def script(name: str, part: str, clock_hz: int) -> str:
    """Return the shell script that makes ``name.bit`` of ``name.v``."""
    database = part.rpartition("-")[0]  # one for all speed grades
    return _SCRIPT.substitute(
        name=name, database=database, part=part, megahertz=f"{clock_hz / 1e6:g}"
    )


def command(name: str) -> list[str]:
    """Return what runs the script, in the folder of the files."""
    return ["sh", f"{name}.sh"]
