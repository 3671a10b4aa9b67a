"""Checkpoints and their generations: damage of any byte is detected, and costs one generation."""

from __future__ import annotations

import hashlib
import io
import json
import tracemalloc
import zipfile
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as st_numpy
from numpy.typing import NDArray

from detector.core.recovery.checkpoint import FORMAT, Snapshot, encode, read_manifest, read_state
from detector.core.recovery.committed import NOWHERE, Place, check_side, place_of, read_journal, seal
from detector.core.recovery.generations import (
    expired,
    find_origin,
    folders,
    read_checkpoint,
    write,
)
from detector.core.recovery.journal import Barrier, Journal
from detector.core.recovery.sides import SideRange
from detector.core.state import digest, misfit, pack, unpack
from detector.errors import CheckpointDamaged, NeedsOperator
from detector.testing import MemoryStore

DTYPES = st.sampled_from([np.float64, np.float32, np.int64, np.uint64, np.uint8, np.bool_])
ARRAYS = DTYPES.flatmap(
    lambda dtype: st_numpy.arrays(
        dtype, st_numpy.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4)
    )
)
PLAIN = st.none() | st.booleans() | st.integers(0, 2**64) | st.floats(allow_nan=False) | st.text()
NAMES = st.from_regex(r"[a-z_]{1,8}", fullmatch=True)
TREES = st.recursive(
    st.dictionaries(NAMES, ARRAYS | PLAIN | st.lists(PLAIN, max_size=3), max_size=4),
    lambda trees: st.dictionaries(NAMES, trees | ARRAYS, max_size=3),
    max_leaves=4,
)


def same(left: Any, right: Any) -> bool:
    if isinstance(left, dict):
        return left.keys() == right.keys() and all(same(left[name], right[name]) for name in left)
    if isinstance(left, np.ndarray):
        equal = np.array_equal(left, right, equal_nan=left.dtype.kind == "f")
        return left.dtype == right.dtype and left.shape == right.shape and equal
    return bool(left == right)


def snapshot(position: int = 100, before: str = "", state: Any = None, partition: int = 3) -> Snapshot:
    barrier = Barrier(position=position, cause="side_input", sides={"feedback": SideRange(0, 5)})
    since = Journal(checkpoint=before, position=position - 100, config="abc", barriers=(barrier,))
    return Snapshot(
        partition=partition,
        position=position,
        since=since,
        config="abc",
        config_json='{"a": "é"}',
        entity_key_id="key",
        versions={"numpy": "2"},
        state={"position": position, "x": np.arange(3)} if state is None else state,
    )


# --- state --------------------------------------------------------------------------------------------------


@given(TREES)
def test_a_packed_state_is_read_back(tree: dict[str, Any]) -> None:
    data = pack(tree)
    assert same(unpack(data), tree)
    assert pack(dict(reversed(tree.items()))) == data


# --- one checkpoint -----------------------------------------------------------------------------------------


@settings(max_examples=25, deadline=None)
@given(TREES, st.integers(100, 2**62))
def test_a_checkpoint_is_read_back(tree: dict[str, Any], position: int) -> None:
    taken = snapshot(position, state=tree)
    name, head, body = encode(taken)
    manifest = read_manifest(head)
    assert same(read_state(manifest, body), tree)
    assert (manifest.name, manifest.position, manifest.since) == (name, position, taken.since)
    assert (manifest.partition, manifest.since.end("feedback")) == (3, 5)
    assert manifest.config_json == taken.config_json
    assert encode(taken) == (name, head, body)


@given(st.data())
def test_any_changed_byte_is_detected(data: st.DataObject) -> None:
    _, head, body = encode(snapshot())
    manifest = read_manifest(head)
    flip = data.draw(st.integers(1, 255))
    index = data.draw(st.integers(0, len(head) - 2))  # the last byte is a line's end
    with pytest.raises(CheckpointDamaged):
        read_manifest(head[:index] + bytes([head[index] ^ flip]) + head[index + 1 :])
    index = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(CheckpointDamaged):
        read_state(manifest, body[:index] + bytes([body[index] ^ flip]) + body[index + 1 :])


