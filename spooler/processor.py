"""The processor: the loop that looks, takes what is next, and lets workers give it its turn.

Owns: how many turns run at once, and the orderly end.
Promises: every waiting file is found within 5 s, watched or not (see `spooler.webhook_queue` for very large
folders). No error of one webhook's folder stops the others.
Does not promise: to be alone on the spool; whoever starts it holds the lock.
Logs: its start and its end.
"""

import errno
import os
import random
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from threading import Lock
from typing import NamedTuple

from spooler.attempt import Attempt
from spooler.claiming import ProcessorsSpool
from spooler.clock import Clock, SystemClock
from spooler.config import Configuration, Webhook
from spooler.errors import SpoolUnusableError
from spooler.finished import FinishedIds
from spooler.group_commit import GroupCommit, Lanes
from spooler.keeper import Keeper
from spooler.log import get_logger
from spooler.name import identify
from spooler.scripts import Runner, Stop
from spooler.state import State
from spooler.turn import Settled, Turn
from spooler.wake import Wake
from spooler.watcher import Watcher
from spooler.webhook_queue import WebhookQueue
from spooler.work_folder import WorkFolders

_WATCHED = (State.INCOMING, State.RETRY)
# CRASH: `prepare` tries whether it can write; killed in between, it leaves what the receiver doesn't sweep.
_TRIED = (State.PROCESSING, State.RETRY, State.DONE, State.FAILED)


class _Taken(NamedTuple):
    """One that a turn is given to."""

    waiting: WebhookQueue
    turn: Turn
    state: State
    name: str
    lanes: Lanes
    is_alone: bool


