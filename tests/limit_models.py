# SPDX-License-Identifier: Apache-2.0
"""The part of random models that is rate limits, and what must hold of it.

As in models: small pools, so that verbs collide as often as they fit, and
invariants that do not call the rules.
"""

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st

from cipu_xdp.loader import model as verbs
from cipu_xdp.loader.model import Limit, Model

Verb = Callable[[Model], Model]

OWNERS = (*(("eni", name) for name in "abcd"), ("vpc", "red"), ("vpc", "blue"))
# Some of them do not fit: those without rate and pps, and what is shaped on ingress.
WORDS: tuple[dict[str, Any], ...] = (
    {},
    {"rate": "1kbit"},
    {"rate": "100mbit", "burst": "1mb", "ecn": True},
    {"rate": 10**12, "pps": 10**9},
    {"rate": "8mbit", "ceil": "1gbit"},
    {"rate": 1001, "ceil": 1002, "credit": 1},
    {"pps": 1},
    {"pps": "50k", "burst_packets": 7},
    {"rate": "12345678bit", "burst": 1514, "pps": "1.5m", "shape": True},
)

owners, words = st.sampled_from(OWNERS), st.sampled_from(WORDS)
directions = st.sampled_from(("ingress", "egress"))


def set_limit(owner: tuple[str, str], direction: str, said: dict[str, Any]) -> Verb:
    """A set_limit as a function of the model alone."""
    return lambda model: verbs.set_limit(model, *owner, direction, **said)


# How often each verb comes, and the verb.
KINDS: tuple[tuple[int, st.SearchStrategy[Verb]], ...] = (
    (6, st.builds(set_limit, owners, directions, words)),
    (1, st.builds(lambda o, d: lambda m: verbs.clear_limit(m, *o, d), owners, directions)),
    (1, st.builds(lambda o: lambda m: verbs.clear_limits(m, *o), owners)),
)


def assert_limits_whole(model: Model) -> None:
    """Fail if the limits of `model` break a rule."""
    numbers = [limit.number for limit in model.limits.values()]
    assert len(set(numbers)) == len(numbers)
    assert all(number >= 1 for number in numbers)
    for key, limit in model.limits.items():
        assert key == (limit.scope, limit.name, limit.direction)
        assert limit.name in {"eni": model.enis, "vpc": model.vpcs}[limit.scope]
        _assert_limit_fits(limit)


def _assert_limit_fits(limit: Limit) -> None:
    assert limit.direction in ("ingress", "egress")
    assert limit.rate_bps or limit.pps
    assert limit.burst_bytes is None or limit.rate_bps
    assert limit.burst_packets is None or limit.pps
    assert limit.credit_bytes is None or limit.ceil_bps
    assert limit.ceil_bps is None or limit.ceil_bps > (limit.rate_bps or limit.ceil_bps)
    assert limit.direction == "egress" or not limit.shape
