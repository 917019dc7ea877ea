"""spooler: receives signed webhooks, stores each durably, and hands them to drop-in scripts."""

__version__ = "0.1.0"
