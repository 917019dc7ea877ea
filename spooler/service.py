"""The services: receiver, processor, or both, put together and run in the foreground.

Owns: which processes a service consists of, and what they do on which signal.
Promises: what can be found wrong before anything is served (keys, folders, lock, address) is raised, so
that it ends the command with one line.
Does not promise: anything that its parts don't.
"""

import os
import signal
from functools import partial

from spooler.config import Configuration
from spooler.listening import Listener, listen
from spooler.lock import ProcessorLock
from spooler.log import get_logger
from spooler.processor import Processor
from spooler.receiver import Receiver
from spooler.server import Server
from spooler.supervisor import Child, Supervisor

_UMASK = 0o027  # the spool is the service's and its group's


def receive(configuration: Configuration) -> int:
    """Run the receiver until SIGTERM; return the exit status. Raises: SpoolerError."""
    os.umask(_UMASK)
    return Supervisor(_receiver_children(configuration)).run()


def process(configuration: Configuration) -> int:
    """Run the processor in this process until SIGTERM; return the exit status. Raises: SpoolerError."""
    os.umask(_UMASK)
    lock = ProcessorLock(configuration.spool)
    try:
        _run_processor(configuration)
    finally:
        lock.close()
    return 0


def run(configuration: Configuration) -> int:
    """Run both until SIGTERM; return the exit status. Raises: SpoolerError."""
    os.umask(_UMASK)
    # Held here and inherited, so that no other processor gets in while ours is started again.
    lock = ProcessorLock(configuration.spool)
    try:
        children = _receiver_children(configuration, lock)
        return Supervisor([*children, Child("processor", partial(_run_processor, configuration))]).run()
    finally:
        lock.close()


def _receiver_children(configuration: Configuration, lock: ProcessorLock | None = None) -> list[Child]:
    listeners = listen(configuration.receiver.listen)
    receiver = Receiver(configuration)
    receiver.sweep()
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

    signal.signal(signal.SIGTERM, lambda *_: server.stop())
    signal.signal(signal.SIGINT, lambda *_: server.stop())
    signal.signal(signal.SIGHUP, lambda *_: reload_wanted.append(True))
    server.run(each_second)


def _run_processor(configuration: Configuration) -> None:
    processor = Processor(configuration)
    signal.signal(signal.SIGTERM, lambda *_: processor.stop())
    signal.signal(signal.SIGINT, lambda *_: processor.stop())
    # Scripts are found and read anew for every notification: there is nothing to reload.
    signal.signal(signal.SIGHUP, lambda *_: None)
    processor.run()