class Processor:
    """Works on a whole spool until it is told to stop."""

    def __init__(
        self,
        configuration: Configuration,
        *,
        clock: Clock | None = None,
        on_failed: Callable[[str, str], None] | None = None,
    ) -> None:
        """Prepare the folders. Raises: SpoolUnusableError.

        on_failed: is told webhook and file name of what came to `failed/`, from a worker's thread.
        """
        self._on_failed = on_failed
        self._workers = configuration.processor.workers
        self._stop = Stop()
        self._wake = Wake()
        self._hinted = False
        self._lock = Lock()  # of the queues, and of what follows
        self._busy = 0
        self._is_alone = False  # one runs that may have ended the processor before
        self._lacks_thread = False  # one stands in the pool's queue that no thread could be had for
        self._defect: Exception | None = None  # of a worker
        self._turns: list[tuple[WebhookQueue, Turn]] = []
        self._commit = GroupCommit()
        runner = Runner(self._stop)
        self._keepers: list[Keeper] = []
        spools = []
        for webhook in configuration.webhooks.values():
            spool = ProcessorsSpool(configuration.spool, webhook.name, clock or SystemClock())
            spools.append(spool)
            self._turns.append((WebhookQueue(webhook, spool), self._turn(webhook, spool, runner)))
        self._watcher = Watcher(
            [s.folder(state) for s in spools for state in _WATCHED],
            self.look,
            departures=[s.folder(State.RETRY) for s in spools],
        )

    def look(self) -> None:
        """Ask for a look into the folders; may be called from a signal handler or another thread."""
        self._hinted = True
        self._wake.set()

    def _turn(self, webhook: Webhook, spool: ProcessorsSpool, runner: Runner) -> Turn:
        spool.prepare()
        finished = FinishedIds(spool, webhook.processing.deduplicate_for)
        try:
            spool.sweep_litter(_TRIED)
            finished.load()
        except OSError as error:
            # A day of done/ too is needed: repeats are told by what is in it.
            remedy = "; give that user the folder (chown, chmod u+rwx)" if error.errno == errno.EACCES else ""
            raise SpoolUnusableError(
                f"{error.filename or spool.base}: can't be read by user id {os.geteuid()}: "
                f"{error.strerror}{remedy}"
            ) from None
        keeper = Keeper(runner, WorkFolders(spool.folder(State.PROCESSING)))
        self._keepers.append(keeper)
        attempt = Attempt(webhook, spool, runner, self._stop, keeper)
        return Turn(webhook, spool, attempt, finished, random.SystemRandom().random)

    def stop(self) -> None:
        """Ask for an orderly end; may be called from a signal handler or another thread."""
        self._stop.request()
        self._wake.set()

    def run(self, beat: Callable[[str], None] = lambda _status: None) -> None:
        """Work until `stop`; return when the running scripts have ended and everything is settled.

        beat: called at each turn of the loop, at least every 5 s, with how it is in one line.
        """
        self._watcher.start()
        log = get_logger()
        log.info("processor ready", workers=self._workers, watching=self._watcher.works)
        try:
            self._commit.start()
            with ThreadPoolExecutor(self._workers, "worker") as pool:
                while not self._stop.requested:
                    self._wake.clear()
                    self._step(pool)
                    beat(self._status())
                    self._wake.wait(self._idle_seconds())
                for keeper in self._keepers:
                    keeper.end_waiting()  # while the workers go on for a while
        finally:
            self._commit.close()
            for keeper in self._keepers:
                keeper.close()
            self._watcher.stop()
            for _waiting, turn in self._turns:
                turn.attempt.clear_away()
            log.info("processor ended")

    def _status(self) -> str:
        with self._lock:
            parts = [waiting.status() for waiting, _turn in self._turns]
        if not self._watcher.works:
            parts.append("not watching, looking every few seconds")
        return "; ".join(parts)

    def _idle_seconds(self) -> float:
        with self._lock:
            workers_free = self._busy < self._workers and not self._is_alone
            return min(waiting.idle_seconds(workers_free=workers_free) for waiting, _turn in self._turns)

    def _step(self, pool: ThreadPoolExecutor) -> None:
        """Take in what has arrived, and have as many workers begin as there is room and work for."""
        if self._defect is not None:
            raise self._defect
        hinted, self._hinted = self._hinted, False
        hinted |= self._watcher.check()
        for keeper in self._keepers:
            keeper.look()
        with self._lock:
            for waiting, _turn in self._turns:
                try:
                    waiting.look(hinted=hinted)
                except Exception:  # noqa: BLE001 - the outermost frame of a look: the other webhooks go on
                    get_logger().exception("defect")
                    waiting.look_later()
            if self._lacks_thread:
                self._lacks_thread = False
                self._begin(pool, None)
            while taken := self._take_next():
                self._begin(pool, taken)

    def _begin(self, pool: ThreadPoolExecutor, taken: _Taken | None) -> None:
        """Have a worker give one its turn; None: have one begin for what stands in the pool's queue."""
        try:
            pool.submit(self._work, taken)
        except RuntimeError as error:
            # No thread can be had, and it stands in the queue all the same: at the next look again.
            self._lacks_thread = True
            if taken is not None:
                log = get_logger().bind(webhook=taken.turn.webhook.name, id=identify(taken.name))
                log.error("can't begin", file=taken.name, reason=str(error))  # noqa: TRY400 - no defect

    def _take_next(self) -> _Taken | None:
        """Take what is next, if there is room for one more. The caller holds the lock."""
        if self._busy >= self._workers or self._is_alone or self._stop.requested:
            return None
        candidates = [
            (found, place) for place, (waiting, _) in enumerate(self._turns) if (found := waiting.peek())
        ]
        if not candidates:
            return None
        (_order, state, name), place = min(candidates)
        waiting, turn = self._turns[place]
        # What a crash interrupted may have caused it: it runs alone, and takes no other's attempts.
        self._is_alone = waiting.is_suspect(name)
        if self._is_alone and self._busy:
            self._is_alone = False
            return None
        # Its name, too: a person may use it for one after another, and a mark tells of no more than the name.
        lanes = frozenset((place, lane) for lane in (*waiting.take(name), f"file {name}"))
        self._busy += 1
        return _Taken(waiting, turn, state, name, lanes, self._is_alone)

    def _work(self, taken: _Taken | None) -> None:
        """Give one its turn, and then the next, in a worker's thread, until there is none or a look is due.

        The main loop isn't asked in between: waking it, and being woken by it, takes longer than many a turn.
        """
        try:
            while taken is not None:
                settled = self._give_turn(taken)
                with self._lock:
                    self._busy -= 1
                    self._is_alone = False
                    taken.waiting.settle(taken.name, settled)
                    # What a person has moved meanwhile comes first: nothing is taken before that is seen.
                    taken = None if self._is_look_due() else self._take_next()
                    is_main_wanted = taken is None or self._workers > 1 or self._is_look_due()
                if taken is None:
                    self._commit.hurry()
                if is_main_wanted:
                    self._wake.set()
        except Exception as error:  # noqa: BLE001 - the outermost frame: the main loop ends with it
            self._defect = error
            self._wake.set()

    def _is_look_due(self) -> bool:
        return any(waiting.is_look_due for waiting, _turn in self._turns)

    def _give_turn(self, taken: _Taken) -> Settled | None:
        """Give a notification its turn. The outermost frame of it: nothing gets past it."""
        waiting, turn, state, name, lanes, is_alone = taken
        try:
            if is_alone:
                self._commit.wait_for_all()
            elif self._commit.wait_for(lanes) and state is State.INCOMING:
                # RACE: an older one may have come back meanwhile. Who is next is asked again.
                return Settled(State.INCOMING, name)
            settled = turn.take(state, name)
            if settled and settled.unsynced:
                self._commit.add(lanes, settled.unsynced.moved, settled.unsynced.then)
                if settled.unsynced.is_last_attempt:
                    self._commit.wait_for(lanes)
            if settled and settled.state is State.FAILED and self._on_failed:
                self._on_failed(turn.webhook.name, settled.name)
        except OSError as error:
            waiting.report(name, str(error))
        except Exception:  # noqa: BLE001 - the outermost frame: nothing may be lost
            get_logger().exception("defect", webhook=turn.webhook.name, id=identify(name), file=name)
            return Settled(State.PROCESSING, name, crashed=True)
        else:
            return settled
        return None
