"""Algorithms: how a body is signed, apart from the key, in the words of the configuration.

Owns: the names of hashes and paddings; apart from `spooler.signature`, for cryptography takes its time and
its memory, and whoever reads a configuration needs to know no more than names.
"""

from dataclasses import dataclass
from typing import Literal

HashName = Literal["sha1", "sha256", "sha384", "sha512"]
PaddingName = Literal["pkcs1v15", "pss"]


@dataclass(frozen=True, slots=True)
class Algorithm:
    """A hash and a padding."""

    hash: HashName
    padding: PaddingName

    def __str__(self) -> str:
        return f"{self.hash} with {self.padding}"
