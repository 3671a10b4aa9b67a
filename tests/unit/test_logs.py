"""Every line is whole, has time, level and event, whichever library wrote it, and contains no secret."""

from __future__ import annotations

import io
import json
import logging
import sys
import warnings
from collections import Counter
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from detector.shell.logs import EVENT_LINES_MAX, LIBRARY_LINES_MAX, WINDOW_S, Limit, configure, get_logger

pytestmark = pytest.mark.usefixtures("logging_restored")

SECRET = "p4ss'w/rd\\é"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


class Hostile:
    def __repr__(self) -> str:
        raise RuntimeError("no")


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def written(secrets: tuple[str, ...] = (), **values: object) -> dict[str, Any]:
    stream = io.StringIO()
    configure(stream=stream, secrets=secrets)
    get_logger("detector.test").info("tried", **values)
    (line,) = lines(stream)
    return line


def test_a_line_has_time_level_logger_and_event() -> None:
    line = written(partition=3, share=0.5, name="x", known=True, missing=None)
    assert abs(datetime.fromisoformat(line.pop("timestamp")) - datetime.now(UTC)) < timedelta(seconds=10)
    assert line == {
        "level": "info",
        "logger": "detector.test",
        "event": "tried",
        "partition": 3,
        "share": 0.5,
        "name": "x",
        "known": True,
        "missing": None,
    }


@pytest.mark.parametrize("level", ["debug", "info", "warning", "error"])
def test_nothing_below_the_level_is_written(level: str) -> None:
    stream = io.StringIO()
    configure(level=level, stream=stream)  # type: ignore[arg-type]
    log = get_logger("detector.test")
    for write in (log.debug, log.info, log.warning, log.error):
        write("tried")
    levels = ["debug", "info", "warning", "error"]
    assert [line["level"] for line in lines(stream)] == levels[levels.index(level) :]


@pytest.mark.parametrize("level", ["debug", "error"])
def test_libraries_use_the_same_pipe_but_only_from_warning_on(level: str) -> None:
    stream = io.StringIO()
    configure(level=level, stream=stream)  # type: ignore[arg-type]
    library = logging.getLogger("kafka.conn")
    library.debug("bytes")
    library.info("connected")
    library.warning("lost %s after %d s", "b1", 3)
    library.error("gone")
    warning = [("warning", "lost b1 after 3 s")] if level == "debug" else []
    assert [(line["level"], line["event"]) for line in lines(stream)] == [*warning, ("error", "gone")]
    assert all(line["logger"] == "kafka.conn" and "timestamp" in line for line in lines(stream))


def test_python_warnings_are_lines_too() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning("old", DeprecationWarning, "file.py", 1)
    (line,) = lines(stream)
    assert "DeprecationWarning: old" in line["event"]


def test_an_exception_is_in_the_line_with_its_causes() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    try:
        try:
            raise KeyError("inner")
        except KeyError as error:
            raise ValueError("outer") from error
    except ValueError:
        get_logger("detector.test").exception("failed", partition=1)
    (line,) = lines(stream)
    assert (line["level"], line["partition"]) == ("error", 1)
    assert "KeyError: 'inner'" in line["exception"]
    assert "ValueError: outer" in line["exception"]


@pytest.mark.parametrize(
    "value",
    [
        SECRET,
        f"sasl://me:{SECRET}@host",
        "sasl://me:p4ss%27w%2Frd%5C%C3%A9@host",
        {"a": [{"password": SECRET}]},
        {SECRET: 1},
        ("x", {SECRET}),
        SECRET.encode(),
        ValueError(SECRET),
        "long" * 5000 + SECRET,
        ("x" * 16_380) + SECRET,
    ],
)
def test_secrets_are_masked_wherever_they_are(value: object) -> None:
    line = written(secrets=("", "other", SECRET), value=value)
    assert "p4ss" not in json.dumps(line)


def test_a_secret_is_masked_in_events_numbers_tracebacks_and_libraries() -> None:
    stream = io.StringIO()
    configure(stream=stream, secrets=(SECRET, "271828"))
    log = get_logger("detector.test")
    log.info(f"hello {SECRET}", number=271828)
    try:
        raise ValueError(f"bad password {SECRET}")
    except ValueError:
        log.exception("failed")
        logging.getLogger("kafka").exception("failed with %s", SECRET)
    assert "p4ss" not in stream.getvalue()
    assert "271828" not in stream.getvalue()
    assert [line["event"] for line in lines(stream)] == ["hello ***", "failed", "failed with ***"]


def test_of_two_secrets_the_longer_is_masked_whole() -> None:
    assert written(secrets=("abc", "abcdef"), value="abcdef abc")["value"] == "*** ***"


@pytest.mark.parametrize(
    ("value", "shown"),
    [
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (np.int64(3), 3),
        (np.float32(0.5), 0.5),
        ("two\nlines", "two\nlines"),
        ("\ud800", "\\ud800"),
        (b"\xff", "b'\\xff'"),
        ((1, 2), [1, 2]),
        ({1: "a"}, {"1": "a"}),
        (Hostile(), "<Hostile without repr: RuntimeError>"),
    ],
)
def test_any_value_gives_one_line_of_valid_json(value: object, shown: object) -> None:
    assert written(value=value)["value"] == shown


