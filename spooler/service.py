"""The services: receiver, processor, or both, put together and run in the foreground.

Owns: which processes a service consists of, and what they do on which signal.
Promises: what can be found wrong before anything is served (keys, folders, lock, address) is raised, so
that it ends the command with one line.
Does not promise: anything that its parts don't.
"""

import os
import signal
from collections.abc import Callable, Sequence
from functools import partial

from spooler.config import Configuration
from spooler.listening import Listener, listen
from spooler.lock import ProcessorLock
from spooler.log import get_logger
from spooler.processor import Processor
from spooler.receiver import Receiver
from spooler.server import Server
from spooler.spool import WebhookSpool
from spooler.supervisor import Child, Supervisor, hold_signals, release_signals

_UMASK = 0o027  # the spool is the service's and its group's


def receive(configuration: Configuration) -> int:
    """Run the receiver until SIGTERM; return the exit status. Raises: SpoolerError."""
    _begin()
    listeners = listen(configuration.receiver.listen)
    children = _receiver_children(configuration, listeners)
    return Supervisor(children, partial(_close, listeners)).run()


def process(configuration: Configuration) -> int:
    """Run the processor in this process until SIGTERM; return the exit status. Raises: SpoolerError."""
    _begin()
    lock = ProcessorLock(configuration.spool)
    try:
        _run_processor(configuration)
    finally:
        lock.close()
    return 0


def run(configuration: Configuration) -> int:
    """Run both until SIGTERM; return the exit status. Raises: SpoolerError."""
    _begin()
    # Held here and inherited, so that no other processor gets in while ours is started again.
    lock = ProcessorLock(configuration.spool)
    try:
        for webhook in configuration.webhooks:
            WebhookSpool(configuration.spool, webhook).prepare()
        listeners = listen(configuration.receiver.listen)
        processor = Child("processor", partial(_run_processor, configuration, listeners))
        children = [*_receiver_children(configuration, listeners, lock), processor]
        return Supervisor(children, partial(_close, listeners)).run()
    finally:
        lock.close()


def _begin() -> None:
    """Put right what the parent may have handed down."""
    os.umask(_UMASK)
    # Where it is ignored the kernel reaps children itself, and nobody learns how a script has ended.
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)


def _close(listeners: Sequence[Listener]) -> None:
    """Leave the sockets to the receivers: when the last one has ended, nobody is accepted any more."""
    for listener in listeners:
        listener.socket.close()


def _receiver_children(
    configuration: Configuration, listeners: list[Listener], lock: ProcessorLock | None = None
) -> list[Child]:
    receiver = Receiver(configuration)
    receiver.sweep()
    hold_signals()
    for listener in listeners:
        for name in configuration.webhooks:
            get_logger().info("receiver ready", webhook=name, url=f"{listener.address}/webhook/{name}")

    def work() -> None:
        if lock is not None:
            lock.close()  # the processor's; a receiver that lives on for a moment mustn't hold it
        _run_receiver(receiver, listeners, configuration.receiver.max_body)

    return [Child(f"receiver-{number}", work) for number in range(1, configuration.receiver.workers + 1)]


def _run_receiver(receiver: Receiver, listeners: list[Listener], max_body_bytes: int) -> None:
    server = Server(receiver, listeners, max_body_bytes)
    reload_wanted: list[bool] = []

    def each_second() -> None:
        if reload_wanted:
            reload_wanted.clear()
            receiver.reload_keys()

    _obey(server.stop, lambda: reload_wanted.append(True))
    server.run(each_second)


def _run_processor(configuration: Configuration, listeners: Sequence[Listener] = ()) -> None:
    _close(listeners)  # the receivers' alone
    processor = Processor(configuration)
    # Scripts are found and read anew for every notification: there is nothing to reload.
    _obey(processor.stop, lambda: None)
    processor.run()


def _obey(stop: Callable[[], None], reload: Callable[[], None]) -> None:
    signal.signal(signal.SIGTERM, lambda *_: stop())
    signal.signal(signal.SIGINT, lambda *_: stop())
    signal.signal(signal.SIGHUP, lambda *_: reload())
    release_signals()
