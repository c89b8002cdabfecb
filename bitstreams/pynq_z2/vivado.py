"""Vivado's inputs: constraints, and a non-project script that refuses what does not close timing.

Nothing here was run on Vivado by us: the script's syntax, commands, files and their order are
checked with a plain Tcl in the tests.
"""

from __future__ import annotations

from string import Template

__all__ = ["CLOCK_NAME", "PERIOD_DIGITS", "command", "tcl", "xdc"]

CLOCK_NAME = "fclk0"
PERIOD_DIGITS = 3
JITTER_SHARE = 0.03
"""Of the period; what Vivado's own wrapper of the processing system assumes."""

_XDC = Template("""\
# $name on the PYNQ-Z2: there are no pins to place. Clock, reset, registers and DRAM come from the
# processing system, whose pads, PLLs and DRAM the boot loader sets up.

# FCLK0, which PYNQ sets to this frequency when it loads the bitstream (the .hwh says so).
create_clock -name $clock -period $period [get_pins {ps7/FCLKCLK[0]}]
set_input_jitter $clock $jitter

# The reset comes at any time and is synchronised behind this pin.
set_false_path -through [get_pins {ps7/FCLKRESETN[0]}]
""")

_TCL = Template("""\
# Makes $name.bit and $name.bin for the PYNQ-Z2. Run it in this folder:
#
#     vivado -mode batch -source $name.tcl
#
# It ends with an error, and without a bitstream, when the design does not close timing (setup, hold
# or pulse width), when a register has no clock, and when Vivado's reports cannot be understood.
# Reports: ${name}_*.rpt.

set name $name
set part $part

# Nothing of an earlier run may pass for this one's.
file delete -force $$name.bit $$name.bin

read_verilog $$name.v
read_xdc $$name.xdc
synth_design -top $$name -part $$part
opt_design
place_design
phys_opt_design
route_design

report_utilization -hierarchical -file $${name}_utilization.rpt
report_clock_networks -file $${name}_clocks.rpt
report_timing_summary -max_paths 10 -file $${name}_timing.rpt
set summary [report_timing_summary -return_string]
report_drc -file $${name}_drc.rpt
write_checkpoint -force $$name.dcp

# Constraints: one clock, which reaches every register.
set clocks [get_clocks]
if {$$clocks ne "$clock"} {
    error "There should be one clock, $clock, not '$$clocks': see $$name.xdc"
}
set checks [check_timing -return_string]
if {![regexp {checking no_clock \\((\\d+)\\)} $$checks match count]} {
    error "check_timing says nothing of no_clock: this Vivado is not known to $$name.tcl"
}
if {$$count > 0} {
    error "$$count clock pins have no clock: see $${name}_clocks.rpt"
}

# Timing: the worst setup slack (WNS), hold slack (WHS) and pulse width slack (WPWS).
proc refuse_negative {label slack} {
    puts "$$label $$slack ns"
    if {![regexp {^[-+]?[0-9]+([.][0-9]+)?$$} $$slack]} {
        error "$$label is '$$slack', which is no number: the design is not constrained"
    }
    if {$$slack < 0} {
        error "$$label is $$slack ns at a period of $period ns: see ${name}_timing.rpt"
    }
}
foreach {delay label} {max WNS min WHS} {
    set path [get_timing_paths -delay_type $$delay -max_paths 1]
    if {[llength $$path] == 0} {
        error "There is no path to take $$label from: the design is empty or not constrained"
    }
    refuse_negative $$label [get_property SLACK $$path]
}
# No path tells of pulse widths: the report's table does, titles over dashes over numbers.
set table {^ *(WNS\\(ns\\) .*WPWS\\(ns\\).*)\\n[- ]+\\n(.*)$$}
if {![regexp -line $$table $$summary match titles values]} {
    error "report_timing_summary says nothing of WPWS: this Vivado is not known to $name.tcl"
}
regsub -all {  +} [string trim $$titles] | titles
set values [regexp -all -inline {[^ ]+} $$values]
if {[llength [split $$titles |]] != [llength $$values]} {
    error "report_timing_summary has another form: this Vivado is not known to $name.tcl"
}
foreach {column label} {WNS(ns) WNS WHS(ns) WHS WPWS(ns) WPWS} {
    refuse_negative $$label [lindex $$values [lsearch -exact [split $$titles |] $$column]]
}

write_bitstream -force -bin_file $$name.bit
""")


def xdc(name: str, clock_hz: int) -> str:
    """Return the constraints of the board top ``name``, whose FCLK0 runs at ``clock_hz``."""
    period = 1e9 / clock_hz
    return _XDC.substitute(
        name=name,
        clock=CLOCK_NAME,
        period=f"{period:.{PERIOD_DIGITS}f}",
        jitter=f"{period * JITTER_SHARE:.{PERIOD_DIGITS}f}",
    )


def tcl(name: str, part: str, clock_hz: int) -> str:
    """Return the script that makes ``name.bit`` of ``name.v`` and ``name.xdc`` for ``part``."""
    return _TCL.substitute(
        name=name, part=part, clock=CLOCK_NAME, period=f"{1e9 / clock_hz:.{PERIOD_DIGITS}f}"
    )


def command(name: str) -> list[str]:
    """Return what runs the script, in the folder of the files."""
    return ["vivado", "-mode", "batch", "-nojournal", "-nolog", "-source", f"{name}.tcl"]