@given(st.data())
def test_any_truncation_is_detected(data: st.DataObject) -> None:
    _, head, body = encode(snapshot())
    manifest = read_manifest(head)
    with pytest.raises(CheckpointDamaged):
        read_manifest(head[: data.draw(st.integers(0, len(head) - 2))])
    with pytest.raises(CheckpointDamaged):
        read_state(manifest, body[: data.draw(st.integers(0, len(body) - 1))])


@given(st.binary(max_size=200))
def test_other_bytes_are_refused(data: bytes) -> None:
    with pytest.raises(CheckpointDamaged):
        read_manifest(data)
    with pytest.raises(CheckpointDamaged):
        unpack(data)


@pytest.mark.parametrize("body", ["Infinity", "[]", "null", '{"format": 1}', '{"format": 1, "since": 1}'])
def test_a_manifest_with_other_content_is_damaged_even_with_a_right_checksum(body: str) -> None:
    with pytest.raises(CheckpointDamaged):
        read_manifest(f"{body}\n{hashlib.sha256(body.encode()).hexdigest()}\n".encode())


@pytest.mark.parametrize(("at", "value"), [(8, 0x63), (8, 0x08), (6, 0x01)])
def test_an_archive_of_another_kind_is_damaged(at: int, value: int) -> None:
    """Unknown compression, wrong compression, or encryption."""
    data = bytearray(pack({"x": np.arange(3)}))
    for head, flags in ((b"PK\x03\x04", at), (b"PK\x01\x02", at + 2)):
        start = data.find(head)
        while start >= 0:
            data[start + flags] = value
            start = data.find(head, start + 4)
    with pytest.raises(CheckpointDamaged):
        unpack(bytes(data))


@pytest.mark.parametrize("version", [FORMAT - 1, FORMAT + 1])
def test_another_format_needs_another_version(version: int) -> None:
    _, head, _ = encode(snapshot())
    body = head.decode().rstrip("\n").rsplit("\n", 1)[0]
    body = json.dumps(json.loads(body) | {"format": version})
    seal = hashlib.sha256(body.encode()).hexdigest()
    with pytest.raises(NeedsOperator, match=f"format {version}"):
        read_manifest(f"{body}\n{seal}\n".encode())


def test_other_journals_or_configurations_give_other_names() -> None:
    taken = snapshot()
    since = replace(taken.since, barriers=(Barrier(position=50, cause="every"), *taken.since.barriers))
    others = [
        replace(taken, since=since),
        replace(taken, config="def"),
        replace(taken, versions={"numpy": "3"}),
    ]
    names = {encode(each)[0] for each in [taken, *others]}
    assert len(names) == 4
    assert len({encode(each)[2] for each in [taken, *others]}) == 1


# --- generations --------------------------------------------------------------------------------------------


@pytest.fixture
def store() -> MemoryStore:
    return MemoryStore()


def generations(store: MemoryStore, count: int) -> list[str]:
    """Write a chain of checkpoints at 100, 200, ...; returns their names."""
    names = [""]
    for number in range(1, count + 1):
        names.append(write(snapshot(100 * number, names[-1]), store.put))
    return names[1:]


def committed(name: str, position: int) -> Journal:
    barrier = Barrier(position=position + 50, cause="every", sides={"feedback": SideRange(5, 7)})
    return Journal(
        checkpoint=name, position=position, config="abc", sides={"feedback": 5}, barriers=(barrier,)
    )


def test_the_newest_checkpoint_is_the_origin(store: MemoryStore) -> None:
    journal = committed(generations(store, 3)[-1], 300)
    origin = find_origin(journal, store.get, partition=3, beginning=300)
    assert origin.journal == journal
    assert origin.damages == ()
    assert origin.restored is not None
    assert origin.restored[1]["position"] == 300


@settings(max_examples=60)
@given(st.data())
def test_damage_of_any_one_object_leaves_an_origin(data: st.DataObject) -> None:
    store = MemoryStore()
    names = generations(store, 3)
    journal = committed(names[-1], 300)
    victim = data.draw(st.sampled_from(sorted(store.objects)))
    getattr(store, data.draw(st.sampled_from(["tear", "corrupt", "lose"])))(victim)
    origin = find_origin(journal, store.get, partition=3, beginning=0)
    assert origin.journal.end("feedback") == 7
    assert [b.position for b in origin.journal.barriers][-1] == 350
    hit = victim == f"{names[-1]}.state"
    assert origin.journal.position == (200 if hit else 300)
    assert bool(origin.damages) == hit


