"""The invariant's episodes through RTL, in lockstep with the golden switch."""

import pytest

from eyas.interfaces.switch.packet import Packet, PacketKind
from eyas.interfaces.switch.states import Outcome, Policy
from models.switch.golden import SwitchSettings
from models.switch.records import JobEntry
from tests.switch.episodes import CONFIG, Seen, random_episode, run_episode
from tests.system.switch_rtl import Lockstep, RtlSwitch, switch_board

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def board():
    with switch_board(CONFIG) as board:
        yield board


def _episodes(board, seeds: range, seen: Seen) -> int:
    events = 0
    for seed in seeds:
        made: list[Lockstep] = []

        def make(config, settings, made=made):
            made.append(Lockstep(board, config, settings))
            return made[0]

        try:
            run_episode(random_episode(seed), seen, make)
        except Exception as error:
            pytest.fail(f"seed {seed}: {error!r}")
        events += made[0].events
    return events


def test_a_hundred_episodes(board):
    """RTL and golden switch agree packet for packet and record for record in each."""
    seen = Seen()
    events = _episodes(board, range(100), seen)
    print(f"{events} events compared; {seen}")
    assert seen.episodes == 100
    assert events > 10_000
    for outcome in set(Outcome) - {Outcome.MISFIT, Outcome.IDLE}:
        assert seen.outcomes[outcome], outcome


@pytest.mark.nightly
def test_a_thousand_episodes(board):
    assert _episodes(board, range(100, 1100), Seen()) > 100_000


def test_a_damaged_frame_leaves_the_switch_usable(board):
    """It is counted, and the next packet is worked on."""
    switch = RtlSwitch(board, CONFIG, SwitchSettings(Policy.ESA))
    switch.configure(1, JobEntry(True, epoch=3, workers=1, needed=1))
    packet = Packet(
        PacketKind.DATA, 1, 3, bitmap=1, count=1, coordinates=2, payload=bytes([0x21])
    ).to_bytes()
    assert switch.receive(packet[:-1]) == []
    assert (switch.faults, switch.event) == (1, None)
    (result,) = switch.receive(packet)
    assert Packet.from_bytes(result).kind is PacketKind.RESULT
    assert switch.event.outcome is Outcome.COMPLETED
    assert switch.counters == {(1, Outcome.COMPLETED): 1}
