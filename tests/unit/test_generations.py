"""Names in the store: every group and topic has its own prefix, valid in any store."""

from __future__ import annotations

from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from detector.core.recovery.committed import check_end
from detector.core.recovery.generations import cluster_of, store_prefix
from detector.errors import NeedsOperator
from detector.shell.store import FsspecStore

GROUPS = st.text(min_size=1, max_size=200)
TOPICS = st.from_regex(r"[A-Za-z0-9._-]{1,249}", fullmatch=True)
LONGEST = "manifests/00007/12345678901234567890-123456789abc.state"


@given(GROUPS, TOPICS)
@example("é" * 200, "t" * 249)
@example("\N{GRINNING FACE}" * 200, "t")
@example(".", "..")
@example("..", ".")
@example(".tmp-x", ".tmp-x")
def test_every_legal_name_gives_a_valid_prefix(group: str, topic: str) -> None:
    prefix = store_prefix(group, topic)
    assert prefix.isascii()
    assert len(prefix + LONGEST) <= 1024
    first, second, end = prefix.split("/")
    assert end == ""
    for part in (first, second):
        assert 0 < len(part) < 255
        assert part not in (".", "..")
        assert not part.startswith(".tmp-")


@given(GROUPS, GROUPS)
@example("a" * 199 + "é" * 1, "a" * 199 + "è" * 1)
@example("é" * 200, "é" * 199 + "è")
@example(".", "%2E")
def test_no_two_groups_share_a_prefix(one: str, other: str) -> None:
    assert (store_prefix(one, "t") == store_prefix(other, "t")) == (one == other)


@pytest.mark.parametrize(
    ("group", "topic"), [(".", ".."), ("é" * 200, "t" * 249), (".tmp-", "."), ("a/../b", "x"), ("..", "a")]
)
def test_a_store_accepts_the_prefixes(group: str, topic: str, tmp_path: Path) -> None:
    store = FsspecStore(str(tmp_path))
    prefix = store_prefix(group, topic)
    store.put(prefix + LONGEST, b"x")
    assert store.list(prefix) == [prefix + LONGEST]
    assert store.get(prefix + LONGEST) == b"x"


@given(st.text(max_size=64), st.text(max_size=64))
@example("a", "A")
@example("", "cluster-")
def test_no_two_clusters_share_a_prefix(one: str, other: str) -> None:
    prefixes = [store_prefix("g", "t", cluster) for cluster in (one, other)]
    assert (prefixes[0] == prefixes[1]) == (one == other)
    assert len(store_prefix("\N{GRINNING FACE}" * 200, "t" * 249, one) + LONGEST) <= 1024
    if len(quote(one, safe="")) <= 249:
        assert cluster_of(prefixes[0].removeprefix("g/t/") + LONGEST) == one


def test_usual_names_stay_readable() -> None:
    assert store_prefix("g", "t", "5L6g3nShT-eMCtK--X86sw") == "g/t/cluster-5L6g3nShT-eMCtK--X86sw/"
    assert store_prefix("group/1", "transactions.v2") == "group%2F1/transactions.v2/"
    assert store_prefix("g" * 200, "t" * 249) == f"{'g' * 200}/{'t' * 249}/"


def test_the_log_must_reach_to_the_committed_offset() -> None:
    check_end(7, partition=0, group="g", end=7)
    with pytest.raises(
        NeedsOperator, match=r"partition 3: group 'g' has committed offset 8, .* ends at 7 now"
    ):
        check_end(8, partition=3, group="g", end=7)