def test_without_a_whole_checkpoint_recovery_starts_at_the_bare_start(
    store: MemoryStore,
) -> None:
    names = generations(store, 3)
    journal = committed(names[-1], 300)
    for name in names:
        store.corrupt(f"{name}.state", 50)
    origin = find_origin(journal, store.get, partition=3, beginning=0)
    assert origin.restored is None
    assert (origin.journal.checkpoint, origin.journal.position) == ("", 0)
    assert [b.position for b in origin.journal.barriers] == [100, 200, 300, 350]
    assert len(origin.damages) == len(origin.manifests) == 3
    with pytest.raises(NeedsOperator, match=r"needs the log from offset 200, .* 250 now \(.*does not match"):
        find_origin(journal, store.get, partition=3, beginning=250)


def test_the_manifest_of_another_checkpoint_is_refused(store: MemoryStore) -> None:
    names = generations(store, 2)
    for place in ("{}.json", "manifests/{}.json"):
        store.objects[place.format(names[1])] = store.objects[place.format(names[0])]
    with pytest.raises(NeedsOperator, match="belongs to"):
        find_origin(committed(names[1], 200), store.get, partition=3, beginning=0)


@pytest.mark.parametrize("keep", [2, 3, 10])
def test_older_and_unnamed_generations_expire(store: MemoryStore, keep: int) -> None:
    names = generations(store, 5)
    unnamed = write(snapshot(250, names[1]), store.put)  # written by a replica that lost its partition
    ahead = write(snapshot(550, names[4]), store.put)  # written by the next owner, about to be committed
    found = [name for folder in folders(3) for name in store.list(folder)]
    gone = expired(found, committed(names[4], 500), store.get, keep=keep)
    for name in gone:
        store.delete(name)
    left = {name.removesuffix(".state") for name in store.objects if name.endswith(".state")}
    assert left == {*names[-keep:], ahead}
    assert unnamed not in left
    assert len(store.objects) == 3 * len(left)
    assert [name.endswith(".state") for name in gone] == sorted(name.endswith(".state") for name in gone)


def test_nothing_expires_if_the_chain_cannot_be_read(store: MemoryStore) -> None:
    names = generations(store, 5)
    store.lose(f"{names[3]}.json")
    store.lose(f"manifests/{names[3]}.json")
    for keep in (2, 3):  # with 2 its name is known, but not what it builds on
        assert expired(store.list(""), committed(names[4], 500), store.get, keep=keep) == []
    assert expired(store.list(""), committed(names[4], 500), store.get, keep=1) != []


def test_a_committed_offset_needs_a_journal() -> None:
    journal = committed("", 0)
    assert read_journal(journal.to_text(), partition=0, group="g", offset=1 << 40) == journal
    with pytest.raises(NeedsOperator, match="something else committed it"):
        read_journal("", partition=0, group="g", offset=1)


def test_side_records_that_a_replay_needs_must_exist() -> None:
    journal = committed("", 0)
    check_side(journal, "feedback", partition=0, beginning=5)
    with pytest.raises(NeedsOperator, match="begins at 6 now"):
        check_side(journal, "feedback", partition=0, beginning=6)
    with pytest.raises(NeedsOperator, match=r"set topics\.feedback again"):
        check_side(journal, "feedback", partition=0, beginning=None)
    bare = Journal(checkpoint="", position=0, config="", sides={"feedback": 9})
    check_side(bare, "feedback", partition=0, beginning=None)


@given(
    array=st_numpy.arrays(
        st.sampled_from([np.dtype("f4"), np.dtype("u8"), np.dtype("i1")]),
        st.integers(1, 200),
        elements=st.integers(-5, 5).map(abs),
    ),
    data=st.data(),
)
@settings(max_examples=200, deadline=None)
def test_a_change_of_any_bit_changes_the_hash(array: NDArray[Any], data: st.DataObject) -> None:
    changed = array.copy()
    bytes_ = changed.view(np.uint8)
    bytes_[data.draw(st.integers(0, len(bytes_) - 1))] ^= np.uint8(1 << data.draw(st.integers(0, 7)))
    assert digest({"a": array}) == digest({"a": array.copy()})
    assert digest({"a": array}) != digest({"a": changed})
    assert digest({"a": array}) != digest({"b": array})
    assert digest({"a": array}) != digest({"a": np.append(array, array.dtype.type(0))})


