"""Two training jobs that share four slots, for ``eyas demo``."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from eyas.cli.common.console import say

if TYPE_CHECKING:
    from rich.progress import Progress

    from eyas.services.loopback.system import JobReport

__all__ = ["SharedSlots", "share_slots"]

SEED = 1
WORKERS = 4
ROUNDS = 2
SLOTS = 4
PRIORITIES = (200, 100)
LOSS = 0.01


@dataclass(frozen=True)
class SharedSlots:
    """The results of both jobs; ``exact``: all sums are right, all workers have the same bits."""

    reports: tuple[JobReport, ...]
    exact: bool

    def show(self) -> None:
        """The answer's lines."""
        first, second = self.reports
        say(
            f"Switch: two jobs of {WORKERS} workers share {SLOTS} slots of the RTL and a network "
            f"that loses {LOSS:.0%} of the packets on each hop. The job of priority "
            f"{first.priority} took a slot over {first.preemptions} times and finished at "
            f"{first.finished:,.0f}, the job of priority {second.priority} at "
            f"{second.finished:,.0f} (in units of a hop's time); "
            f"{first.resends + second.resends} packets were sent again"
        )
        if self.exact:
            say(
                f"Proof: after {first.rounds + second.rounds} rounds all workers hold the same "
                f"bits, and every sum has each contribution once"
            )


def share_slots(bars: Progress) -> SharedSlots:
    """Gradients of real pictures, of two jobs, through the switch on the simulated board."""
    from drivers.simulated.switch import switch_board
    from drivers.switch import Switch
    from eyas.cli.switch.gradients import digit_gradients
    from eyas.interfaces.switch.states import Policy
    from eyas.services.loopback.gradient_job import GradientJob
    from eyas.services.loopback.system import Loopback
    from models.switch.network import LossyNetwork

    building = bars.add_task("building the switch", total=100)
    task = bars.add_task("two jobs on four slots", total=None)
    with (
        switch_board(progress=lambda _, done: bars.update(building, completed=100 * done)) as board,
        Switch(board) as driver,
    ):
        bars.update(building, completed=100)
        loopback = Loopback(
            [
                GradientJob(digit_gradients(SEED + job, WORKERS, ROUNDS), priority)
                for job, priority in enumerate(PRIORITIES)
            ],
            SLOTS,
            Policy.ESA,
            LossyNetwork(SEED, LOSS),
            driver=driver,
            progress=lambda done, total: bars.update(task, completed=done, total=total),
        )
        reports = tuple(loopback.run())
    return SharedSlots(reports, all(report.equal and report.right for report in reports))
