"""Effects of sudden shifts on alert rate and detection, and the quality of the first scores.

    python -m benchmarks.quality.drift [--customers 5000] [--seeds 7 8 9]

Shifts of simulated traffic, by the default configuration: after some days (warm) prices double, or a tenth of
the terminals get a merchant category never seen before, or a fifth of the transactions move to the night, or
all of it at once; and no shift, for comparison. All start from the same model. Over all seeds together:

    alerts / budget      published alerts, in multiples of the budget (.1 % of events): over the last two days
                         before the shift, and each of the days after it
    candidates           events that reach the threshold, in the same multiples, on the first day after it
    back after           events until the alert rate over two days' events is within .7 to 1.3 times the
                         budget and stays there
    accepted             share of events learned from as normal, on the first and on the last day
    AP, recall           of the simulator's frauds by amount (scenarios 1 and 3) in the last three days, by
                         score and by published alerts, to compare with the run without a shift

Cold start: 500 customers and 20 times the Handbook's frauds, so that the first hours have some; average
precision and AUC by range of events, and the share of frauds, means over seeds.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.quality.drive import Driven, configuration, in_a_copy, simulated
from benchmarks.quality.metrics import FloatArray, average_precision, roc_auc
from detector.demo.simulation.handbook import TERMINAL, SimulationConfig

CATEGORY = {"name": "category", "path": "MERCHANT_CATEGORY", "type": "categorical"}
CATEGORIES = 20
BUDGET_SHARE = 0.001
WITHIN = (0.7, 1.3)
STEP_EVENTS = 1024
BLOCK_EVENTS = 256
STILL = {"drift_price_factor": 1.0, "drift_night_share": 0.0, "drift_category_share": 0.0}
SHIFTS: dict[str, Mapping[str, float]] = {
    "none": STILL,
    "prices double": {**STILL, "drift_price_factor": 2.0},
    "new category": {**STILL, "drift_category_share": 0.1},
    "night": {**STILL, "drift_night_share": 0.2},
    "all three": {},
}
COLD_FROM = (256, 300, 500, 1000, 2000, 4096, 8192)
COLD_TO = 16_384


class Trace:
    """Results of each event: arrays of equal length, (n,)."""

    def __init__(self) -> None:
        self.score: list[FloatArray] = []
        self.flags: dict[str, list[Any]] = {"alert": [], "candidate": [], "accepted": [], "fraud": []}

    def feed(self, driven: Driven, events: Sequence[Mapping[str, Any]], fraud: Any) -> None:
        """Drive the model block by block."""
        for start in range(0, len(events), BLOCK_EVENTS):
            piece = slice(start, start + BLOCK_EVENTS)
            trim, threshold = driven.trim, driven.threshold
            fed = driven.feed(events[piece])
            self.score.append(fed.score)
            for name, value in (
                ("alert", fed.alert),
                ("candidate", fed.score >= threshold),
                ("accepted", fed.score <= trim),
                ("fraud", fraud[piece]),
            ):
                self.flags[name].append(value)

    def columns(self) -> dict[str, list[Any]]:
        """Everything as lists, for JSON."""
        flags = {name: np.concatenate(values).tolist() for name, values in self.flags.items()}
        return {"score": np.concatenate(self.score).tolist(), **flags}


def shifted(
    seed: int, customers: int, days_before: int, days_after: int
) -> tuple[dict[str, Any], dict[str, dict[str, Any]]]:
    """Columns before the shift, and after each one, of one seed."""
    simulation = {
        "seed": seed,
        "customers": customers,
        "categories": CATEGORIES,
        "days": days_before + days_after,
        "drift_day": days_before,
    }
    driven, before, after = Driven(configuration([CATEGORY])), Trace(), {}
    for name, settings in SHIFTS.items():
        config = SimulationConfig(**simulation, **settings)  # type: ignore[arg-type]
        events, scenario = simulated(config)
        fraud = (scenario > 0) & (scenario != TERMINAL)
        boundary = sum(event["TX_DATETIME"] < _iso_day(config, days_before) for event in events)
        boundary -= boundary % BLOCK_EVENTS  # the rest of a block belongs to what follows
        if not driven.position:
            before.feed(driven, events[:boundary], fraud[:boundary])

        def rest(events: Any = events[boundary:], fraud: Any = fraud[boundary:]) -> dict[str, list[Any]]:
            trace = Trace()
            trace.feed(driven, events, fraud)
            return trace.columns()

        after[name] = _arrays(in_a_copy(rest))
    return _arrays(before.columns()), after


def _iso_day(config: SimulationConfig, day: int) -> str:
    moment = np.datetime64(config.start_time + 86_400 * day, "s")
    return f"{np.datetime_as_string(moment)}Z"


def _arrays(columns: Mapping[str, list[Any]]) -> dict[str, Any]:
    return {name: np.array(values) for name, values in columns.items()}


def rate(runs: Sequence[Mapping[str, Any]], column: str, window: slice) -> float:
    """Mean of a flag over a window of events, over all runs, in multiples of the budget."""
    return float(np.mean(np.concatenate([run[column][window] for run in runs]))) / BUDGET_SHARE


def back_after(runs: Sequence[Mapping[str, Any]], window_events: int) -> int | None:
    """Events until the alert rate stays within bounds; None: not within this run."""
    length = min(len(run["alert"]) for run in runs)
    back: int | None = None
    for start in range(0, length - window_events + 1, STEP_EVENTS):
        inside = WITHIN[0] <= rate(runs, "alert", slice(start, start + window_events)) <= WITHIN[1]
        back = (start if back is None else back) if inside else None
    return back


def cold_start(seed: int) -> tuple[list[tuple[float, float, float]], tuple[int, int, int]]:
    """Average precision, AUC and fraud share by range; alerts in the warm-up, marked in it, marked later."""
    config = SimulationConfig(
        seed=seed,
        customers=500,
        events=COLD_TO,
        terminal_share_per_day=0.0,
        customer_share_per_day=20 * 3 / 5_000,
    )
    events, scenario = simulated(config)
    model = configuration()
    fed, fraud = Driven(model).feed(events), scenario > 0
    warm_up = model.model.calibration.warm_up_events
    early = [body for body in fed.bodies if body["source"]["offset"] < warm_up]
    late = fed.bodies[len(early) :]
    rows = []
    for start, stop in zip(COLD_FROM, (*COLD_FROM[1:], COLD_TO), strict=True):
        label, score = fraud[start:stop], fed.score[start:stop]
        rows.append((average_precision(label, score), roc_auc(label, score), float(label.mean())))
    marked = [sum(body["score"]["warm_up"] for body in bodies) for bodies in (early, late)]
    return rows, (len(early), marked[0], marked[1])


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--customers", type=int, default=5_000)
    parser.add_argument("--days-before", type=int, default=5)
    parser.add_argument("--days-after", type=int, default=7)
    parser.add_argument("--seeds", type=int, nargs="+", default=[7, 8, 9])
    options = parser.parse_args()
    runs = [
        shifted(seed, options.customers, options.days_before, options.days_after) for seed in options.seeds
    ]
    _print_shifts(runs, options.days_before)
    print()
    _print_cold([cold_start(seed) for seed in options.seeds])


def _print_shifts(runs: Sequence[tuple[dict[str, Any], dict[str, dict[str, Any]]]], days_before: int) -> None:
    before = [run for run, _ in runs]
    day = len(before[0]["score"]) // days_before
    print(f"{len(runs)} seeds; a day has some {day:,} events, the budget is {BUDGET_SHARE * day:.1f} alerts")
    print("alerts in multiples of the budget")
    heads = (
        "shift",
        "before",
        "day 1",
        "day 2",
        "day 3",
        "4 to 7",
        "candid.",
        "back after",
        "accepted",
        "AP",
        "recall",
    )
    print(_line(heads))
    for name in SHIFTS:
        after = [runs_after[name] for _, runs_after in runs]
        back = back_after(after, 2 * day)
        days = [rate(after, "alert", slice(n * day, (n + 1) * day)) for n in range(3)]
        first, last = (
            np.mean([run["accepted"][part].mean() for run in after])
            for part in (slice(0, day), slice(-day, None))
        )
        tail = slice(-3 * day, None)
        ap = np.mean([average_precision(run["fraud"][tail], run["score"][tail]) for run in after])
        caught = sum((run["alert"] & run["fraud"])[tail].sum() for run in after)
        recall = caught / sum(run["fraud"][tail].sum() for run in after)
        numbers = [
            rate(before, "alert", slice(-2 * day, None)),
            *days,
            rate(after, "alert", slice(3 * day, None)),
        ]
        numbers.append(rate(after, "candidate", slice(0, day)))
        events = "not seen" if back is None else f"{back:,}"
        cells = (events, f"{first:.2f} {last:.2f}", f"{ap:.3f}", f"{recall:.3f}")
        print(_line((name, *(f"{number:.2f}" for number in numbers), *cells)))


def _print_cold(runs: Sequence[tuple[list[tuple[float, float, float]], tuple[int, int, int]]]) -> None:
    print(f"{'cold start':<16}{'AP':>6}{'AUC':>7}{'frauds':>8}")
    means = np.nanmean([rows for rows, _ in runs], axis=0)  # NaN for a seed without frauds in the range
    for start, stop, (ap, auc, share) in zip(COLD_FROM, (*COLD_FROM[1:], COLD_TO), means, strict=True):
        print(f"{start:>6,} - {stop:<7,}{ap:>6.2f}{auc:>7.2f}{100 * share:>6.1f} %")
    early, marked, late = np.sum([counts for _, counts in runs], axis=0)
    print(f"alerts in the warm-up: {early}, marked: {marked}; later ones that are marked: {late}")


def _line(cells: Sequence[str]) -> str:
    widths = (14, 7, 6, 6, 6, 7, 8, 11, 10, 6, 7)
    return "".join(
        f"{cell:<{w}}" if n == 0 else f"{cell:>{w}}"
        for n, (cell, w) in enumerate(zip(cells, widths, strict=True))
    )


if __name__ == "__main__":
    main()
