"""Keeps the first error and counts them all."""

from amaranth.hdl import Module, Mux, Signal
from amaranth.lib import stream, wiring
from amaranth.lib.wiring import In, Out

from eyas.interfaces.vision.records import ErrorCode
from eyas.interfaces.vision.registers import VISION_REGISTERS
from hdl.parts.layout import register_layout
from hdl.vision.job_layouts import report_layout

__all__ = ["ErrorLog"]


class ErrorLog(wiring.Component):
    """The ERROR and ERROR_TAG registers.

    Takes one report a cycle, the jobs' before the doorbell's.  An abort gives up several jobs but
    is one error, that of the oldest job: only the first ABORTED of an abort is logged.  A report
    wins over a clear in the same cycle, and is then the first.

    Members
    -------
    job_ended : In(1)
        Take ``job`` unless its code is 0.
    job : In(report_layout)
        How a job ended.
    doorbell : In(stream of report_layout)
        Jobs dropped at the doorbell.
    aborting : In(1)
        An abort is under way.
    clear : In(1)
        Forget the first error and the count.
    error, error_tag : Out(register_layout)
        Values of the registers.
    logged : Out(1)
        High for one cycle: an error was logged.
    """

    job_ended: In(1)
    job: In(report_layout)
    doorbell: In(stream.Signature(report_layout))
    aborting: In(1)
    clear: In(1)
    error: Out(register_layout(VISION_REGISTERS["error"]))
    error_tag: Out(register_layout(VISION_REGISTERS["error_tag"]))
    logged: Out(1)

    def elaborate(self, platform):
        m = Module()

        abort_logged = Signal()
        is_abort = self.job.code == ErrorCode.ABORTED
        take_job = Signal()
        report = Signal(report_layout)
        m.d.comb += [
            take_job.eq(
                self.job_ended & (self.job.code != ErrorCode.NONE) & ~(is_abort & abort_logged)
            ),
            self.doorbell.ready.eq(~take_job),
            self.logged.eq(take_job | self.doorbell.valid),
            report.eq(Mux(take_job, self.job.as_value(), self.doorbell.p.as_value())),
        ]
        m.d.sync += abort_logged.eq(self.aborting & (abort_logged | (take_job & is_abort)))

        error = self.error
        with m.If(self.logged):
            with m.If(self.clear):
                m.d.sync += error.count.eq(1)
            with m.Elif(error.count != 255):
                m.d.sync += error.count.eq(error.count + 1)
            with m.If(self.clear | (error.count == 0)):
                m.d.sync += [
                    error.code.eq(report.code),
                    error.place.eq(report.place),
                    error.layer.eq(report.layer),
                    self.error_tag.tag.eq(report.tag),
                ]
        with m.Elif(self.clear):
            m.d.sync += [error.eq(0), self.error_tag.eq(0)]

        return m
