# SPDX-License-Identifier: Apache-2.0
"""What can go wrong, one class for each exit code of the command line.

Every error says what was tried, on what, why it did not work, and one thing
to do. Nothing in this package prints or exits; callers decide how to show it.
"""

import errno
import os


class CipuError(Exception):
    """Base of all errors of this package.

    Args:
        tried: what was tried and on what, as an infinitive ("attach eth0").
        why: why not, as a clause ("it has no address").
        hint: one thing to do, as an imperative sentence, or "".
    """

    exit_code = 1

    def __init__(self, tried: str, why: str, hint: str = "") -> None:
        super().__init__(tried, why, hint)
        self.tried = tried
        self.why = why
        self.hint = hint

    def __str__(self) -> str:
        sentence = f"cannot {self.tried}: {self.why}."
        return f"{sentence} {self.hint}" if self.hint else sentence

    def as_dict(self) -> dict[str, object]:
        """The same as a dictionary with stable keys, for ``--json``."""
        return {
            "error": type(self).__name__,
            "tried": self.tried,
            "why": self.why,
            "hint": self.hint,
            "exit_code": self.exit_code,
        }


class BadInput(CipuError):
    """What was asked for is not possible or not consistent; nothing was changed."""

    exit_code = 2


class NotAttached(CipuError):
    """The instance has no loaded datapath to work on."""

    exit_code = 3


class LayoutMismatch(CipuError):
    """The pinned tables have the layout of another version."""

    exit_code = 4


class VerifierRefused(CipuError):
    """The C does not compile, or the kernel's verifier refuses the program."""

    exit_code = 5


class KernelRefused(CipuError):
    """The kernel refused a map, a hook or a device operation; `errno` says how, 0 if unknown."""

    exit_code = 6
    errno = 0


class ForeignInTheWay(CipuError):
    """A program that is not ours holds the hook."""

    exit_code = 7


# What helps where the system refuses a file, by errno.
FILE_HINTS = {
    errno.ENOSPC: "Make room on it: df {place} says how much there is.",
    errno.EDQUOT: "Make room on it: df {place} says how much there is.",
    errno.EROFS: "Have it writable: mount -o remount,rw, or see why it is not.",
    errno.EACCES: "Run it as root.",
    errno.EPERM: "Run it as root.",
}


def file_refused(tried: str, place: object, error: OSError) -> KernelRefused:
    """What is said if a file in the directory `place` cannot be had."""
    hint = FILE_HINTS.get(error.errno or 0, "See to its file system.").format(place=place)
    why = os.strerror(error.errno) if error.errno else str(error)
    refused = KernelRefused(tried, f"the file system of {place} says: {why}", hint)
    refused.errno = error.errno or 0
    return refused
