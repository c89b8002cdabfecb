"""What of the switch is set and counted: policy, interrupts, jobs, counters."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from drivers.board import Board
from drivers.errors import BoardTimeout
from drivers.overlay import OverlayDriver, exclusive
from drivers.switch.errors import SwitchError
from drivers.switch.jobs import SwitchJob
from eyas.interfaces.switch.config import SwitchConfig
from eyas.interfaces.switch.packet import Lanes
from eyas.interfaces.switch.registers import (
    FAULT_COUNTERS,
    IDENTITY,
    SWITCH_REGISTERS,
    VERSION_MAJOR,
    SwitchCode,
)
from eyas.interfaces.switch.states import COUNTED_OUTCOMES, Outcome, Policy
from eyas.interfaces.thc.formats import LookupTable

__all__ = ["SwitchSetup"]

POLLS = 100_000
COUNTERS = range(SWITCH_REGISTERS["cycles"].offset, SWITCH_REGISTERS["errors"].offset + 4)
MODERATION = SWITCH_REGISTERS["moderation"].by_name


class SwitchSetup(OverlayDriver):
    """The part of :class:`drivers.switch.switch.Switch` that moves no packets.

    Attributes
    ----------
    config : SwitchConfig
        Slots, jobs and depths, read from the overlay.
    policy : Policy
        As set last.
    """

    def __init__(self, board: Board) -> None:
        super().__init__(
            board, SWITCH_REGISTERS, name="switch", identity=IDENTITY, version_major=VERSION_MAJOR
        )
        self.config = SwitchConfig(**self._read("shape"), **self._read("depths"))
        self.policy = Policy.ESA
        self._settings: dict[str, dict[str, int]] = {"moderation": {"count": 1, "cycles": 0}}
        self._jobs: dict[int, SwitchJob] = {}
        self._epochs: dict[int, int] = {}

    def _pull(self) -> None:
        """Take packets out of the ring, so that there is room for more."""
        raise NotImplementedError

    def _most_packets(self) -> int:
        """What the egress ring holds."""
        raise NotImplementedError

    def _apply(self, **settings: dict[str, int]) -> None:
        """Write registers that are to stand after a reset, too."""
        self._settings |= settings
        for name, fields in settings.items():
            self._write(name, **fields)

    @exclusive
    def set_policy(
        self,
        policy: Policy,
        *,
        decay_after: int = 8,
        age_limit: int = 0,
        scan_period: int = 0,
        slots: int | None = None,
        salt: int = 0,
    ) -> None:
        """Choose who may have a slot; only while no job is enabled.

        Parameters
        ----------
        policy : Policy
            See ``docs/registers/policies.md``.
        decay_after : int
            Collisions that halve a busy slot's priority, 1 to 255; 0: never.
        age_limit : int
            Looks at an untouched slot after which the next one empties it, 1 to 255; 0: never.
        scan_period : int
            Cycles from one look at a slot to the next, 1 to 65535; 0: no looks.
        slots : int or None
            Slots in use, a power of two; None: all.
        salt : int
            16 bits into the hash.

        Raises
        ------
        ValueError
            For a value out of its range.
        SwitchError
            With JOB_ENABLED while a job is enabled.
        """
        self._require_open("set the policy")
        if self._jobs:
            raise SwitchError(
                f"Setting the policy beside job {min(self._jobs)} was refused with",
                SwitchCode.JOB_ENABLED,
            )
        used = self.config.slots if slots is None else slots
        if used & (used - 1) or not 1 <= used <= self.config.slots:
            raise ValueError(
                f"Slots in use are a power of two from 1 to {self.config.slots}, not {used}"
            )
        for name, value, most in (
            ("decay_after", decay_after, 255),
            ("age_limit", age_limit, 255),
            ("scan_period", scan_period, 65535),
            ("salt", salt, 65535),
        ):
            if not 0 <= value <= most:
                raise ValueError(f"{name} is 0 to {most}, not {value}")
        if bool(age_limit) != bool(scan_period):
            raise ValueError(
                f"Slots age by looks at them: age_limit and scan_period are set together, not "
                f"{age_limit} and {scan_period}"
            )
        chosen = Policy(policy)
        self._apply(
            policy={
                "policy": chosen,
                "slots_log2": used.bit_length() - 1,
                "decay_after": decay_after,
                "age_limit": age_limit,
            },
            scan={"period": scan_period, "salt": salt},
        )
        self.policy = chosen

    @exclusive
    def set_moderation(self, packets: int = 1, cycles: int = 0) -> None:
        """Have packets raise the interrupt when ``packets`` wait, or the first for ``cycles``.

        At the first of the two; with 0 cycles at once.  :meth:`wait` then returns less often with
        more.  When all that was posted is done with, the interrupt comes in any case.

        Raises
        ------
        ValueError
            For more packets than the ring holds, or a time that the overlay cannot count.
        """
        self._require_open("set the interrupt moderation")
        most = min(self._most_packets(), MODERATION["count"].maximum)
        if not 1 <= packets <= most:
            raise ValueError(f"An interrupt is for 1 to {most} packets, not {packets}")
        if not 0 <= cycles <= MODERATION["cycles"].maximum:
            raise ValueError(
                f"An interrupt is delayed by 0 to {MODERATION['cycles'].maximum} cycles, not "
                f"{cycles}"
            )
        self._apply(moderation={"count": packets, "cycles": cycles})

    @property
    def jobs(self) -> Mapping[int, SwitchJob]:
        """Jobs that are enabled, by number."""
        return MappingProxyType(self._jobs)

    @exclusive
    def configure(
        self,
        job: int,
        workers: int,
        *,
        lanes: Lanes = Lanes.UINT8,
        table: LookupTable | None = None,
        quorum: int | None = None,
        epoch: int | None = None,
        partition: tuple[int, int] | None = None,
        replace: bool = False,
    ) -> int:
        """Enable ``job`` and return its epoch, which its packets must carry.

        Parameters
        ----------
        job : int
            Its number.
        workers : int
            1 to 32.
        lanes : Lanes
            Width of its sums.
        table : LookupTable or None
            What indices stand for; None with int32 lanes.
        quorum : int or None
            Contributions after which a sum goes to the server, which decides; None: the switch
            itself completes the sums of all workers.
        epoch : int or None
            By default one more than the job's last, 0 at first; modulo 256.
        partition : (int, int) or None
            The job's own slots, under SWITCHML only: the first, and how many.
        replace : bool
            Whether the job may be enabled already: it is then stopped and flushed first.

        Raises
        ------
        ValueError, TypeError
            When the setup breaks a rule; nothing is changed.
        SwitchError
            With JOB_ENABLED when the job is enabled already, without ``replace``.
        """
        self._require_open("configure a job")
        self._check_number(job)
        last = self._epochs.get(job)
        if epoch is None:
            epoch = 0 if last is None else (last + 1) & 0xFF
        setup = SwitchJob(workers, Lanes(lanes), table, quorum, epoch, partition)
        others = {number: other for number, other in self._jobs.items() if number != job}
        setup.check(self.policy, self.config, others)
        if epoch == last:
            raise ValueError(
                f"Epoch {epoch} was job {job}'s last, whose packets may still be under way; take "
                f"another one"
            )
        if job in self._jobs:
            if not replace:
                raise SwitchError(f"Enabling job {job} was refused with", SwitchCode.JOB_ENABLED)
            self.close_job(job)
        self._write("job_select", job=job)
        self._write(
            "job_setup", workers=workers, needed=setup.needed, epoch=epoch, lanes=setup.lanes
        )
        first, size = partition or (0, self.config.slots)
        self._write("job_partition", base=first, mask=size - 1)
        entries = table.entries if table is not None else (0,) * 16
        for start in range(0, 16, 4):
            self._write(
                f"table{start // 4}",
                **{f"entry{start + i}": entries[start + i] for i in range(4)},
            )
        self._command("Enabling", job, enable=1)
        self._jobs[job] = setup
        self._epochs[job] = epoch
        return epoch

    @exclusive
    def close_job(self, job: int) -> None:
        """Stop ``job`` and flush it, and wait until the switch is idle.

        What its slots held is then there to reap, as PARTIAL packets; under SWITCHML, which has no
        server, it is dropped.

        Raises
        ------
        SwitchError
            With JOB_DISABLED when it is not enabled.
        """
        self._require_open("close a job")
        self._check_number(job)
        self._jobs.pop(job, None)
        self._command("Disabling", job, disable=1)
        self._command("Flushing", job, flush=1)
        for _ in range(POLLS):
            idle = self._read("status")["idle"]  # asked first: then all that has left is pulled
            self._pull()
            if idle:
                return
        raise BoardTimeout(f"the sums of job {job} to leave", 0)

    def _check_number(self, job: int) -> None:
        if not 0 <= job < self.config.jobs:
            raise ValueError(f"A job has a number from 0 to {self.config.jobs - 1}, not {job}")

    def _command(self, what: str, job: int, **fields: int) -> None:
        self._write("job_select", job=job)
        self._write("job_command", **fields)
        for _ in range(POLLS):
            status = self._read("job_status")
            if not status["busy"]:
                break
            self._pull()  # the sums of a flush need room
        else:
            raise BoardTimeout(f"{what.lower()} job {job} to end", 0)
        if status["code"] != SwitchCode.NONE:
            raise SwitchError(f"{what} job {job} was refused with", status["code"])

    @exclusive
    def counters(self) -> dict[str, int]:
        """Cycles, frames, packets, beats and errors, by register; each wraps at 2^32."""
        return self._counters(COUNTERS)

    @exclusive
    def faults(self) -> dict[str, int]:
        """Frames that were no packets of a job of this switch, by what was wrong with them."""
        self._require_open("read the counters")
        return {name.removeprefix("faults_"): self._read(name)["value"] for name in FAULT_COUNTERS}

    @exclusive
    def outcomes(self, job: int) -> dict[Outcome, int]:
        """What became of the job's packets and slots; each counter wraps at 2^32."""
        self._require_open("read the counters")
        self._check_number(job)
        counts: dict[Outcome, int] = {}
        for outcome in COUNTED_OUTCOMES:
            self._write("outcome_select", outcome=outcome, job=job)
            counts[outcome] = self._read("outcome_count")["value"]
        return counts

    @exclusive
    def clear_counters(self) -> None:
        """Set every counter to 0."""
        self._require_open("clear the counters")
        self._write("control", clear_counters=1)
        self._await_cleared()

    def _await_cleared(self) -> None:
        """Return when the overlay has set its counters to 0, as it does after a reset too."""
        if not self._poll("status", "clearing", 0):
            raise BoardTimeout("the counters to be cleared", 0)

    def _poll(self, register: str, field: str, value: int) -> bool:
        """Whether the field comes to ``value`` in reasonable time."""
        return any(self._read(register)[field] == value for _ in range(POLLS))
