"""The claim protocol, as a model small enough to look at every state that it can reach.

One job; two parents with a worker each; an application that cancels the job; a crash; and a server
that ends the sessions of the dead when it likes. A parent and its worker take turns, so that they
are one `Pair` here, whose ``step`` is the function that makes its next move. Between two moves of
one party all others may make any number of theirs, so that a move is no more than a statement, or
the arrival of a COMMIT at the server.

The ways to get it wrong that somebody may think harmless can be built in, one at a time: `Flaw`.
"""

from __future__ import annotations

from collections.abc import Iterator

from suite.world import GONE, SUSPECTED, Flaw, Move, Pair, Row, World

APPLICATION = "the application"
NOBODY = "a session without a client"


def beginning(stamp: str = "", flaw: Flaw = Flaw.NONE) -> World:
    """A job that is due, with the stamp of its past."""
    pairs = (Pair("A", read), Pair("B", read))
    return World(pairs, Row(stamp=stamp), struck=int(stamp == GONE), flaw=flaw)


def moves(world: World) -> Iterator[Move]:
    """All that may happen next."""
    for me in world.pairs:
        for what, after in me.step(world, me):
            yield f"{me.name} {what}", after
        if is_alive(me):
            yield from suspect(world, me)
            yield from fork(world, me)
    yield from cancel(world)
    yield from serve(world)
    if world.crashes:
        for me in world.pairs:
            yield from crash(world._replace(crashes=world.crashes - 1), me)


# The parent hands out a hint.


def read(world: World, me: Pair) -> Iterator[Move]:
    """A plain read. What it finds is a hint. A pass may end without the job, which could not be
    had or was left by the operator: it is then for the other parent to bring it to its end."""
    row = world.row
    me = Pair(me.name, read, batch=me.batch, shown=me.shown)
    if row.is_pending:
        yield (
            "reads the hint",
            world.go(me, write, attempt=row.attempts, is_suspect=row.stamp == SUSPECTED),
        )
    # Perhaps long before there is such a job: it can only be its first attempt.
    yield "foresees the job", world.go(me, read, batch=0, shown=True)
    if not row.is_pending or has_other(world, me):
        yield "ends its pass", world.go(me, withdrawn, batch=None, shown=False)


def has_other(world: World, me: Pair) -> bool:
    return any(is_alive(one) for one in world.pairs if one.name != me.name)


def write(world: World, me: Pair) -> Iterator[Move]:
    """What is in hand is written down before it runs, by a parent that shows that it lives."""
    is_foreseen = me.batch == 0 and world.flaw == Flaw.BLIND_FORESIGHT
    if me.batch != me.attempt and not is_foreseen:
        me = me._replace(batch=me.attempt, shown=True)
    yield "writes its batch", world.go(me, hand_out)


def hand_out(world: World, me: Pair) -> Iterator[Move]:
    yield "hands out the hint", world.go(me, stamp if me.is_suspect else claim)


# The worker makes the attempt.


def stamp(world: World, me: Pair) -> Iterator[Move]:
    """A suspect gets its parent's token first, in a commit of its own."""
    row = world.row
    if is_claimable(world, me) and row.stamp in (SUSPECTED, me.name):
        stamped = world.locked(me.name, row.stamped(me.name))
        yield "stamps the row", stamped.go(me, commit, then=claim)
    else:
        yield "cannot stamp the row", give_up(world, me)


def claim(world: World, me: Pair) -> Iterator[Move]:
    """The lock, if nobody has it, and the row still is as the hint said."""
    if is_claimable(world, me):
        yield "claims the row", world.locked(me.name, world.row).go(me, judge, claimed=True)
    else:
        yield "cannot claim the row", give_up(world, me)


def is_claimable(world: World, me: Pair) -> bool:
    same = world.row.attempts == me.attempt or world.flaw == Flaw.BLIND_CLAIM
    return not world.lock and world.row.is_pending and same