@pytest.mark.parametrize(
    "changes",
    [
        {"last": np.zeros(2)},
        {"stats": np.zeros(3)},
        {"stats": np.zeros((2, 2))},
        {"stats": np.zeros((3, 2), dtype=">f4")},
        {"keys": np.ones(3, dtype=np.float32)},
        {"keys": 7},
        {"last": {}},
    ],
)
def test_a_table_of_another_form_is_hashed_as_any_tree_is(changes: dict[str, Any]) -> None:
    """Compiled code would read beyond its arrays, or fail."""
    table = {
        "slots": 16,
        "used": np.arange(3),
        "keys": np.arange(1, 4, dtype=np.uint64),
        "last": np.zeros(3),
        "stats": np.zeros((3, 2)),
    }
    assert digest({"t": table}) == digest({"t": table | {"used": np.arange(3) + 1}})  # in any order
    assert digest({"t": table | changes}) != digest({"t": table})


def test_every_byte_of_an_array_counts() -> None:
    found = set()
    for at in range(8 * 150):
        data = np.zeros(150, dtype=np.uint8)
        data[at // 8] = 1 << at % 8
        found.add(digest({"a": data}))
    assert len(found) == 8 * 150


# --- what cannot be true ------------------------------------------------------------------------------------


def refused(metadata: str, offset: int = 350, here: Place = NOWHERE) -> str:
    with pytest.raises(NeedsOperator) as caught:
        read_journal(metadata, partition=3, group="g", offset=offset, here=here)
    return str(caught.value)


def journal_text(**changes: Any) -> str:
    name = f"00003/{300:020d}-0123456789ab"
    return json.dumps(json.loads(committed(name, 300).to_text()) | changes)


HERE = Place(cluster="cluster-a", topic="topic-a", entity_key="key-a", sides={"feedback": "side-a"})


def test_a_sealed_journal_is_read_where_it_was_made() -> None:
    text = seal(journal_text(), 350, HERE)
    assert read_journal(text, partition=3, group="g", offset=350, here=HERE) == Journal.from_text(text)
    assert place_of(text) == replace(HERE, sides={"exchange": "", "feedback": "side-a"})
    assert len(text) <= len(journal_text()) + HERE.bytes_max


@given(st.text(max_size=40), st.integers(0, (1 << 63) - 1))
def test_a_seal_is_never_larger_than_its_bound(id_: str, offset: int) -> None:
    place = Place(cluster=id_, topic=id_, entity_key=id_, sides={"feedback": id_, "exchange": id_})
    assert len(seal("{}", offset, place)) <= 2 + place.bytes_max
    assert place_of(seal('{"v":1}', offset, place)) == place


@pytest.mark.parametrize("offset", [0, 200, 349, 351, 10**6])
def test_an_offset_that_was_moved_under_its_journal_is_refused(offset: int) -> None:
    """A mirrored cluster did that, and 2,900 events were published twice."""
    assert "was committed with offset 350" in refused(seal(journal_text(), 350, HERE), offset)


def test_a_barrier_beyond_the_offset_is_refused() -> None:
    assert "goes on to 350" in refused(journal_text(), 349)
    assert "goes on to 400" in refused(journal_text(p=400, b=[]), 349)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"cluster": "cluster-b"}, "journal of cluster cluster-a, but this is cluster cluster-b"),
        ({"topic": "topic-b"}, "another topic of the same name"),
        ({"entity_key": "key-b"}, "use the same entity_key"),
        ({"sides": {"feedback": "side-b"}}, r"another topics.feedback of the same name"),
    ],
)
def test_a_journal_of_another_place_is_refused(change: dict[str, Any], words: str) -> None:
    assert words in refused(seal(journal_text(), 350, HERE), here=replace(HERE, **change))