def test_the_length_of_a_line_is_limited() -> None:
    endless: list[object] = []
    endless.append(endless)
    deep: dict[str, object] = {}
    for _ in range(500):
        deep = {"deeper": deep}
    line = written(text="x" * 10**6, many=list(range(10**5)), endless=endless, deep=deep, huge=10**5000)
    assert len(json.dumps(line)) < 100_000


@pytest.mark.parametrize(
    ("stream", "format", "is_json"),
    [
        (io.StringIO, "auto", True),
        (Terminal, "auto", False),
        (Terminal, "json", True),
        (io.StringIO, "console", False),
    ],
)
def test_people_get_text_and_machines_json(stream: type[io.StringIO], format: str, is_json: bool) -> None:
    out = stream()
    configure(format=format, stream=out, secrets=(SECRET,))  # type: ignore[arg-type]
    try:
        raise ValueError(SECRET)
    except ValueError:
        get_logger("detector.test").exception("failed", partition=3)
    assert out.getvalue().startswith("{") == is_json
    assert "failed" in out.getvalue()
    assert "ValueError: ***" in out.getvalue()
    assert "p4ss" not in out.getvalue()


def test_the_last_configuration_counts_also_for_loggers_made_before() -> None:
    log = get_logger("detector.test")
    first, second = io.StringIO(), io.StringIO()
    configure(stream=first)
    log.info("one")
    configure(stream=second)
    log.info("two")
    assert [line["event"] for line in lines(first) + lines(second)] == ["one", "two"]


def test_standard_error_is_the_default(capsys: pytest.CaptureFixture[str]) -> None:
    configure()
    get_logger("detector.test").info("tried")
    out, err = capsys.readouterr()
    assert out == ""
    assert json.loads(err)["event"] == "tried"
    assert not sys.stderr.isatty()


def test_secrets_in_urls_are_masked_without_being_named() -> None:
    line = written(reason="no answer from ftp://me:pw@host/x", urls=["az://c/x?sig=s3cret"])
    assert line["reason"] == "no answer from ftp://***@host/x"
    assert line["urls"] == ["az://c/x?***"]


def test_a_library_that_repeats_itself_is_cut_short_and_the_rest_counted() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    library = logging.getLogger("kafka.net.transport")
    for number in range(356):
        library.error("connection %d lost", number)
    configure(stream=io.StringIO())  # ends what was
    first, told = lines(stream)
    assert (first["level"], first["event"]) == ("error", "connection 0 lost")
    assert (told["event"], told["level"], told["lines"]) == ("log_lines_left_out", "warning", 355)
    assert told["sources"] == {"kafka.net.transport": 355}
    assert {"timestamp", "logger"} <= told.keys()


def test_what_people_did_is_never_left_out() -> None:
    stream = io.StringIO()
    configure(stream=stream)
    for number in range(50):
        get_logger("detector").info("act", actor="ann", feedback_id=f"f{number}")
    configure(stream=io.StringIO())
    assert [line["feedback_id"] for line in lines(stream)] == [f"f{number}" for number in range(50)]


def test_at_level_debug_nothing_is_left_out() -> None:
    stream = io.StringIO()
    configure(level="debug", stream=stream)
    for number in range(50):
        logging.getLogger("kafka.net").error("connection %d lost", number)
    assert len(lines(stream)) == 50


@given(
    st.lists(
        st.tuples(
            st.floats(-1.0, 5.0),  # s since the record before
            st.sampled_from(["kafka", "kafka.net.transport", "kafka.coordinator", "detector.shell.kafka"]),
            st.sampled_from([logging.INFO, logging.WARNING, logging.ERROR]),
            st.integers(0, 5),  # the template
        ),
        max_size=300,
    )
)
def test_a_window_shows_few_records_and_counts_the_others(
    found: list[tuple[float, str, int, int]],
) -> None:
    limit, now_s, left_out = Limit(), 1e9, 0
    shown = 0
    of_window: Counter[tuple[str, int]] = Counter()
    for step_s, name, level, template in found:
        now_s += step_s
        own = name.startswith("detector")
        record = logging.makeLogRecord(
            {"name": name, "levelno": level, "levelname": logging.getLevelName(level), "created": now_s}
            | {
                "msg": {"event": f"e{template}{level}"}
                if name.startswith("detector")
                else f"lost {template} %s"
            }
        )
        before = limit._began_s
        left_out += sum(limit.turn(record).values())
        if limit._began_s != before:
            assert not 0.0 <= now_s - before < WINDOW_S
            of_window.clear()
        if limit.shows(record):
            shown += 1
            if level < logging.ERROR or not own:
                of_window[(str(template), level) if own else ("kafka", 0)] += 1
        else:
            assert not own or level < logging.ERROR
        assert all(
            number <= (LIBRARY_LINES_MAX if who == "kafka" else EVENT_LINES_MAX)
            for (who, _), number in of_window.items()
        )
    left_out += sum(limit.left_out().values())
    assert shown + left_out == len(found)
