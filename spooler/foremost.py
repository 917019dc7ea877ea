"""The foremost: those of very many names that sort first, found in one pass.

Owns: how few of them have to be remembered meanwhile.
Promises: memory for twice as many names as are wanted, however many there are.
"""


class Foremost:
    """Told of names as they come, keeps the `most` that sort first."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._names: list[str] = []
        self._limit = ""  # no name that sorts behind it is wanted; empty: any may be
        self._told = 0

    def add(self, name: str) -> None:
        """Take a name into account."""
        self._told += 1
        if self._limit and name > self._limit:
            return
        self._names.append(name)
        if len(self._names) == 2 * self._most:
            self._cut()

    def names(self) -> list[str]:
        """Return those that sort first, sorted."""
        if len(self._names) > self._most:
            self._cut()
        self._names.sort()
        return self._names

    @property
    def passed_over(self) -> int:
        """How many sort behind those that `names` gives."""
        return max(0, self._told - self._most)

    def _cut(self) -> None:
        self._names.sort()
        del self._names[self._most :]
        self._limit = self._names[-1]