def test_ids_that_are_not_known_and_topics_that_were_never_applied_agree_with_any() -> None:
    for made, here in ((NOWHERE, HERE), (HERE, NOWHERE)):
        read_journal(seal(journal_text(), 350, made), partition=3, group="g", offset=350, here=here)
    bare = Journal(checkpoint="", position=300, config="abc").to_text()
    anew = replace(HERE, sides={"feedback": "side-b"})
    read_journal(seal(bare, 350, HERE), partition=3, group="g", offset=350, here=anew)


def test_the_checkpoint_of_another_partition_is_refused() -> None:
    assert "not of this partition" in refused(journal_text(k=f"00002/{300:020d}-0123456789ab"))


@pytest.mark.parametrize(
    "change",
    [
        {"k": "../../etc/passwd"},
        {"k": f"00003/../00002/{300:020d}-0123456789ab"},
        {"k": "00003/300"},
        {"k": "x" * 5000},
        {"c": "../config"},
        {"h": "/"},
        {"p": -1},
        {"p": 1 << 63},
        {"p": 10**400},
        {"s": [-1]},
        {"b": [[-1]]},
        {"b": [[1 << 63]]},
        {"b": [[1, 2, "c../../x"]]},
        {"o": -1},
        {"o": "350"},
        {"w": "cluster"},
        {"w": [1]},
        {"w": ["x" * 65]},
        {"w": ["x"] * 9},
        {"v": "1" * 3000},
    ],
)
def test_what_no_journal_says_is_refused_with_a_sentence(change: dict[str, Any]) -> None:
    assert len(refused(journal_text(**change))) < 500


def test_a_manifest_with_another_content_than_its_name_says_is_damaged() -> None:
    """Who can write to the store cannot change a state that the group has committed."""
    store = MemoryStore()
    name = write(snapshot(), store.put)
    state = pack({"x": np.arange(7)})
    changes = {"state_bytes": len(state), "state_sha256": hashlib.sha256(state).hexdigest()}
    store.objects[f"{name}.state"] = state
    tampered(store, name, changes)
    with pytest.raises(CheckpointDamaged, match="its content belongs to the name"):
        read_checkpoint(name, store.get)


def tampered(store: MemoryStore, name: str, changes: dict[str, Any]) -> None:
    """Change a manifest, and make its checksum right again."""
    for place in (f"{name}.json", f"manifests/{name}.json"):
        document = json.loads(store.objects[place].rsplit(b"\n", 2)[0]) | changes
        body = json.dumps(document)
        store.objects[place] = f"{body}\n{hashlib.sha256(body.encode()).hexdigest()}\n".encode()


def test_states_that_this_version_cannot_load_are_told_in_a_sentence_of_bounded_length(
    store: MemoryStore,
) -> None:
    """Another version may have left them, and how many there are does not matter."""
    names = generations(store, 8)
    store.lose(f"{names[0]}.json")
    store.lose(f"manifests/{names[0]}.json")
    refused = dict.fromkeys(names, "its state cannot be loaded")
    with pytest.raises(NeedsOperator, match="run the version that wrote it") as refusal:
        find_origin(committed(names[-1], 800), store.get, partition=3, beginning=0, refused=refused)
    assert str(refusal.value).count("cannot be loaded") == 2
    assert "; 5 more; " in str(refusal.value)
    assert f"manifests/{names[0]}.json: it is missing" in str(refusal.value)


@pytest.mark.parametrize(
    "change",
    [
        {"position": 400},
        {"position": "300"},
        {"position": -1},
        {"partition": 2},
        {"partition": None},
        {"name": "../../x"},
        {"state_bytes": -1},
        {"state_bytes": 1 << 62},
        {"state_bytes": "many"},
        {"state_sha256": 7},
        {"versions": []},
        {"config_json": {}},
        {"since": "{}"},
        {"since": 7},
        {"states": 7},
        {"states": [[]]},
        {"format": []},
        {"more": 1},
    ],
)
def test_a_manifest_that_cannot_be_true_is_refused(store: MemoryStore, change: dict[str, Any]) -> None:
    name = generations(store, 2)[-1]
    tampered(store, name, change)
    with pytest.raises(NeedsOperator, match=r"no usable checkpoint|has format"):
        find_origin(committed(name, 200), store.get, partition=3, beginning=0, committed=True)


