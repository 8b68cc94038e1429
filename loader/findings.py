# SPDX-License-Identifier: Apache-2.0
"""What a check came to: ok, a warning or wrong, and the command that mends it.

`doctor` shows findings; `attach` refuses on one that is wrong. What is looked
at is decided in doctor_host and doctor_devices.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

from cipu_xdp.loader.errors import CipuError, KernelRefused

OK, WARNING, WRONG = "ok", "warning", "wrong"


@dataclass(frozen=True, slots=True)
class Finding:
    """One line of `doctor`.

    `mend` is a command; what stands in capitals in it is for a person to fill
    in. `refusal` and `hint` are the error that a verb raises which needs this.
    """

    check: str
    subject: str
    state: str
    found: str
    mend: str | None = None
    refusal: type[CipuError] = KernelRefused
    hint: str = ""

    def as_dict(self) -> dict[str, Any]:
        """The same as a dictionary; its keys are a contract."""
        return {
            "check": self.check,
            "subject": self.subject,
            "state": self.state,
            "found": self.found,
            "mend": self.mend,
        }

    def as_error(self, tried: str) -> CipuError:
        """The same as the error of a verb that cannot go on."""
        return self.refusal(tried, self.found, self.hint or f"This mends it: {self.mend}.")


def ok(check: str, subject: str, found: str) -> Finding:
    """It is as it should be."""
    return Finding(check, subject, OK, found)


def warning(check: str, subject: str, found: str, mend: str | None = None) -> Finding:
    """It works, but not as well, or not always; or nobody can tell."""
    return Finding(check, subject, WARNING, found, mend)


def wrong(check: str, subject: str, found: str, mend: str | None = None) -> Finding:
    """It does not work."""
    return Finding(check, subject, WRONG, found, mend)


def refusing(found: Finding, refusal: type[CipuError], hint: str) -> Finding:
    """A finding with the error that it becomes."""
    return replace(found, refusal=refusal, hint=hint)


def require(tried: str, findings: Iterable[Finding]) -> None:
    """Raises the error of the first finding that is wrong; the others are not asked for."""
    for found in findings:
        if found.state == WRONG:
            raise found.as_error(tried)
