"""The worker: one loop that does the upkeep, claims, and rests until something is due."""

import asyncio
import logging
from collections.abc import Mapping, Sequence

import msgspec

from oncetask_core.backoff import Backoff
from oncetask_core.clock import wait_for_event
from oncetask_core.controls import publish_kinds
from oncetask_core.decisions import KindRules, Released, conclude
from oncetask_core.errors import StoreError, StoreUnavailableError
from oncetask_core.handlers import Handler
from oncetask_core.posting import post
from oncetask_core.registry import Registry
from oncetask_core.store import TaskStore
from oncetask_core.task import OnceTask
from oncetask_core.transition import Atom
from oncetask_core.worker.claiming import Claimer
from oncetask_core.worker.deadlines import Deadlines
from oncetask_core.worker.events import Events, Hook
from oncetask_core.worker.execution import Executor
from oncetask_core.worker.heartbeat import Heartbeat
from oncetask_core.worker.launching import Launcher
from oncetask_core.worker.leases import LeaseBook
from oncetask_core.worker.listening import listen
from oncetask_core.worker.rounds import Round, Rounds
from oncetask_core.worker.run import StopReason
from oncetask_core.worker.settings import Seams, WorkerSettings
from oncetask_core.worker.settling import Settler
from oncetask_core.worker.store_time import StoreTime
from oncetask_core.worker.threads import DaemonThreads
from oncetask_core.worker.upkeep import Upkeep

logger = logging.getLogger("oncetask.worker")

CANCEL_SECONDS = 5.0
FLUSH_SECONDS = 10.0


class WorkerState(msgspec.Struct, frozen=True, kw_only=True):
    """How a worker is doing."""

    running: int
    """Handler calls that run or wait for the store's answer."""
    unsettled: int
    """Ended attempts that the store has not answered yet."""
    last_contact: float
    """Seconds since the store last answered the loop."""
    renewals_fail: bool
    """Whether leases cannot be renewed at the moment; nothing is claimed then."""
    paused: frozenset[str]
    counts: Mapping[str, int]
    """How often each event happened here."""


