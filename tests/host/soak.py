"""Processes, brokers and sessions die at random, and nothing else happens.

    python -m tests.host.soak --seconds 600

24 processes share 3 connections to PostgreSQL and 3 to MariaDB. They move money between accounts,
and leave marks in their sessions. Meanwhile processes are killed, or stand still for a while, the
broker is killed, and sessions are ended on the server. The totals have to stay, nobody may see
another's marks, no request may fail but those whose session was ended, the servers may never have
more sessions than agreed, and what the broker uses has to be in the end what it was.
"""

import argparse
import json
import os
import random
import signal
import sys
import tempfile
import time
from collections import Counter
from contextlib import ExitStack
from pathlib import Path

from support.databases import fresh_database
from support.servers import MariaDB, PostgreSQL
from tests.host.brokers import log_of, own_place
from tests.host.hosts import OnMariaDB, OnPostgreSQL
from tests.host.nursery import Nursery
from tests.host.soak_work import ACCOUNTS, EACH
from tests.probing import eventually

SIZE = 3  # connections to each database
PROCESSES = 24
CHAOS = {"kill a process": 10, "stop a process": 3, "end a session": 4, "kill the broker": 2}
PACE = 0.1  # seconds between two of these, on average, beside what they take themselves
LOOKS = 0.3  # how often the servers are looked at after one of these
GROWTH = 16 * 2**20  # bytes of memory by which the broker may differ


class Soak:
    """The processes, and what happens to them."""

    def __init__(self, hosts, log, seed, seconds, say):
        self._hosts, self._log, self._say = hosts, log, say
        self._random = random.Random(seed)
        self._start = time.monotonic()
        self._deadline = self._start + seconds
        self.happened, self.done, self.most = Counter(), Counter(), Counter()
        self.faults = []
        self._workers = []

    def run(self):
        """Do it all; return the faults that were found."""
        before = self._measure()
        self._workers = [self._begin(self._hosts[n % len(self._hosts)]) for n in range(PROCESSES)]
        self._say(f"{PROCESSES} processes are at work")
        shown = time.monotonic()
        while time.monotonic() < self._deadline:
            self._strike()
            if self._random.random() < LOOKS:
                self._look_at_the_servers()
            time.sleep(self._random.random() * 2 * PACE)
            if time.monotonic() - shown > 10:
                shown = time.monotonic()
                self._say(f"{shown - self._start:4.0f} s: {told(self.happened)}")
        self._end()
        self._judge(before)
        return self.faults

    # ------------------------------------------------------------ what happens

    def _begin(self, host):
        worker = host.start()
        worker.do("from tests.host.soak_work import Work")
        given = (host.database.server.DBNAME == "dbname" and "postgresql") or "mysql"
        seed = self._random.random()
        worker.do(f"work = Work(pool, {given!r}, {str(self._log)!r}, {seed!r})")
        worker.tell(f"work.until({self._deadline})")
        return worker

    def _strike(self):
        (what,) = self._random.choices([*CHAOS], [*CHAOS.values()])
        number = self._random.randrange(len(self._workers))
        host = self._random.choice(self._hosts)
        if what == "kill a process":
            old = self._workers[number]
            host = next(each for each in self._hosts if old in each.processes)
            self._replace(number, host)
        elif what == "stop a process":
            os.kill(self._workers[number].pid, signal.SIGSTOP)
            time.sleep(self._random.random() / 2)
            os.kill(self._workers[number].pid, signal.SIGCONT)
        elif what == "kill the broker":
            host.kill_broker()
        elif not self._end_a_session(host):
            return
        self.happened[what] += 1

    def _replace(self, number, host):
        old = self._workers[number]
        old.close()
        host.processes.remove(old)
        self._workers[number] = self._begin(host)

    def _end_a_session(self, host):
        pids = [each.pid for each in host.sessions()]
        return bool(pids) and host.database.kill_sessions(pid=self._random.choice(pids))

    def _look_at_the_servers(self):
        for each in self._hosts:
            self.most[each.user] = max(self.most[each.user], len(each.sessions()))

    def _end(self):
        for each in self._workers:
            self.done.update(each.answer())
        for host in self._hosts:
            for each in host.processes:
                each.close()
            host.processes.clear()

    # ------------------------------------------------------------- what is found

    def _measure(self):
        """Have every connection used at once; return what the broker uses when all is quiet."""
        for host in self._hosts:
            worker = host.start()
            for number in range(SIZE):
                worker.do(f"c{number} = pool.acquire()")
            worker.close()
            host.processes.clear()
        host = self._hosts[0]
        eventually(lambda: host.ask("status")["broker"]["clients"] == 0)
        eventually(lambda: not any(each.working() for each in self._hosts))
        files = Counter(each.suffix for each in host.place.folder.rglob("*") if each.is_file())
        return {
            "descriptors": Counter(host.descriptors()),
            "files": files,
            "threads": host.broker.num_threads(),
            "memory": host.broker.memory_info().rss,
        }

    def _judge(self, before):
        after = self._measure()
        for what in ("descriptors", "files"):
            self._expect(after[what] == before[what], f"{what}: {before[what]}, then {after[what]}")
        grown = after["memory"] - before["memory"]
        self._expect(grown < GROWTH, f"the broker's memory has grown by {grown:,} bytes")
        for host in self._hosts:
            (found,) = host.database.query("SELECT SUM(total) FROM account")
            self._expect(found[0] == ACCOUNTS * EACH, f"{host.user}: a total of {found[0]}")
            most = self.most[host.user]
            self._expect(most <= host.limit, f"{host.user}: {most} sessions at once")
            self._expect(not host.refusals(), f"{host.user}: {host.refusals()} logins too many")
        self._judge_errors()

    def _judge_errors(self):
        errors = [json.loads(line) for line in self._log.read_text().splitlines()]
        lost = [each for each in errors if each["lost"]]
        ended = self.happened["end a session"]
        self._expect(len(lost) <= ended, f"{ended} sessions ended, but lost: {lost}")
        for each in errors:
            self._expect(each["lost"], f"failed: {each}")
        self.done["requests that failed with their session"] = len(lost)
        log = log_of(self._hosts[0].place)
        self._expect("Traceback" not in log, "the broker's log has a traceback")
        if self.faults:
            self._say(log)

    def _expect(self, fine, text):
        if not fine:
            self.faults.append(text)


