"""Streams at the edge of a design: a source, a sink and the check of their contract.

Everything here drives behind rising edges and looks at falling edges, where what will be sampled
at the next rising edge stands still.
"""

import random
from collections import deque
from collections.abc import Iterable

import cocotb
from cocotb.triggers import FallingEdge, RisingEdge, Timer

from cocotb_tests.common.timing import cycle, until

__all__ = ["Independence", "Stream", "StreamContract", "StreamSink", "StreamSource"]


class Stream:
    """Handles of a stream.

    Parameters
    ----------
    dut : handle
        The design.
    name : str
        Prefix of an AXI channel's ports (``m_axi_ar``), or the name of an Amaranth stream.
    fields : iterable of str
        The channel's payload ports without prefix, lowest first; none for an Amaranth stream,
        whose payload is a single port.

    Attributes
    ----------
    clock, name, valid, ready
        As they say.
    payload : dict
        Field name to handle; the only one of an Amaranth stream is named ``payload``.
    """

    def __init__(self, dut, name: str, fields: Iterable[str] = ()):
        self.clock = dut.aclk
        self.reset_n = dut.aresetn
        self.name = name
        infix = "" if fields else "__"
        self.valid = getattr(dut, f"{name}{infix}valid")
        self.ready = getattr(dut, f"{name}{infix}ready")
        self.payload = {
            field: getattr(dut, f"{name}{infix}{field}") for field in fields or ("payload",)
        }

    def item(self) -> int | dict[str, int]:
        """The payload as it stands: fields by name, or one number for an Amaranth stream."""
        values = {field: int(handle.value) for field, handle in self.payload.items()}
        return values.get("payload", values)

    def drive(self, item: int | dict[str, int]) -> None:
        """Set the payload."""
        values = item if isinstance(item, dict) else {"payload": item}
        for field, handle in self.payload.items():
            handle.value = values[field]

    def scramble(self, rng: random.Random) -> None:
        """Set the payload to noise, as it may be while nothing is valid."""
        for handle in self.payload.values():
            handle.value = rng.getrandbits(len(handle))

    def happens(self) -> bool:
        """Whether the next rising edge transfers an item."""
        return bool(self.valid.value) and bool(self.ready.value)


class StreamSource:
    """Sends items into a design, with random gaps.

    Parameters
    ----------
    stream : Stream
        An input of the design.
    rng : random.Random
        Source of the gaps.
    gaps : float
        Share of the cycles in which a new item is kept back. May be changed at any time.

    Attributes
    ----------
    sent : list of int
        For each item taken, the cycle.
    """

    def __init__(self, stream: Stream, rng: random.Random, gaps: float = 0.0):
        self.stream = stream
        self.gaps = gaps
        self.sent: list[int] = []
        self._rng = rng
        self._items: deque = deque()
        stream.valid.value = 0
        cocotb.start_soon(self._run())

    def send(self, *items: int | dict[str, int]) -> None:
        """Queue items."""
        self._items.extend(items)

    async def drained(self, cycles: int = 20_000) -> None:
        """Wait until every item was taken."""
        stream = self.stream
        await until(stream.clock, lambda: not self._items, f"{stream.name} to be taken", cycles)

    async def _run(self) -> None:
        stream = self.stream
        offered = False
        while True:
            await FallingEdge(stream.clock)
            taken = offered and stream.happens()
            if taken:
                self._items.popleft()
                self.sent.append(cycle())
            await RisingEdge(stream.clock)
            if offered and not taken:
                continue
            offered = bool(self._items) and self._rng.random() >= self.gaps
            stream.valid.value = offered
            if offered:
                stream.drive(self._items[0])
            else:
                stream.scramble(self._rng)