def test_a_checkpoint_at_another_position_than_the_committed_journal_names_is_refused(
    store: MemoryStore,
) -> None:
    name = generations(store, 2)[-1]
    with pytest.raises(NeedsOperator, match=r"begins at 150 .* partition 3 at 200"):
        find_origin(committed(name, 150), store.get, partition=3, beginning=0, committed=True)


def zipped(members: dict[str, bytes], **how: Any) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", **how) as archive:
        for name, data in members.items():
            archive.writestr(name, data)
    return buffer.getvalue()


def array(header: str, data: bytes = b"") -> bytes:
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header.encode() + data


HEADER = "{{'descr': '{}', 'fortran_order': False, 'shape': {}, }}\n"
MEMBER = {"plain.json.npy": array(HEADER.format("|u1", "(2,)"), b"{}")}


@pytest.mark.parametrize(
    "data",
    [
        *(
            zipped(
                MEMBER
                | {"x.npy": array(f"{{'descr': '{kind}', 'fortran_order': False, 'shape': {shape}, }}")}
            )
            for kind, shape in [
                ("<f8", "(1 << 40,)"),
                ("<f8", "(1099511627776,)"),
                ("<f8", "(9999999999999999999, 9999999999999999999)"),
                ("<f8", "(-1,)"),
                ("<f8", "3"),
                ("|O", "(0,)"),
                ("|V9", "(0,)"),
                ("<i3", "(0,)"),
                ("<f1", "(0,)"),
            ]
        ),
        zipped(MEMBER | {"x.npy": array("(" * 5000)}),
        zipped(MEMBER | {"x.npy": b"\0" * 10}),
        zipped(MEMBER | {"x.txt": b"text"}),
        zipped(MEMBER | {"a/" * 17 + "x.npy": MEMBER["plain.json.npy"]}),
        zipped(MEMBER | {"x.npy": b"\0" * 30_000_000}, compression=zipfile.ZIP_DEFLATED),
        zipped({}),
    ],
)
def test_a_state_is_checked_before_anything_is_allocated(data: bytes) -> None:
    tracemalloc.start()
    with pytest.raises(CheckpointDamaged):
        unpack(data)
    assert tracemalloc.get_traced_memory()[1] < 1 << 20
    tracemalloc.stop()


def test_lists_that_take_thirty_times_their_size_in_memory_are_refused() -> None:
    data = pack({"x": [[] for _ in range(1000)]})
    assert len(unpack(data)["x"]) == 1000
    with pytest.raises(CheckpointDamaged, match="items"):
        unpack(data, items_max=1000)


@pytest.mark.parametrize("name", ["a", "a/b", "a/b/c"])
def test_a_name_that_is_a_value_and_a_folder_is_refused(name: str) -> None:
    text = json.dumps({name: 1, f"{name}/b/c/d": 2}).encode()
    header = HEADER.format("|u1", f"({len(text)},)")
    with pytest.raises(CheckpointDamaged):
        unpack(zipped({"plain.json.npy": array(header, text)}))


def test_the_form_of_a_state_is_that_of_a_new_component() -> None:
    like = {"a": np.zeros((0, 3)), "b": np.zeros(4, np.float32), "n": 1, "f": 1.0, "later": {}, "none": None}
    given = {**like, "a": np.ones((5, 3)), "later": {"x": np.zeros(2)}, "none": 7}
    assert misfit(given, like) == ""
    wrong = {
        "a": [np.ones((5, 2)), np.ones(5), np.ones((5, 3), np.float32), 3],
        "b": [np.zeros(3, np.float32), np.zeros((0,), np.float32)],
        "n": [None, "1", True, 1.5, np.zeros(1)],
        "f": ["x", None],
    }
    for name, values in wrong.items():
        for value in values:
            assert name in misfit({**given, name: value}, like), (name, value)
    assert misfit({name: value for name, value in given.items() if name != "b"}, like) == "b is missing"


def test_whole_numbers_longer_than_64_bits_are_for_random_generators_only() -> None:
    """Compiled code had failed on them, after the state was loaded."""
    like = {"count": 0, "generator": 1 << 100}
    for number in (-(1 << 63), (1 << 64) - 1):
        assert misfit({"count": number, "generator": 1 << 127}, like) == ""
    for number in (-(1 << 63) - 1, 1 << 64, 10**400):
        assert "count is a whole number of" in misfit({"count": number, "generator": 1}, like)
