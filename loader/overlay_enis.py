# SPDX-License-Identifier: Apache-2.0
"""The verbs of ENIs: part of overlay. What a device must be like is decided here."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from cipu_xdp.loader import links, show
from cipu_xdp.loader import model as models
from cipu_xdp.loader.errors import BadInput
from cipu_xdp.loader.findings import require
from cipu_xdp.loader.overlay_base import Answer, Verbs
from cipu_xdp.loader.presence import present
from cipu_xdp.loader.records import Model

if TYPE_CHECKING:
    from cipu_xdp.loader.attach import Attachment


class EniVerbs(Verbs):
    """Tenants' attachments."""

    def eni_create(
        self,
        name: str,
        *,
        vpc: str,
        ips: Sequence[Any],
        mac: str | None = None,
        dev: str | None = None,
        host: Any = None,
        source_check: bool = True,
        hook: str = "auto",
        groups: Sequence[str] = (),
    ) -> Answer:
        """Create an ENI on a device of this host, or make one of a remote host known."""
        words: dict[str, Any] = {
            "vpc": vpc, "ips": ips, "dev": dev, "host": host, "source_check": source_check,
            "groups": groups,
        }  # fmt: skip
        tried = f"create ENI {name}"

        def verb(model: Model, attachment: "Attachment") -> Model:
            check_dev(tried, attachment, dev, hook)
            own = mac or (links.peer_mac(dev) if dev else None)
            kind = "xdp" if hook == "xdp" else "tc"
            return models.create_eni(model, name, mac=own, hook=kind, **words)

        return self._told(self._instance.change(verb), name)

    def eni_set(
        self,
        name: str,
        *,
        ips: Sequence[Any] | None = None,
        mac: str | None = None,
        dev: str | None = None,
        host: Any = None,
        source_check: bool | None = None,
        hook: str | None = None,
        groups: Sequence[str] | None = None,
    ) -> Answer:
        """Change what is given of an ENI; the rest stays. An empty `groups` leaves all groups."""
        tried = f"change ENI {name}"
        words: dict[str, Any] = {
            "ips": ips, "mac": mac, "dev": dev, "host": host, "source_check": source_check,
            "hook": "tc" if hook == "auto" else hook, "groups": groups,
        }  # fmt: skip
        given = {key: value for key, value in words.items() if value is not None}

        def verb(model: Model, attachment: "Attachment") -> Model:
            check_dev(tried, attachment, dev, hook)
            return models.set_eni(model, name, **given)

        return self._told(self._instance.change(verb), name)

    def eni_delete(self, name: str) -> Answer:
        """Delete an ENI; its device, if it is here, is a plain device again."""
        before = self._changed_from(lambda m: models.delete_eni(m, name))
        return show.eni(before, name)

    def eni_list(self, vpc: str | None = None) -> list[Answer]:
        """Every ENI, or those of a VPC."""
        return show.enis(self._instance.model(), vpc)

    def eni_show(self, name: str) -> Answer:
        """One ENI, and what it has of sessions if it is policed here."""
        from cipu_xdp.loader import sessions

        found = show.eni(self._instance.model(), name)
        return {**found, "sessions": sessions.seen_of(self._instance.place, found["number"])}

    def _told(self, model: Model, name: str) -> Answer:
        from cipu_xdp.loader import choice

        return {**show.eni(model, name), "notes": choice.eni_notes(model.enis[name], links.links())}


def check_dev(tried: str, attachment: "Attachment", dev: str | None, hook: str | None) -> None:
    """A device must be there and Ethernet; XDP on it needs an uplink that takes redirects."""
    if dev is not None:
        require(tried, present(dev, attachment.links.get(dev)))
    if hook == "xdp" and not attachment.hooks.has_program("tenant_xdp"):
        raise BadInput(
            tried,
            "no uplink is attached with XDP, which --hook xdp redirects to",
            "Use --hook tc, or attach the uplink with --hook xdp.",
        )