def judge(world: World, me: Pair) -> Iterator[Move]:
    """Stamped for another parent, the attempt has ended with that one, or is about to begin."""
    if is_own(world, me):
        yield from begin(world, me)
    elif world.seems_dead(world.row.stamp) or world.flaw == Flaw.HASTY_JUDGE:
        failed = world.row.failed(me.attempt, died=True).stamped(SUSPECTED)
        yield "records a common death", world.locked(me.name, failed).go(me, commit, then=read)
    else:
        yield "gives the row back", give_up(world.unlocked(), me)


def is_own(world: World, me: Pair) -> bool:
    """Whether the claimed row says nothing of another parent's attempt."""
    match world.row.stamp:
        case "" | me.name:
            return True
        case "suspected":
            return world.flaw != Flaw.HARSH_JUDGE
        case _:
            return world.flaw == Flaw.BLIND_JUDGE


def begin(world: World, me: Pair) -> Iterator[Move]:
    if world.flaw == Flaw.EARLY_MARK:
        marked = world.locked(me.name, world.row.marked())
        yield "marks the row", marked.go(me, commit, then=run)
    else:
        yield "begins", world.go(me, run)


def run(world: World, me: Pair) -> Iterator[Move]:
    """The job has its effect; or it fails, and its error is recorded under the same lock."""
    effect, failed = world.row.with_effect(me.attempt), world.row.failed(me.attempt)
    after = commit if world.flaw == Flaw.EARLY_MARK else mark
    yield "runs the job", world.locked(me.name, effect).go(me, after, then=read)
    yield "sees the job fail", world.locked(me.name, failed).go(me, commit, then=read)


def mark(world: World, me: Pair) -> Iterator[Move]:
    assert world.lock
    marked = world.lock.after.marked()
    yield "marks the row", world.locked(me.name, marked).go(me, commit, then=read)


def commit(world: World, me: Pair) -> Iterator[Move]:
    assert world.lock
    yield "sends its COMMIT", world._replace(lock=world.lock._replace(sent=True)).go(me, answer)


def answer(world: World, me: Pair) -> Iterator[Move]:
    """Wait for the server; then go on, or report to the parent."""
    assert me.then
    if not world.holds(me):
        yield "has its answer", world.go(me, me.then)


def give_up(world: World, me: Pair) -> World:
    """The attempt did not come about, so that its end will not take the stamp away."""
    return world.go(me, unstamp if me.is_suspect else read, is_suspect=False, claimed=False)


def unstamp(world: World, me: Pair) -> Iterator[Move]:
    """While the stamp is there nobody has reason to hold the lock for long: wait for it."""
    if is_claimable(world, me) and world.row.stamp == me.name:
        suspected = world.locked(me.name, world.row.stamped(SUSPECTED))
        yield "takes its stamp back", suspected.go(me, commit, then=read)
    elif world.row.stamp != me.name or world.flaw == Flaw.LEFT_STAMP:
        yield "leaves the stamp as it is", world.go(me, read)


# An attempt ended, and nobody could say how.


def inquest(world: World, me: Pair) -> Iterator[Move]:
    """Whoever has the lock knows; without it, only what cannot change any more is known."""
    row = world.row
    if not row.is_unrecorded(me.attempt):
        yield "finds the attempt recorded", world.go(me, read)
    elif world.flaw == Flaw.PLAIN_INQUEST:
        yield "finds the attempt failed", world.go(me, convict)
    elif not world.lock:
        yield from convict(world, me)


def convict(world: World, me: Pair) -> Iterator[Move]:
    if not world.lock:
        failed = world.row.failed(me.attempt, died=me.died)
        yield "records the failure", world.locked(me.name, failed).go(me, commit, then=read)


# Parents that seem dead, and parents that do so without being it.


