"""The services: receiver, processor, or both, put together and run in the foreground.

Owns: which processes a service consists of, what they do on which signal, and after how long without a
turn of its loop one of them counts as hung.
Promises: what can be found wrong before anything is served (keys, folders, lock, address) is raised, so
that it ends the command with one line.
Does not promise: anything that its parts don't.
"""

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial

from spooler.alerter import Alerter
from spooler.config import Configuration
from spooler.confinement import Confinement
from spooler.listening import Listener, bind, listen
from spooler.lock import ProcessorLock
from spooler.log import get_logger
from spooler.processor import Processor
from spooler.pulse import Pulse
from spooler.receiver import Receiver
from spooler.server import Server
from spooler.service_manager import ServiceManager
from spooler.shared_measures import Sharing
from spooler.spool import WebhookSpool
from spooler.supervisor import Child, Supervisor, hold_signals, release_signals

_UMASK = 0o027  # the spool is the service's and its group's
_RECEIVER_HUNG_SECONDS = 20.0  # its loop turns each second, and leaves the disk to other threads
_PROCESSOR_HUNG_SECONDS = 300.0  # it lists folders of any size itself


def receive(configuration: Configuration) -> int:
    """Run the receiver until SIGTERM; return the exit status. Raises: SpoolerError."""
    manager = _begin()
    listeners = listen(configuration.receiver.listen)
    receiver = Receiver(configuration)
    children = _receiver_children(configuration, receiver, listeners)
    return Supervisor(children, partial(_close, listeners), manager, partial(_keep_keys, receiver)).run()


def process(configuration: Configuration) -> int:
    """Run the processor in this process until SIGTERM; return the exit status. Raises: SpoolerError."""
    manager = _begin()
    lock = ProcessorLock(configuration.spool)
    try:
        metrics = _metrics_listener(configuration)
        _run_processor(configuration, manager.beat, manager.stopping, metrics=metrics)
    finally:
        lock.close()
    return 0


def run(configuration: Configuration) -> int:
    """Run both until SIGTERM; return the exit status. Raises: SpoolerError."""
    manager = _begin()
    # Held here and inherited, so that no other processor gets in while ours is started again.
    lock = ProcessorLock(configuration.spool)
    try:
        for webhook in configuration.webhooks:
            WebhookSpool(configuration.spool, webhook).prepare()
        listeners = listen(configuration.receiver.listen)
        metrics = _metrics_listener(configuration)

        def work(pulse: Pulse) -> None:
            _close(listeners)  # the receivers' alone
            _run_processor(configuration, lambda _status: pulse.beat(), metrics=metrics)

        receiver = Receiver(configuration)
        children = _receiver_children(configuration, receiver, listeners, lock)
        children.append(Child("processor", work, _PROCESSOR_HUNG_SECONDS))
        return Supervisor(children, partial(_close, listeners), manager, partial(_keep_keys, receiver)).run()
    finally:
        lock.close()


def _begin() -> ServiceManager:
    """Put right what the parent may have handed down, and return whom to tell how it goes."""
    os.umask(_UMASK)
    # Where it is ignored the kernel reaps children itself, and nobody learns how a script has ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    return ServiceManager()


def _close(listeners: Sequence[Listener]) -> None:
    """Leave the sockets to the receivers: when the last one has ended, nobody is accepted any more."""
    for listener in listeners:
        listener.socket.close()


def _keep_keys(receiver: Receiver, again: bool) -> None:
    """Know the last good keys in the parent, too: a receiver that is started again begins with them.

    The children tell of them, so nothing is logged here.
    """
    try:
        receiver.read_keys(again=again, quietly=True)
    except Exception:  # noqa: BLE001 - the children must be looked after, whatever a key file holds
        get_logger().exception("defect")


def _receiver_children(
    configuration: Configuration,
    receiver: Receiver,
    listeners: list[Listener],
    lock: ProcessorLock | None = None,
) -> list[Child]:
    receiver.sweep()
    hold_signals()
    for listener in listeners:
        for name in configuration.webhooks:
            get_logger().info("receiver ready", webhook=name, url=f"{listener.address}/webhook/{name}")

    def work(name: str, pulse: Pulse) -> None:
        if lock is not None:
            lock.close()  # the processor's; a receiver that lives on for a moment mustn't hold it
        sharing = Sharing(configuration.spool, name)
        _run_receiver(receiver, listeners, configuration.receiver.max_body, pulse, sharing)

    names = [f"receiver-{number}" for number in range(1, configuration.receiver.workers + 1)]
    return [Child(name, partial(work, name), _RECEIVER_HUNG_SECONDS) for name in names]


def _run_receiver(
    receiver: Receiver, listeners: list[Listener], max_body_bytes: int, pulse: Pulse, sharing: Sharing
) -> None:
    confinement = Confinement((*receiver.folders, sharing.folder))
    try:
        if not confinement.restrict():
            get_logger().info("not confined", reason="this kernel has no Landlock")
    except OSError as error:  # a container that forbids it
        get_logger().warning("not confined", reason=error.strerror)
    server = Server(receiver, listeners, max_body_bytes)
    reload_wanted: list[bool] = []

    def each_second() -> None:
        pulse.beat(receiver.counts)
        if confinement.is_outdated:
            # Only a new process can be given the new folder; the supervisor starts one.
            get_logger().warning("beginning anew", reason="a folder of the spool was replaced")
            server.stop()
        # Each request looks at the keys, too; a process that has none to answer knows of them all the same.
        if again := bool(reload_wanted):
            reload_wanted.clear()  # RACE: before the reading; a further signal may come while it lasts
        receiver.read_keys(again=again)

    _obey(server.stop, lambda: reload_wanted.append(True))
    with sharing:
        server.run(each_second)


def _run_processor(
    configuration: Configuration,
    beat: Callable[[str], None],
    stopping: Callable[[], None] = lambda: None,
    *,
    metrics: Listener | None = None,
) -> None:
    """beat: told, whenever the loop has turned, how it is. stopping: called when the end begins."""
    with Sharing(configuration.spool, "processor"), Alerter(configuration) as alerter:
        if metrics:
            from spooler import metrics_server  # noqa: PLC0415 - a library for those who ask for metrics

            metrics_server.serve(configuration, metrics)
        _work(Processor(configuration, on_failed=alerter.failed), beat, stopping)


def _metrics_listener(configuration: Configuration) -> Listener | None:
    return bind(configuration.metrics.listen, "metrics.listen") if configuration.metrics else None


def _work(processor: Processor, beat: Callable[[str], None], stopping: Callable[[], None]) -> None:
    def stop() -> None:
        stopping()
        processor.stop()

    # Scripts are found and read anew for every notification: there is nothing to reload, only to look at.
    _obey(stop, processor.look)
    processor.run(beat)


def _obey(stop: Callable[[], None], reload: Callable[[], None]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: stop())
    signal.signal(signal.SIGINT, lambda *_: stop())
    signal.signal(signal.SIGHUP, lambda *_: reload())
    release_signals()
