"""Writes the dashboards for Grafana 11.6: `python deploy/grafana/build.py`, with `--check` to compare only.

    --docs URL   where the documentation is served (docs/how-to/runbooks.md), for the links to runbooks

The panels are in service.py, alerts.py and drift.py. Tests check every query against the table of metrics.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # also when a test loads it

import alerts
import drift
import service
from grafana_foundation_sdk.builders import common, dashboard, prometheus, stat, table, timeseries
from grafana_foundation_sdk.cog.encoder import JSONEncoder
from grafana_foundation_sdk.models.common import (
    BigValueColorMode,
    GraphThresholdsStyleMode,
    LegendDisplayMode,
    LegendPlacement,
    StackingMode,
    TooltipDisplayMode,
)
from grafana_foundation_sdk.models.dashboard import (
    DashboardCursorSync,
    DashboardLinkType,
    DataSourceRef,
    GridPos,
    Threshold,
    ThresholdsMode,
    VariableRefresh,
)
from panel import Board, Panel

FOLDER = Path(__file__).parent
BOARDS: tuple[Board, ...] = (service.BOARD, alerts.BOARD, drift.BOARD)
DOCS = "https://docs.example.com/detector"
SOURCE = DataSourceRef(type_val="prometheus", uid="${datasource}")
COLUMNS = 24
ROW_HEIGHT = 1


def build(board: Board, docs: str = DOCS) -> str:
    """The JSON of a dashboard."""
    made = (
        dashboard.Dashboard(board.title)
        .uid(board.uid)
        .description(board.about)
        .tags(["detector"])
        .timezone("browser")
        .tooltip(DashboardCursorSync.CROSSHAIR)
        .time("now-6h", "now")
        .refresh("1m")
        .readonly()
        .with_variable(dashboard.DatasourceVariable("datasource").label("Data source").type("prometheus"))
    )
    for name, label, query in (
        ("job", "Job", 'label_values({__name__=~"detector_build_info|detector_notify_up"}, job)'),
        ("instance", "Member", 'label_values(detector_build_info{job=~"$job"}, instance)'),
    ):
        made = made.with_variable(
            dashboard.QueryVariable(name)
            .label(label)
            .datasource(SOURCE)
            .query(query)
            .refresh(VariableRefresh.ON_TIME_RANGE_CHANGED)
            .include_all(True)
            .all_value(".*")
            .multi(True)
        )
    for other in BOARDS:
        if other is not board:
            made = made.link(_link(other.title, f"/d/{other.uid}").include_vars(True).keep_time(True))
    made = made.link(_link("Runbooks", f"{docs}/how-to/runbooks/").target_blank(True))
    for part, (panel, at) in enumerate(_placed(board), 1):
        if isinstance(panel, str):
            made = made.with_row(dashboard.Row(panel).id(part).grid_pos(at))
        else:
            made = made.with_panel(_panel(panel, docs).id(part).grid_pos(at))
    return JSONEncoder(sort_keys=True, indent=1).encode(made.build()) + "\n"


def _placed(board: Board) -> list[tuple[Panel | str, GridPos]]:
    """Headings and panels, line by line from the left."""
    found: list[tuple[Panel | str, GridPos]] = []
    y = 0
    for row in board.rows:
        found.append((row.title, GridPos(x=0, y=y, w=COLUMNS, h=ROW_HEIGHT)))
        y, x, line = y + ROW_HEIGHT, 0, 0
        for panel in row.panels:
            if x + panel.width > COLUMNS:
                x, y, line = 0, y + line, 0
            found.append((panel, GridPos(x=x, y=y, w=panel.width, h=panel.height)))
            x, line = x + panel.width, max(line, panel.height)
        y += line
    return found


def _panel(panel: Panel, docs: str) -> Any:
    """The builder of one panel."""
    makers = {"timeseries": timeseries.Panel, "stat": stat.Panel, "table": table.Panel}
    needs = f" Empty without {panel.needs}." if panel.needs else ""
    made = makers[panel.kind]().title(panel.title).description(panel.about + needs).unit(panel.unit)
    made = made.datasource(SOURCE)
    for letter, query in zip("ABCDEFGH", panel.queries, strict=False):
        target = prometheus.Dataquery().expr(query.expr).ref_id(letter).datasource(SOURCE)
        target = target.legend_format(query.legend or "__auto").exemplar(query.exemplars)
        made = made.with_target(target.instant() if panel.kind == "stat" else target.range())
    if panel.runbook:
        url = f"{docs}/how-to/runbooks/#{panel.runbook.lower()}"
        made = made.links([_link(f"Runbook: {panel.runbook}", url).target_blank(True)])
    made = made.thresholds(_thresholds(panel.red_from))
    if panel.kind == "stat":
        return made.color_mode(BigValueColorMode.VALUE)
    legend = common.VizLegendOptions().display_mode(LegendDisplayMode.LIST).placement(LegendPlacement.BOTTOM)
    made = made.legend(legend.show_legend(True).calcs([]))
    made = made.tooltip(common.VizTooltipOptions().mode(TooltipDisplayMode.MULTI)).min(0)
    if panel.stack:
        made = made.fill_opacity(30).stacking(common.StackingConfig().mode(StackingMode.NORMAL))
    if panel.red_from is not None:
        style = common.GraphThresholdsStyleConfig().mode(GraphThresholdsStyleMode.LINE)
        made = made.thresholds_style(style)
    return made


def _thresholds(red_from: float | None) -> Any:
    steps = [Threshold(value=None, color="green")]
    if red_from is not None:
        steps.append(Threshold(value=red_from, color="red"))
    return dashboard.ThresholdsConfig().mode(ThresholdsMode.ABSOLUTE).steps(steps)


def _link(title: str, url: str) -> Any:
    return dashboard.DashboardLink(title).type(DashboardLinkType.LINK).url(url)


def main() -> None:
    """Write the files, or say which of them differ."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--docs", default=DOCS)
    parser.add_argument("--check", action="store_true")
    given = parser.parse_args()
    for board in BOARDS:
        path, text = FOLDER / f"{board.uid}.json", build(board, given.docs.rstrip("/"))
        if given.check and (not path.exists() or path.read_text() != text):
            raise SystemExit(f"run `python deploy/grafana/build.py`: {path.name} differs")
        if not given.check:
            path.write_text(text)


if __name__ == "__main__":
    main()