def suspect(world: World, me: Pair) -> Iterator[Move]:
    """Turn the batch of a dead parent into a suspicion, and strike it out: one transaction, whose
    locks make others look again, and no more. While the row is locked, nobody can tell."""
    for other in world.pairs:
        if other.name == me.name or other.batch is None or other.shown:
            continue
        row, struck_out = world.row, world.go(other, other.step, batch=None)
        if not row.is_pending or row.attempts != other.batch or world.flaw == Flaw.LOST_SUSPICION:
            yield f"{me.name} strikes {other.name} out", struck_out
        if row.is_pending and row.attempts == other.batch and not world.lock:
            suspected = row.stamped(row.stamp or SUSPECTED)
            yield f"{me.name} suspects what {other.name} had", struck_out._replace(row=suspected)


def fork(world: World, me: Pair) -> Iterator[Move]:
    """For another worker: the parent closes its connections before, and opens them again."""
    if world.flaw == Flaw.HIDDEN_PARENT and me.shown:
        yield f"{me.name} forks", world.go(me, me.step, shown=False)


# Everybody else.


def cancel(world: World) -> Iterator[Move]:
    """The application skips a locked row, and cancels a pending one."""
    blind = world.flaw == Flaw.PLAIN_CANCEL
    match world.cancel:
        case "to come" if blind and world.row.is_pending:
            yield "the application finds the job pending", world._replace(cancel="decided")
        case "to come" if world.lock or not world.row.is_pending:
            yield "the application cancels nothing", world._replace(cancel="left alone")
        case "to come" | "decided" if not world.lock:
            after = world.row._replace(cancelled=True)
            locked = world.locked(APPLICATION, after)._replace(cancel="under way")
            yield "the application cancels the job", locked
        case "under way":
            assert world.lock
            done = world.committed(world.lock.after)._replace(cancel="done")
            yield "the application commits", done


def serve(world: World) -> Iterator[Move]:
    """The server commits what was sent, and finds out who is gone, each session in its own time.
    What had been sent by then is committed before, or not at all."""
    if world.lock and world.lock.sent:
        yield f"the server commits for {world.lock.holder}", world.committed(world.lock.after)
    if world.lock and world.lock.holder == NOBODY and world.flaw != Flaw.LASTING_LOCK:
        yield "the server drops the lock of the dead", world.unlocked()
    for one in world.pairs:
        if one.step is dead and one.shown and world.flaw != Flaw.LASTING_LIFE:
            yield f"the server misses {one.name}", world.go(one, dead, shown=False)


def crash(world: World, me: Pair) -> Iterator[Move]:
    """A parent dies with its worker, or the worker alone; or the worker's connection is cut."""
    alone = world.holds(me) and me.claimed and world.row.stamp == me.name
    lost = (*world.lost, me.attempt) if alone else world.lost
    world = orphaned(world, me)._replace(struck=world.struck + is_at_work(me))
    if is_alive(me):
        yield f"{me.name} dies with its worker", world.go(me, dead)._replace(lost=lost)
    if is_at_work(me):
        # The parent closes its connections before it forks another worker.
        yield f"{me.name}'s worker dies", world.go(me, inquest, died=True, shown=False)
        cut = world.go(me, inquest) if me.claimed else give_up(world, me)
        yield f"{me.name}'s worker loses its connection", cut


def orphaned(world: World, me: Pair) -> World:
    """With the session of the pair's worker left to itself."""
    if world.lock and world.holds(me):
        return world._replace(lock=world.lock._replace(holder=NOBODY))
    return world


def is_alive(me: Pair) -> bool:
    return me.step not in (withdrawn, dead)


def is_at_work(me: Pair) -> bool:
    """Whether the worker has the hint."""
    return me.step in (stamp, claim, judge, run, mark, commit, answer, unstamp)


def withdrawn(_world: World, _me: Pair) -> Iterator[Move]:
    """The parent has struck itself out: nothing follows."""
    yield from ()


def dead(_world: World, _me: Pair) -> Iterator[Move]:
    """The parent has not struck itself out. What follows, others do."""
    yield from ()
