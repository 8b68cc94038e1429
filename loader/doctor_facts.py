# SPDX-License-Identifier: Apache-2.0
"""What `doctor` knows before it judges: facts of the host, of devices and of what is attached.

Plain values, gathered in host_facts and device_facts and judged in doctor_host
and doctor_devices, so that a check can be tried on facts that were made up.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

from cipu_xdp.loader import netns
from cipu_xdp.loader.capacity import Use
from cipu_xdp.loader.foreign import Obstacle
from cipu_xdp.loader.nic import Nic
from cipu_xdp.loader.pins import Hooked
from cipu_xdp.loader.records import Address, Eni, Link, Uplink

PORT = 4789  # RFC 7348, 4.1
# What may be wrong with a file system.
READ_ONLY, FULL = "is read-only", "is full"


@dataclass(frozen=True, slots=True)
class Kernel:
    """The running kernel; `refused` says why of what it was asked to do and did not."""

    release: str
    refused: Mapping[str, str] = field(default_factory=dict)
    compiles: bool = True


@dataclass(frozen=True, slots=True)
class Tool:
    """Something that must be installed: what it is, and what is wrong with it ("": nothing).

    `tried` is False if that cannot be known.
    """

    name: str
    trouble: str = ""
    package: str = ""
    tried: bool = True


@dataclass(frozen=True, slots=True)
class Directory:
    """A file or directory that only its owner, root, may write, or even read.

    `trouble` says why its file system takes nothing ("": it does), and `root` where that begins.
    """

    path: str
    owner: int
    mode: int
    wanted: int = 0o700
    trouble: str = ""
    root: str = "/"


@dataclass(frozen=True, slots=True)
class Instance:
    """What there is of an instance in /run and among the pins.

    `trouble` says what is wrong with its record; `namespace` is True if the one
    it was attached in still exists; `here`, if it is the one that is asked.
    """

    name: str
    recorded: bool = True
    pinned: bool = True
    trouble: str = ""
    namespace: bool = True
    layouts: tuple[str, ...] = ()
    # Whether this version can carry over what is kept in them.
    known_layouts: bool = True
    here: bool = False
    uplinks: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Lab:
    """A lab that is not whole: what is wrong with it, and the command that takes it down."""

    name: str
    trouble: str
    mend: str


@dataclass(frozen=True, slots=True)
class Memory:
    """Bytes: what tables take at once and when they are full, and what there is.

    `limit` is what the control group of this process leaves, None for no limit.
    """

    at_once: int
    full: int
    available: int
    limit: int | None = None
    attached: bool = False


@dataclass(frozen=True, slots=True)
class Clock:
    """The clock that the kernel reads, and those it could."""

    current: str
    available: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Peer:
    """A veth's far end, and its namespace: the way into it, "" for this one, None if unknown.

    `offloads` are those that are on there, None if they cannot be read.
    """

    name: str
    netns: str | None = None
    offloads: frozenset[str] | None = None

    def command(self, words: str) -> str | None:
        """A command that is to be run where the far end is."""
        return None if self.netns is None else netns.inside(self.netns, words)


@dataclass(frozen=True, slots=True)
class Device:
    """A device as it stands. Of one that needs no XDP and is no uplink, `nic` is not asked for."""

    name: str
    link: Link | None = None
    up: bool = True
    carrier: bool = True
    nic: Nic = field(default_factory=Nic)
    obstacles: tuple[Obstacle, ...] = ()
    programs: frozenset[str] = frozenset()
    peer: Peer | None = None


@dataclass(frozen=True, slots=True)
class UplinkFacts:
    """A device as an uplink, or one that may become one.

    `vtep` is the address asked for, `uplink` what is configured and `hooked`
    what was attached, each None if there is none; `recorded` is False if that is
    not known. `vlans` lie above it, `users`
    are others who have its UDP port; `redirected` is True if XDP sends to it,
    `shaped` if there are limits to shape; `rp_filter` is None where it does not matter.
    `holder` is another device that has the VTEP, "" for none; `called` the name
    that the uplink has now, if it was attached under another.
    """

    device: Device
    vtep: Address | None = None
    uplink: Uplink | None = None
    hooked: Hooked | None = None
    holder: str = ""
    called: str = ""
    cpus: int = 1
    recorded: bool = True
    vlans: tuple[str, ...] = ()
    users: tuple[str, ...] = ()
    rp_filter: int | None = 0
    redirected: bool = False
    shaped: bool = False
    port: int = PORT


@dataclass(frozen=True, slots=True)
class EniFacts:
    """An ENI of this host; `known` is True if the datapath may redirect to its device.

    `xdp` is True if there is a program for ENIs whose hook is xdp.
    """

    eni: Eni
    device: Device
    known: bool = True
    xdp: bool = True
    again: str = ""


@dataclass(frozen=True, slots=True)
class Reach:
    """How the kernel would reach another host: by which device, which next hop, in what state.

    `dev` is None if it knows no way.
    """

    host: Address
    uplinks: frozenset[str]
    dev: str | None = None
    hop: str = ""
    failed: bool = False


@dataclass(frozen=True, slots=True)
class TableFacts:
    """The tables that are not in line with the model, those not looked at, how full all are."""

    instance: str
    astray: tuple[str, ...] = ()
    again: str = ""
    uses: tuple[Use, ...] = ()
    unread: tuple[str, ...] = ()