def told(counts):
    """Return counts as a text."""
    return ", ".join(f"{count:,} x {what}" for what, count in sorted(counts.items())) or "nothing"


def soak(nursery, databases, seconds, seed, say):
    """Soak a broker of its own; return a summary and the list of faults."""
    with ExitStack() as stack:
        place = stack.enter_context(own_place())
        log = Path(stack.enter_context(tempfile.TemporaryDirectory()), "errors")
        log.touch()
        hosts = []
        for database in databases:
            host_class = OnPostgreSQL if database.server.DBNAME == "dbname" else OnMariaDB
            hosts.append(host_class(nursery, place, database, SIZE, timeout=60))
            stack.callback(hosts[-1].close)
            prepare(hosts[-1])
        soaking = Soak(hosts, log, seed, seconds, say)
        faults = soaking.run()
        return f"{told(soaking.done)}; {told(soaking.happened)}", faults


def prepare(host):
    """Fill the accounts, as the role that uses them."""
    worker = host.start()
    rows = ", ".join(f"({number}, {EACH})" for number in range(ACCOUNTS))
    create = "CREATE TABLE account (id int primary key, total bigint)"
    worker.do(f"with pool.connection() as c: run(c, {create!r})")
    worker.do(f"with pool.connection() as c: run(c, 'INSERT INTO account VALUES {rows}')")
    worker.close()
    host.processes.clear()


def main():
    """Run it with servers of its own; return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=600)
    parser.add_argument("--seed", type=int, default=random.randrange(10**6))
    given = parser.parse_args()
    say(f"soaking for {given.seconds:g} s with seed {given.seed}")
    nursery = Nursery()
    try:
        with ExitStack() as stack:
            servers = [stack.enter_context(each.start()) for each in (PostgreSQL, MariaDB)]
            databases = [stack.enter_context(fresh_database(each)) for each in servers]
            summary, faults = soak(nursery, databases, given.seconds, given.seed, say)
    except KeyboardInterrupt:
        return 130
    finally:
        nursery.close()
    say(summary)
    for each in faults:
        say(f"FAULT: {each}")
    say(f"{len(faults)} faults" if faults else "no faults")
    return 1 if faults else 0


def say(text):
    """Print at once, also into a log."""
    print(text, flush=True)  # noqa: T201 - a command's output


if __name__ == "__main__":
    sys.exit(main())
