"""Runs a few threads one at a time and tries every order in which they can get in each other's way.

A scheduler of its own, because it must also run on Python 3.11. Each thread is stopped before every
instruction of the code under test that others could notice, and there one of the other threads may
be let in. All schedules with up to `preemptions` such interruptions are tried; switching where a
thread waits or ends costs none. A schedule is a plan `{step: thread}`, so what fails can be run
again.
"""

import contextlib
import dis
import functools
import gc
import inspect
import sys
import threading
import types

BOUND = 20.0
VISIBLE = (
    "CALL",
    "STORE_ATTR",
    "STORE_SUBSCR",
    "DELETE_SUBSCR",
    "BINARY_SUBSCR",
    "LOAD_ATTR",
    "CONTAINS_OP",
    "TO_BOOL",
    "POP_JUMP",
    "BEFORE_WITH",
    "LOAD_SPECIAL",
)
# Attributes whose reading others can disturb; the rest never change, or are methods.
SHARED = {"entry", "error", "connection", "retire_at", "due_at", "check_at", "generation"}
SHARED |= {"closed", "open", "opening", "closing", "tended", "resetting", "max_size"}


class Deadlock(AssertionError):
    """All threads wait for one another: a lost wake-up, as a rule."""


class _Stopped(BaseException):
    """Ends the threads of a run that has failed."""


@functools.cache
def _visible(code):
    """Tell the offsets of the instructions of which other threads could notice something."""
    return frozenset(
        each.offset
        for each in dis.get_instructions(code)
        if each.opname.startswith(VISIBLE)
        and (each.opname != "LOAD_ATTR" or str(each.argval) in SHARED)
    )


def codes_of(*modules):
    """Find the code of all functions and methods of modules, as they are now."""
    found = set()
    for module in modules:
        for thing in vars(module).values():
            if getattr(thing, "__module__", None) == module.__name__:
                members = vars(thing).values() if inspect.isclass(thing) else [thing]
                for member in members:
                    _collect(getattr(inspect.unwrap(member), "__code__", None), found)
    return found


def _collect(code, found):
    if isinstance(code, types.CodeType):
        found.add(code)
        for inner in code.co_consts:
            _collect(inner, found)


class Run:
    """One run of `threads`, a dict of functions by name, under one plan."""

    def __init__(self, plan):
        self.plan = plan
        self.step = 0
        self.interrupted = 0
        self.choices = []  # (step, chosen, others, were they interruptions, how many before)
        self.conditions = {}  # what a waiting thread waits for, by name
        self.alive = []
        self.services = set()  # threads that need not end
        self.batons = {}
        self.idents = {}
        self.current = None
        self.failure = None
        self.results = {}
        self.done = threading.Event()

    def start(self, threads, services):
        """Run them all to their ends; raises what any of them raised."""
        self.alive = list(threads)
        self.services = set(services)
        self.batons = {name: threading.Semaphore(0) for name in threads}
        bodies = [
            threading.Thread(target=self._body, args=(name, run), daemon=True)
            for name, run in threads.items()
        ]
        for body in bodies:
            body.start()
        self._choose(None)
        assert self.done.wait(BOUND), "the run did not end"
        for body in bodies:
            body.join(BOUND)
        if self.failure:
            raise self.failure

    def _body(self, name, run):
        self.batons[name].acquire()
        self.idents[name] = threading.get_ident()
        try:
            if not self.failure:
                with _traced():
                    self.results[name] = run()
        except _Stopped:
            pass
        except BaseException as error:  # noqa: BLE001 - told by `start`
            self.failure = self.failure or error
        finally:
            del self.idents[name]
            self.alive.remove(name)
            self._choose(None)

    def pause(self):
        """Let another thread in, if the plan says so: the current one is about to do something."""
        if threading.get_ident() == self.idents.get(self.current):
            self._choose(self.current)

    def wait_for(self, condition):
        """Let others run until `condition()` holds. For the primitives below."""
        me = self.current
        while not condition():
            self.conditions[me] = condition
            self._choose(None, me)
        self.conditions.pop(me, None)

    def _ready(self):
        return [
            name
            for name in self.alive
            if name not in self.conditions or self.failure or self.conditions[name]()
        ]

    def _choose(self, running, waiting=None):
        """Decide who goes on; `running` could, and any other would be an interruption."""
        ready = self._ready()
        if not ready:
            self._end()
            ready = list(self.alive)
        if not ready:
            self.done.set()
            return
        default = running if running in ready else ready[0]
        chosen = default if self.failure else self._planned(ready, default, running is not None)
        self.current = chosen
        me = running or waiting
        if chosen != me:
            self.batons[chosen].release()
            if me is not None:
                self.batons[me].acquire()
        if me is not None and self.failure:
            raise _Stopped

    def _end(self):
        """Stop the threads that wait: the others are through, or all wait for one another."""
        if not self.failure:
            waiting = sorted(set(self.alive) - self.services)
            self.failure = Deadlock(f"waiting for ever: {waiting}") if waiting else None
        if not self.failure:
            self.failure = _Over()

    def _planned(self, ready, default, is_interruption):
        chosen = self.plan.get(self.step, default)
        assert chosen in ready, "the code under test is not deterministic"
        others = [name for name in ready if name != chosen]
        if others:
            self.choices.append((self.step, others, is_interruption, self.interrupted))
        self.interrupted += is_interruption and chosen != default
        self.step += 1
        return chosen


