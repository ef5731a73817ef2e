"""Tables, published rows, protocols: what people and tools read."""

import re
from pathlib import Path

import pytest
from rich.console import Console

from motion.evaluation.plots import table_png
from motion.evaluation.protocols import PROTOCOLS, protocol_named
from motion.evaluation.published import PublishedRow, published, published_rows
from motion.evaluation.tables import Row, Table, cell, console, flat_metrics, latex, markdown
from motion.metrics.interval import Interval

NAN = float("nan")


def value(mean: float, half: float = 0.1, n: int = 20) -> Interval:
    return Interval(mean, mean - half, mean + half, n)


def table() -> Table:
    return Table(
        title="motionweb",
        columns=PROTOCOLS["motionweb"].columns,
        rows=(
            Row(name="real data", kind="real", values={"fid": value(0.01), "diversity": value(9)}),
            Row(name="far_off", kind="ours", values={"fid": value(5), "diversity": value(12)}),
            Row(name="close", kind="ours", values={"fid": value(3), "diversity": value(8.5)}),
            Row(name="held", kind="ours", flagged=True, values={"fid": value(0.5)}, note="marked"),
            *published_rows("motionweb"),
        ),
        facts={"evaluator": "abc", "seed": "3"},
    )


def test_the_best_row_is_one_of_ours_and_follows_the_direction() -> None:
    drawn, columns = table(), {c.name: c for c in PROTOCOLS["motionweb"].columns}
    assert drawn.best(columns["fid"]) == "close", "neither restricted nor published rows compete"
    assert drawn.best(columns["diversity"]) == "close", "nearest to the real value, not largest"
    assert drawn.best(columns["mm_dist"]) is None


def test_markdown_marks_published_and_restricted_rows_and_states_the_facts() -> None:
    text = markdown(table())
    lines = [line for line in text.splitlines() if line.startswith("| ")]
    assert lines[1].startswith("| real data |"), "the real data come first"
    assert "| **3.000 ± 0.100** |" in text
    assert "held (restricted clips) [1]" in text
    assert "K2M (published)" in text
    assert "Learning Text-Driven" in text
    assert "| evaluator | abc |" in text
    widths = {line.count("|") for line in lines if "±" in line}
    assert len(widths) == 1


def test_latex_is_balanced_and_escaped() -> None:
    text = latex(table())
    assert r"far\_off" in text
    assert "_" not in re.sub(r"\\_|%.*", "", text), "a bare underscore does not compile"
    body = [line for line in text.splitlines() if line.endswith(r"\\")]
    assert len({line.count("&") for line in body}) == 1
    assert text.count(r"\begin{tabular}") == text.count(r"\end{tabular}") == 1
    assert r"FID $\downarrow$" in text


def test_console_shows_every_row() -> None:
    screen = Console(width=200, record=True)
    screen.print(console(table()))
    shown = screen.export_text()
    assert all(row.label() in shown for row in table().rows)


def test_metrics_are_flat_finite_and_keep_restricted_clips_apart() -> None:
    drawn = table()
    row = drawn.rows[1].model_copy(update={"values": {"fid": Interval(2.0, NAN, NAN, 8)}})
    assert flat_metrics(drawn, row) == {"motionweb/fid": 2.0, "motionweb/fid_n": 8.0}
    restricted = flat_metrics(drawn, drawn.rows[3])
    assert restricted["motionweb/restricted/fid_low"] == pytest.approx(0.4)


def test_table_survives_json_with_unknown_bounds(tmp_path: Path) -> None:
    drawn = table()
    again = Table.model_validate_json(drawn.model_dump_json())
    assert again.rows[1] == drawn.rows[1]
    assert table_png(tmp_path / "a.png", drawn).stat().st_size > 1000
    with pytest.raises(ValueError, match="nothing to draw"):
        table_png(tmp_path / "b.png", drawn.model_copy(update={"rows": ()}))


@pytest.mark.parametrize(
    ("found", "text"),
    [
        (None, "-"),
        (value(NAN), "-"),
        (Interval(0.5, NAN, NAN, 0), "0.500"),
        (value(185.9), "185.9 ± 0.1"),
    ],
)
def test_cells(found: Interval | None, text: str) -> None:
    assert cell(found) == text


def test_published_rows_are_those_of_the_papers() -> None:
    rows = {row.name: row for row in published().row}
    assert rows["K2M"].values["fid"] == 2.638
    assert rows["K2M"].half["diversity"] == 0.092
    assert rows["GENMO on EMDB-2, true cameras"].values["w_mpjpe_100"] == 185.9
    assert rows["CrossDiff"].values["r_precision_3"] == 0.730
    assert len({(row.source, row.table, row.line) for row in published().row}) == len(rows)
    (first, *_) = published_rows("motionweb")
    assert first.kind == "published"
    assert first.values["fid"].n == 0, "nothing that we counted"


def test_second_hand_figures_are_left_out() -> None:
    quoted = ("MDM", "T2M-GPT", "MLD", "ReMoDiffuse", "EMDM", "GVHMR", "WHAM", "TRAM")
    others = [row.name for row in published().row if row.line.startswith(quoted)]
    assert others == []


def test_unknown_names_are_refused_with_a_hint() -> None:
    with pytest.raises(ValueError, match="did you mean 'comovi-motion'"):
        protocol_named("comovi-motoin")
    fields = {"source": "k2m", "table": "1", "line": "x", "name": "x", "protocols": ["motionweb"]}
    with pytest.raises(ValueError, match="no column"):
        PublishedRow.model_validate({**fields, "values": {"fiid": 1.0}})


def test_protocols_differ_as_their_papers_do() -> None:
    momask, mdm = PROTOCOLS["humanml3d-momask"], PROTOCOLS["humanml3d-mdm"]
    assert (momask.max_generated, mdm.max_generated) == (None, 1024)
    assert momask.passes == momask.metrics.repeats == 20
    assert PROTOCOLS["comovi-motion"].fps == 20.0
    assert "dynamic_degree" not in PROTOCOLS["comovi-video"].video_dimensions
