"""What switch, server, workers and driver agree on beside the packet: policies, states, outcomes.

The policies' constants are this project's own: "ESA-style" means that a packet of higher priority
takes a slot over.
"""

from __future__ import annotations

import enum

__all__ = ["COUNTED_OUTCOMES", "Outcome", "Policy", "SlotState"]


class Policy(enum.IntEnum):
    """Who may have an aggregator slot; ``eyas.interfaces.switch.actions`` says what each does."""

    ESA = 0
    """A packet of higher priority takes a busy slot over."""
    ATP = 1
    """Nobody takes a slot over; it is kept until the server's result has passed."""
    SWITCHML = 2
    """Each job has slots of its own, in two sets."""
    ALWAYS = 3
    """Every packet takes the slot it meets."""
    RANDOM = 4
    """A coin decides."""


class SlotState(enum.IntEnum):
    """State of a slot."""

    EMPTY = 0
    BUSY = 1
    """It holds a sum under way."""
    DONE = 2
    """Its key's sum has left; a late contribution is recognised by it."""


class Outcome(enum.IntEnum):
    """What became of a packet or of a look at a slot; all but IDLE have a counter for each job."""

    CLAIMED = 0
    """DATA took an empty or done slot."""
    ADDED = 1
    """DATA was added."""
    COMPLETED = 2
    """DATA completed a sum, which left."""
    PREEMPTED = 3
    """DATA took a busy slot over; the old sum left for the server."""
    PASSED = 4
    """DATA found its slot busy with another key, and went to the server."""
    LATE = 5
    """DATA came after its key was done, and went to the server."""
    DUPLICATE = 6
    """A contribution that is in already, or of a key that is past: dropped."""
    FORWARDED = 7
    """RESULT, QUERY or BYE_ACK went on to workers."""
    UPSTREAM = 8
    """RESEND, ANSWER or BYE went on to the server."""
    REMINDED = 9
    """A reminder made a sum leave for the server."""
    NOTHING_HELD = 10
    """A reminder of a key that no slot holds: dropped."""
    EVICTED = 11
    """A slot was too long untouched, or its job was flushed; the sum left for the server."""
    RETIRED = 12
    """A done slot was too old, or its job was flushed: emptied."""
    ANSWERED = 13
    """A contribution again, answered with the sum that the slot holds."""
    MISFIT = 14
    """A worker, a lane width, a length or a kind that the job does not have: dropped."""
    UNKNOWN = 15
    """The job is not enabled, or has another epoch: dropped."""
    IDLE = 16
    """A look at a slot that found nothing to do."""


COUNTED_OUTCOMES = tuple(outcome for outcome in Outcome if outcome is not Outcome.IDLE)
"""Outcomes that have a counter, in the counters' order."""