class _Over(BaseException):
    """Not a failure: only services are left."""


class Lock:
    """Stands in for `threading.Lock` within a run; `patient` False: a timed wait fails at once."""

    def __init__(self, run, patient=True):
        self.run = run
        self.patient = patient
        self.held = False

    def acquire(self, blocking=True, timeout=-1):
        if self.run.current is None:  # before or after the run: one thread alone
            self.held, before = True, self.held
            return not before
        if self.held and timeout >= 0 and not self.patient:
            return False
        self.run.wait_for(lambda: not self.held)
        self.held = True
        return True

    def release(self):
        assert self.held
        self.held = False

    def __enter__(self):
        return self.acquire()

    def __exit__(self, *_):
        self.release()


# How the instructions are watched: by sys.monitoring where there is one, else by sys.settrace
# (whose events for instructions are not reliable with threads in Python 3.12 and 3.13).
_run = None
_codes = frozenset()


def _before_instruction(code, offset):
    if _run is not None and offset in _visible(code):
        _run.pause()


def _trace(frame, event, _arg):
    if frame.f_code not in _codes:
        return None
    frame.f_trace_lines = False
    frame.f_trace_opcodes = True
    if event == "opcode":
        _before_instruction(frame.f_code, frame.f_lasti)
    return _trace


@contextlib.contextmanager
def _traced():
    if not hasattr(sys, "monitoring"):
        sys.settrace(_trace)
    try:
        yield
    finally:
        if not hasattr(sys, "monitoring"):
            sys.settrace(None)


@contextlib.contextmanager
def _watching(codes):
    global _run, _codes  # noqa: PLW0603 - what is watched is the interpreter's state
    _codes = codes
    gc.disable()  # a collection at a random moment would make runs differ
    if hasattr(sys, "monitoring"):
        tool, events = sys.monitoring.PROFILER_ID, sys.monitoring.events
        sys.monitoring.use_tool_id(tool, "interleave")
        sys.monitoring.register_callback(tool, events.INSTRUCTION, _before_instruction)
        for code in codes:
            sys.monitoring.set_local_events(tool, code, events.INSTRUCTION)
    try:
        yield
    finally:
        _run, _codes = None, frozenset()
        gc.enable()
        if hasattr(sys, "monitoring"):
            for code in codes:
                sys.monitoring.set_local_events(tool, code, 0)
            sys.monitoring.free_tool_id(tool)


def explore(scenario, modules, preemptions=2, most=20_000):
    """Run `scenario(run)` under every schedule; it returns (threads, services, verify).

    Raises what the first failing run raises, with its plan as a note. Returns how many there were.
    """
    with _watching(codes_of(*modules)):
        return _explore(scenario, preemptions, most)


def _explore(scenario, preemptions, most):
    plans = [{}]
    runs = 0
    while plans:
        plan = plans.pop()
        runs += 1
        assert runs <= most, "too many schedules: make the scenario smaller"
        last = max(plan, default=-1)
        for step, others, is_interruption, before in _one(plan, scenario):
            if step > last and before + is_interruption <= preemptions:
                plans.extend(plan | {step: other} for other in others)
    return runs


def _one(plan, scenario):
    global _run  # noqa: PLW0603 - see above
    run = _run = Run(plan)
    threads, services, verify = scenario(run)
    try:
        with contextlib.suppress(_Over):
            run.start(threads, services)
        run.current = None
        verify(run.results)
    except BaseException as error:
        error.add_note(f"with the schedule {plan}")
        raise
    return run.choices