class StreamSink:
    """Takes items from a design, with random stalls.

    Parameters
    ----------
    stream : Stream
        An output of the design.
    rng : random.Random
        Source of the stalls.
    stalls : float
        Share of the cycles in which ``ready`` is low. May be changed at any time.
    patient : bool
        Whether ``ready`` waits for ``valid``: a design that does the same then never goes on.

    Attributes
    ----------
    items : deque
        What was taken and not yet looked at; the user takes it away.
    taken : list of int
        For each item taken, the cycle.
    """

    def __init__(
        self, stream: Stream, rng: random.Random, stalls: float = 0.0, *, patient: bool = False
    ):
        self.stream = stream
        self.stalls = stalls
        self.patient = patient
        self.items: deque = deque()
        self.taken: list[int] = []
        self._rng = rng
        stream.ready.value = 0
        cocotb.start_soon(self._run())

    async def take(self, count: int, cycles: int = 20_000) -> list:
        """Wait for ``count`` items and return them."""
        stream = self.stream
        await until(
            stream.clock,
            lambda: len(self.items) >= count,
            f"{count} items of {stream.name}",
            cycles,
        )
        return [self.items.popleft() for _ in range(count)]

    def check_empty(self) -> None:
        """Fail when something came that nobody expected."""
        assert not self.items, f"{self.stream.name}: {len(self.items)} more: {self.items[0]}"

    async def _run(self) -> None:
        stream = self.stream
        while True:
            await FallingEdge(stream.clock)
            valid = bool(stream.valid.value)
            happens = stream.happens()
            if happens:
                self.items.append(stream.item())
                self.taken.append(cycle())
            await RisingEdge(stream.clock)
            may = not self.patient or (valid and not happens)
            stream.ready.value = may and self._rng.random() >= self.stalls


class Independence:
    """Checks that no combinational path leads from some ports of a design to others.

    In a share of the cycles it inverts the inputs for a moment between two rising edges, and
    expects that no output moves.

    Parameters
    ----------
    clock : handle
        The clock.
    name : str
        What is checked, for the message.
    inputs, outputs : iterables of handles
        Ports of the design.
    rng : random.Random
        Chooses the cycles.
    share : float
        Share of the cycles.
    """

    def __init__(self, clock, name, inputs, outputs, rng: random.Random, share: float = 0.25):
        self._inputs = list(inputs)
        self._outputs = list(outputs)
        self.probes = 0
        """Cycles tried."""
        self.task = cocotb.start_soon(self._run(clock, name, rng, share))

    async def _run(self, clock, name, rng, share) -> None:
        while True:
            await FallingEdge(clock)
            if rng.random() >= share:
                continue
            before = [handle.value for handle in self._inputs]
            expected = [handle.value for handle in self._outputs]
            # Others look at the falling edge itself.
            await Timer(1, "ns")
            for handle, value in zip(self._inputs, before, strict=True):
                handle.value = ~value
            await Timer(1, "ns")
            moved = [
                handle._name
                for handle, value in zip(self._outputs, expected, strict=True)
                if handle.value != value
            ]
            for handle, value in zip(self._inputs, before, strict=True):
                handle.value = value
            await Timer(1, "ns")
            assert not moved, f"{name}: {', '.join(moved)} depend combinationally on an input"
            self.probes += 1


class StreamContract:
    """Checks the contract of a stream in every cycle.

    What is valid stays valid, with the same payload, until it is taken.  For an output of the
    design, ``valid`` and payload do not depend on ``ready`` (:class:`Independence`); that
    ``valid`` does not wait for ``ready`` over cycles, a patient :class:`StreamSink` shows.

    Parameters
    ----------
    stream : Stream
        The stream.
    rng : random.Random or None
        Given for an output of the design: chooses when ``ready`` is probed.

    Attributes
    ----------
    transfers : int
        Items seen.
    held : int
        Cycles in which an item was held up.
    task : cocotb.task.Task
        The check, which ends by failing alone.
    independence : Independence or None
        The check of ``ready``.
    """

    def __init__(self, stream: Stream, rng: random.Random | None = None):
        self.stream = stream
        self.transfers = 0
        self.held = 0
        self.independence = rng and (
            Independence(
                stream.clock,
                stream.name,
                [stream.ready],
                [stream.valid, *stream.payload.values()],
                rng,
            )
        )
        self.task = cocotb.start_soon(self._run())

    async def _run(self) -> None:
        stream = self.stream
        standing = None
        while True:
            await FallingEdge(stream.clock)
            if not stream.reset_n.value:
                standing = None
                continue
            valid = bool(stream.valid.value)
            item = stream.item() if valid else None
            if standing is not None:
                assert valid, f"{stream.name}: valid fell before {standing} was taken"
                assert item == standing, f"{stream.name}: {standing} became {item} while it waited"
            taken = valid and stream.happens()
            self.transfers += taken
            self.held += valid and not taken
            standing = item if valid and not taken else None
