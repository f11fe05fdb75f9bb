"""
Memory and I/O that fail, site by site, in the real processes (lab/injection.py): nothing dies, nothing is lost, the next session is as if nothing had been.

The short form has every allocation site that a worker's main sessions reach, the libraries' in them included. GATEPOST_FAULT=1 (`make fault`): those of all
sessions in every process, and I/O in all the ways in which it fails.
"""
import os
import pathlib
import time

import pytest

from lab.injection import PLAIN, Rooms, Wrong

LONG = bool(os.environ.get("GATEPOST_FAULT"))
MAIN = None if LONG else ("session_data", "session_tls", "session_bdat", "session_quarantine")
LIBRARY = pathlib.Path(PLAIN).resolve().parent / "tests" / "preload" / "faulty.so"
SHARDS = 4 if LONG else 2
ROUNDS = 3              # error paths reach sites that nothing else does
GOOD_EVERY = 1 if LONG else 15  # failures; then the same session goes well without one
TRIES = 3               # kinds of sessions that are tried when a site was not reached again


@pytest.fixture
def rooms(tmp_path, request):
    assert LIBRARY.exists(), "make preloads"
    r = Rooms(tmp_path, LIBRARY, number=abs(hash(request.node.name)) % 100000).start()
    yield r
    status = r.stop()
    assert status == 0, r.gate.process.output()[-5000:]


class Tally:
    """What has been done, and what was wrong."""

    def __init__(self, rooms):
        self.rooms, self.sites, self.wrong, self.missed, self.done = rooms, 0, [], [], 0

    def checked(self, work, *args):
        try:
            return work(*args)
        except Wrong as e:
            self.wrong.append(str(e))
            self.rooms.taken.clear()
            return True

    def one(self, site, error, kinds):
        """The kind of session in which it failed, or None."""
        return next((kind for kind in kinds if self.checked(self.rooms.inject, site, error, kind)), None)

    def all(self, sites):
        for site in sites:
            kinds = [k for i, k in enumerate(self.rooms.kinds) if site.reached_by(i)]
            self.sites += 1
            for error in site.errors:
                kind = self.one(site, error, kinds[:TRIES])
                if not kind:
                    self.missed.append((site, error, kinds))
                    continue
                self.done += 1
                if self.done % GOOD_EVERY == 0:
                    self.checked(self.rooms.good, kind)

    def again(self):
        """Some are met by a worker's first sessions alone: it is a new one then that they fail in."""
        left, self.missed = self.missed, []
        for site, error, kinds in left:
            self.rooms.reload()
            if self.one(site, error, kinds):
                self.done += 1
            else:
                self.missed.append((site, error, kinds))


def inject_all(rooms, record_property, memory, shard, roles):
    began = time.monotonic()
    rooms.record(MAIN, 1)
    before, seen, tally = rooms.held(), set(), Tally(rooms)
    for _ in range(ROUNDS if LONG else 1):
        sites = [s for s in rooms.record(MAIN) if s.hash not in seen and s.hash // 7 % SHARDS == shard and s.memory == memory and roles(s.role)]
        seen |= {s.hash for s in sites}
        tally.all(sites)
    if LONG:
        tally.again()
    tally.checked(rooms.quiet)
    after = rooms.held()
    for role, count in before.items():
        if after.get(role, 0) > count + 8:
            tally.wrong.append(f"descriptors of {role}: {count} before, {after[role]} after")
    record_property("count", f"{'allocation' if memory else 'I/O'} sites, part {shard + 1} of {SHARDS}: {tally.sites}, {tally.done} failures, {len(tally.missed)} not met again (those of a worker's beginning),"
                    f" {rooms.others} in which a library died; {rooms.sessions} sessions, {rooms.kept} messages acknowledged, {rooms.twice} of them delivered twice,"
                    f" lost {sum('LOST' in w for w in tally.wrong)}; {time.monotonic() - began:.0f} s")
    # The short form does not come back to what only a worker's first sessions meet; more than some of it means that nothing has been tried.
    assert tally.sites > 100 and tally.done > tally.sites // 2, (tally.sites, tally.done)
    assert not tally.wrong, f"{len(tally.wrong)} of {tally.sites}:\n" + "\n".join(tally.wrong[:20])


def processes(role):
    return role not in ("parent", "starting")


@pytest.mark.parametrize("shard", range(SHARDS))
def test_memory(rooms, record_property, shard):
    inject_all(rooms, record_property, True, shard, processes if LONG else lambda role: role == "gp-worker")


@pytest.mark.parametrize("shard", range(SHARDS))
def test_io(rooms, record_property, shard):
    inject_all(rooms, record_property, False, shard, processes)


if not LONG:            # make fault has it
    del test_io