class Worker:
    """Runs the tasks of the registered kinds.

    Args:
        store: The tasks; opened by whoever made it.
        registry: The handlers; kinds that are added later are served from the next poll on.
        settings: How to behave.
        seams: Clock, chance, identities.
        hooks: Called with every event.
        resources: What handlers share.
    """

    def __init__(
        self,
        store: TaskStore,
        registry: Registry,
        *,
        settings: WorkerSettings,
        seams: Seams,
        hooks: Sequence[Hook] = (),
        resources: Mapping[str, object] | None = None,
    ) -> None:
        self._store = store
        self._registry = registry
        self._settings = settings
        self._clock = seams.clock
        self._seams = seams
        self._backoff = Backoff(seams.chance)
        self._wake = asyncio.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._stopping = self._hurried = self._store_is_down = self._torn_down = False
        self._fault: BaseException | None = None
        self._settling: asyncio.Task[None] | None = None
        self._contact_at = self._clock.monotonic()
        self._background: set[asyncio.Task[None]] = set()
        self._assemble(hooks, {} if resources is None else resources)

    def _assemble(self, hooks: Sequence[Hook], resources: Mapping[str, object]) -> None:
        store, registry, seams = self._store, self._registry, self._seams
        self._time = StoreTime(seams.clock)
        self._events = Events(hooks)
        self._book = LeaseBook()
        self._threads = DaemonThreads()
        self._settler = Settler(store, seams=seams, now=self._time.now)
        self._deadlines = Deadlines(seams.clock)
        self._heartbeat = Heartbeat(
            store, self._book, seams=seams, on_unknown=self._release_unknown, on_fault=self._end_by
        )
        self._launcher = Launcher(
            store,
            executor=Executor(self._threads, now=self._time.now, is_ending=self._is_torn_down),
            settler=self._settler,
            book=self._book,
            deadlines=self._deadlines,
            events=self._events,
            seams=seams,
            resources=resources,
            on_ended=self._wake.set,
            on_settled=self._settled,
            is_ending=self._is_torn_down,
        )
        self._claimer = Claimer(
            store,
            registry,
            name=self._settings.name,
            launcher=self._launcher,
            book=self._book,
            events=self._events,
            seams=seams,
            time=self._time,
        )
        upkeep = Upkeep(store, registry, seams=seams, events=self._events, now=self._time.now)
        self._rounds = Rounds(
            Round(store, registry, upkeep=upkeep, slots=self._launcher.slots),
            settings=self._settings,
            seams=seams,
            claimer=self._claimer,
            time=self._time,
            on_ended=self._wake.set,
        )

    @property
    def state(self) -> WorkerState:
        """How the worker is doing."""
        return WorkerState(
            running=self._launcher.slots.used,
            unsettled=self._settler.pending,
            last_contact=self._clock.monotonic() - self._contact_at,
            renewals_fail=self._heartbeat.is_failing,
            paused=self._rounds.paused,
            counts=dict(self._events.counts),
        )

    @property
    def is_stopping(self) -> bool:
        """Whether a stop was asked for."""
        return self._stopping

    def wake(self) -> None:
        """Look for work now. Any thread may call this."""
        loop = self._loop
        if loop is not None:
            post(loop, self._wake_here)

    def _wake_here(self) -> None:
        self._claimer.hungry = True
        self._wake.set()

    def stop(self, *, hurry: bool = False) -> None:
        """Stop claiming and let handlers finish; with `hurry` cancel them now. Any thread may call this."""
        self._hurried = self._hurried or hurry
        self._stopping = True
        self.wake()

    async def run(self, *, until_idle: bool = False) -> None:
        """Run tasks until stopped, or until nothing is due and nothing runs.

        Raises:
            StoreError: The store failed for good; what ran was cancelled and released as far as possible.
            Exception: A fault of the worker or the store; the same holds.
        """
        self._loop = asyncio.get_running_loop()
        listening = listen(self._store, self._wake_here, seams=self._seams)
        self._settling = asyncio.create_task(self._settler.run())
        helpers = [self._settling, *(asyncio.create_task(one) for one in (self._deadlines.watch(), listening))]
        for helper in helpers:
            helper.add_done_callback(self._check_helper)
        try:
            self._heartbeat.start()
            await self._prepare()
            await self._work(until_idle=until_idle)
        finally:
            try:
                await self._shut_down(helpers)
            finally:  # cancelled in the middle of it, too
                self._let_go(helpers)
        if self._fault is not None:
            raise self._fault

    def _check_helper(self, helper: asyncio.Task[None]) -> None:
        """End the worker where a part of it has ended by a fault: it could write no outcome."""
        fault = None if helper.cancelled() else helper.exception()
        if fault is not None:
            self._end_by(fault)

    def _end_by(self, fault: BaseException) -> None:
        logger.critical("the worker ends because of a fault of its own or of the store", exc_info=fault)
        self._fault = fault
        self.stop(hurry=True)

    def _let_go(self, helpers: Sequence[asyncio.Task[None]]) -> None:
        """Renew nothing any more and stop what runs; nothing is waited for."""
        self._launcher.stop_all(StopReason.SHUTDOWN)
        for helper in (*helpers, *self._background):
            helper.cancel()
        self._heartbeat.end()
        self._threads.close()

    async def _prepare(self) -> None:
        """Read the store's time and publish our kinds, however long the store takes to come up."""
        while not self._stopping:
            self._wake.clear()
            try:
                self._time.set(await self._store.now())
                await publish_kinds(self._store, self._registry)
            except StoreUnavailableError as error:
                await self._wait_for_store(error)
            else:
                self._note_contact()
                return

    async def _work(self, *, until_idle: bool) -> None:
        eager = until_idle
        while not self._stopping:
            self._wake.clear()
            try:
                found = await self._pass(eager=eager)
            except StoreUnavailableError as error:
                await self._wait_for_store(error)
                continue
            if found or not self._rounds.is_open:
                self._note_contact()
            is_idle = not found and not self._launcher.batches and not self._heartbeat.is_failing
            if is_idle and eager and not self._wake.is_set():
                return
            eager = until_idle and is_idle
            if not (found or eager):
                await self._rest()

    async def _pass(self, *, eager: bool) -> bool:
        """Keep up, before the claim where that is eager, and claim; return whether anything was found."""
        found = await self._rounds.keep_up(thorough=eager or self._store_is_down)
        handlers = self._active_handlers()
        if handlers and not self._heartbeat.is_failing:
            found |= await self._claimer.claim(handlers)
            self._heartbeat.poke()
        return found

    def _active_handlers(self) -> list[Handler]:
        return [handler for handler in self._registry if handler.kind not in self._rounds.paused]

    async def _rest(self) -> None:
        rest = self._rounds.rest()
        change = self._claimer.quiet.next_change(self._clock.monotonic())
        if change is not None:
            rest = min(rest, change)
        await wait_for_event(self._clock, self._wake, max(rest, 0.001))

    def _settled(self, task: OnceTask[object]) -> None:
        self._claimer.note_settled(task)
        self._wake.set()

    def _note_contact(self) -> None:
        if self._store_is_down:
            logger.info("the store answers again")
        self._store_is_down = False
        self._backoff.reset()
        self._contact_at = self._clock.monotonic()

    async def _wait_for_store(self, error: StoreError) -> None:
        if not self._store_is_down:
            logger.warning("the store does not answer; trying again until it does: %s", error)
        self._store_is_down = True
        await wait_for_event(self._clock, self._wake, self._backoff.next_delay())

    def _release_unknown(self, held: list[tuple[str, str]]) -> None:
        background = asyncio.create_task(self._give_back(held))
        self._background.add(background)
        background.add_done_callback(self._background.discard)

    async def _give_back(self, held: Sequence[tuple[str, str]]) -> None:
        """Give back, nothing charged, what a request that we had given up took after all."""
        try:
            found = await self._store.get([task_id for _, task_id in held])
            tasks = [found.tasks[task_id] for uid, task_id in held if task_id in found.tasks]
            leases = {uid for uid, _ in held}
            ours = [task for task in tasks if task.lease_uid in leases and self._book.is_unknown(task)]
            await self._store.apply([self._release(task) for task in ours])
        except StoreError as error:
            logger.warning("tasks of a lost claim stay leased until their lease runs out: %s", error)

    def _release(self, task: OnceTask[object]) -> Atom:
        handler = self._registry.get(task.kind)
        rules = KindRules(has_cleanup=True) if handler is None else handler.rules
        return Atom((conclude(task, Released(), rules, chance=self._seams.chance()),))

    async def _shut_down(self, helpers: Sequence[asyncio.Task[None]]) -> None:
        """Let handlers finish, cancel what is left, write every outcome, then stop renewing.

        After a fault there is nothing that writes outcomes: then the leases are left to run out.
        """
        self._stopping = True
        await self._rounds.stop()
        if self._fault is None:
            await self._finish()
        ending = [*helpers] if self._settling is None else [*helpers, self._settling]
        for helper in ending:
            helper.cancel()
        await asyncio.gather(*ending, *self._background, return_exceptions=True)
        await self._heartbeat.stop()
        self._threads.close()

    async def _finish(self) -> None:
        if self._is_torn_down():
            self._torn_down = True
            self._settling = asyncio.create_task(self._settler.run())
        await self._return_open_claim()
        if not self._hurried:
            await self._wait_for_batches(self._settings.shutdown_seconds)
        if self._launcher.batches:
            self._launcher.stop_all(StopReason.SHUTDOWN)
            await self._wait_for_batches(CANCEL_SECONDS, hurried=True)
            self._abandon()
        await self._flush()

    def _is_torn_down(self) -> bool:
        """Whether the event loop is being taken down: then everything is cancelled, also what no handler can reach."""
        return self._torn_down or (self._settling is not None and self._settling.cancelling() > 0)

    async def _return_open_claim(self) -> None:
        """Ask once more for a claim whose reply is outstanding, and give back what it was granted."""
        try:
            tasks = await self._claimer.take_back()
            await self._store.apply([self._release(task) for task in tasks])
        except StoreError as error:
            logger.warning("tasks of a lost claim stay leased until their lease runs out: %s", error)

    async def _wait_for_batches(self, seconds: float, *, hurried: bool = False) -> None:
        deadline = self._clock.monotonic() + seconds
        while self._launcher.batches and (hurried or not self._hurried):
            left = deadline - self._clock.monotonic()
            if left <= 0:
                return
            self._wake.clear()
            await wait_for_event(self._clock, self._wake, left)

    def _abandon(self) -> None:
        for run in self._launcher.abandon():
            what = (
                "ignores being cancelled; the task is given back, and what this handler still does counts for nothing"
                if run.is_interruptible
                else f"does not stop; its lease runs out after this process ends:\n{run.stack()}"
            )
            logger.error("the handler of %s %s", ", ".join(run.tasks), what, extra={"task_kind": run.handler.kind})

    async def _flush(self) -> None:
        flushed = asyncio.ensure_future(self._settler.idle())
        expired = asyncio.ensure_future(self._clock.sleep(FLUSH_SECONDS))
        await asyncio.wait({flushed, expired}, return_when=asyncio.FIRST_COMPLETED)
        if not flushed.done():
            logger.error(
                "%d outcomes could not be written before the end; their tasks run again",
                self._settler.pending,
            )
        flushed.cancel()
        expired.cancel()
