"""The platform's delivery rules: what counts as received, when it repeats, when it gives a webhook up.

Owns: every number of the sender's side - the wait for a reply, the schedule, the rule of deactivation.
Promises: pure values and arithmetic. Time comes in as float seconds of any steady clock, so that a week
of outages is computed in milliseconds and played in as long as one likes.
Does not promise: that the platform does exactly this. It is what its help pages say; nothing is measured.
"""

REPLY_WAIT_SECONDS = 15.0
RECEIVED_STATUS = 200

# Each delay counts from the failure of the attempt before, so attempts come 0, 1, 16, 46 and 106 minutes
# after the action. The vendor's table says 101 for the last one; the steps it describes add up to 106.
REPEAT_DELAYS_SECONDS = (1 * 60.0, 15 * 60.0, 30 * 60.0, 60 * 60.0)
MAX_ATTEMPTS = 1 + len(REPEAT_DELAYS_SECONDS)

DEACTIVATION_ERRORS = 100
DEACTIVATION_SECONDS = 8 * 3600.0


def is_received(status: int | None) -> bool:
    """Tell whether a reply counts: 200 alone does, neither 201, 202 and 204 nor no reply at all (`None`)."""
    return status == RECEIVED_STATUS


def next_attempt(attempt: int, now: float) -> float | None:
    """Say when a notification is sent again, or `None` when it is abandoned.

    `attempt` is the number, from 1, of the attempt that failed at `now`.
    """
    if attempt < 1:
        raise ValueError(f"attempts are counted from 1, not from {attempt}")
    if attempt >= MAX_ATTEMPTS:
        return None
    return now + REPEAT_DELAYS_SECONDS[attempt - 1]


class Webhook:
    """A callback URL as the platform sees it: switched on or off, with its errors since the last success.

    While `active` is false nothing is sent: what is pending and what would be sent is lost for good.
    """

    def __init__(self) -> None:
        self.active = True
        self.consecutive_errors = 0
        self.first_error_at: float | None = None

    def record(self, status: int | None, now: float) -> None:
        """Count an attempt that ended at `now` with `status` (`None`: no reply); switch off by the rule."""
        if not self.active:
            return  # the reply to an attempt that was on its way: only a person switches on again
        if is_received(status):
            self._forget_errors()
            return
        if self.first_error_at is None:
            self.first_error_at = now
        self.consecutive_errors += 1
        lasted_seconds = now - self.first_error_at
        if self.consecutive_errors >= DEACTIVATION_ERRORS and lasted_seconds >= DEACTIVATION_SECONDS:
            self.active = False

    def switch_on(self) -> None:
        """Do what a person does on the configuration page; errors are counted from none again."""
        self.active = True
        self._forget_errors()

    def _forget_errors(self) -> None:
        self.consecutive_errors = 0
        self.first_error_at = None
