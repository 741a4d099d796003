"""Records on disk: kept as they are made, in order, once each, through kills and beside other processes."""

import contextlib
import json
import math
from pathlib import Path

import pandas
import pyarrow.parquet as pq
import pytest

from record_files import records_of, tables, write_records
from report_runs import failed, record, write_run
from wherenot import records as storing
from wherenot.ranks import process_rank, seal_journals, wait_for_all
from wherenot.records import RecordStore, RecordWriter
from wherenot.report import build_content, load_run
from wherenot.report import runs as reading
from wherenot.summary import metric_rows

MADE = [
    record(f"{index}.png", split="ab"[index // 4], group="cd"[index % 2], hit=index % 3 > 0, correct=index % 4 > 0)
    for index in range(8)
] + [failed("8.png", split="b")]


@pytest.fixture
def small_parts(monkeypatch):
    monkeypatch.setattr(storing, "PART_ROWS", 3)


def test_what_was_added_is_read_back(tmp_path, small_parts):
    with RecordWriter(tmp_path, "00000") as writer:
        for number, each in enumerate(MADE):
            writer.add([(number, each)])
            assert records_of(tmp_path) == MADE[: number + 1]
    assert records_of(tmp_path) == MADE
    assert RecordStore(tmp_path).numbers() == set(range(9))
    assert len(RecordStore(tmp_path).parts()) == 3
    assert not list(tmp_path.rglob("_journal-*"))


def test_other_programs_read_numbers_in_columns(tmp_path, small_parts):
    with RecordWriter(tmp_path, "00000") as writer:
        writer.add(enumerate(MADE[:7]))
        with RecordWriter(tmp_path, "00001") as other:
            other.add(enumerate(MADE[7:], start=7))
        frame = pandas.read_parquet(tmp_path / "records").sort_values("number", ignore_index=True)
    assert frame["id"].tolist() == [each["id"] for each in MADE]
    assert frame["true.coverage"].tolist()[:8] == [each["true"]["coverage"] for each in MADE[:8]]
    assert math.isnan(frame["true.coverage"][8])
    assert frame["failed"].tolist() == [False] * 8 + [True]
    assert frame["noise.0.1"].dtype == "float64"
    assert json.loads(frame["record"][8]) == MADE[8]


def test_metrics_of_parts_are_those_of_the_records(tmp_path, small_parts):
    write_records(tmp_path, MADE)
    assert metric_rows(RecordStore(tmp_path).tables(), seed=0) == metric_rows(tables(MADE), seed=0)
    assert [row["split"] for row in metric_rows(tables(MADE), seed=0)][:1] == ["a"]


def killed_after(count, folder):
    with contextlib.suppress(KeyboardInterrupt), RecordWriter(folder, "00000") as writer:
        writer.add(enumerate(MADE[:count]))
        raise KeyboardInterrupt


@pytest.mark.parametrize("kept", [0, 1, 17, 10_000])
def test_a_kill_anywhere_in_a_line_loses_that_line_alone(tmp_path, kept):
    killed_after(4, tmp_path)
    [journal] = tmp_path.rglob("_journal-*")
    with journal.open("a") as file:
        file.write(json.dumps({"number": 4, **MADE[4]})[:kept])
    assert records_of(tmp_path) == MADE[:4]
    with RecordWriter(tmp_path, "00000") as writer:
        writer.add(enumerate(MADE[4:], start=4))
    assert records_of(tmp_path) == MADE


def test_a_kill_between_a_part_and_the_end_of_its_journal_doubles_nothing(tmp_path):
    killed_after(4, tmp_path)
    [journal] = tmp_path.rglob("_journal-*")
    content = journal.read_bytes()
    seal_journals(tmp_path)
    journal.write_bytes(content)
    assert records_of(tmp_path) == MADE[:4]
    assert sum(len(table) for table in RecordStore(tmp_path).tables().values()) == 4
    with RecordWriter(tmp_path, "00000") as writer:
        writer.add(enumerate(MADE[4:], start=4))
    assert records_of(tmp_path) == MADE
    assert sum(pq.read_metadata(part).num_rows for part in RecordStore(tmp_path).parts()) == 9


def test_two_processes_cannot_write_under_one_name(tmp_path):
    with RecordWriter(tmp_path, "00000"):
        with (
            pytest.raises(ValueError, match=r"another process writes into .*records as 00000"),
            RecordWriter(tmp_path, "00000"),
        ):
            pass
        with RecordWriter(tmp_path, "00001") as other:
            other.add([(1, MADE[1])])
    assert records_of(tmp_path) == MADE[1:2]


def test_a_reader_does_not_disturb_a_line_that_is_being_written(tmp_path):
    (tmp_path / "records").mkdir()
    journal = tmp_path / "records" / "_journal-00001.jsonl"
    line = json.dumps({"number": 0, **MADE[0]}) + "\n"
    journal.write_text(line + line[:40])
    assert records_of(tmp_path) == MADE[:1]
    assert journal.read_text() == line + line[:40]


def test_a_broken_line_within_a_journal_is_named(tmp_path):
    (tmp_path / "records").mkdir()
    (tmp_path / "records" / "_journal-00000.jsonl").write_text('{"number": 0}\n{"num\n')
    with pytest.raises(ValueError, match=r"journal-00000\.jsonl, line 2: not JSON"):
        RecordStore(tmp_path).numbers()


def test_parts_of_other_programs_are_refused(tmp_path):
    (tmp_path / "records").mkdir()
    pandas.DataFrame({"number": [1]}).to_parquet(tmp_path / "records" / "part-00000-000000.parquet")
    with pytest.raises(ValueError, match=r"cannot read .*part-00000-000000\.parquet \(it lacks the columns .*record"):
        RecordStore(tmp_path).numbers()


@pytest.mark.parametrize(("rank", "ranks"), [("2", "2"), ("-1", "2"), ("a", "2"), ("0", "")])
def test_a_launch_that_makes_no_sense_is_refused(monkeypatch, rank, ranks):
    monkeypatch.setenv("RANK", rank)
    monkeypatch.setenv("WORLD_SIZE", ranks)
    with pytest.raises(ValueError, match=f"RANK={rank} of WORLD_SIZE={ranks}"):
        process_rank()


def test_waiting_ends_when_nobody_is_left_who_could_write(tmp_path):
    write_records(tmp_path, MADE[:7])
    wait_for_all(RecordStore(tmp_path), 7, ranks=2, patience_s=0.0)
    with pytest.raises(ValueError, match=r"2 of 9 records are missing .* start the same command again"):
        wait_for_all(RecordStore(tmp_path), 9, ranks=2, patience_s=0.0)


def test_of_very_many_records_a_part_is_read_the_same_in_every_run(tmp_path, monkeypatch):
    monkeypatch.setattr(reading, "RECORDS_READ", 20)
    monkeypatch.setattr(reading, "EXTRA_READ", 2)
    many = [record(f"{index}.png") for index in range(200)]
    many[7] = failed("7.png")
    many[9]["evidence_file"] = "evidence/000009.npz"
    whole = load_run(write_run(tmp_path / "a", records=many))
    ids = [each.id for each in whole.records]
    assert whole.num_records == 200
    assert 10 <= len(ids) <= 35
    assert {"7.png", "9.png"} <= set(ids)
    assert ids == sorted(ids, key=lambda id: int(id.removesuffix(".png")))
    [warning] = build_content([whole]).warnings
    assert f"Of the 200 images of a, {len(ids)} are looked at one by one" in warning
    again = load_run(write_run(tmp_path / "b", records=many[::-1]))
    assert {each.id for each in again.records} == set(ids)


def test_nothing_is_left_open(tmp_path):
    write_records(tmp_path, MADE)
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(3):
        next(RecordStore(tmp_path).read())
        RecordStore(tmp_path).tables()
    assert len(list(Path("/proc/self/fd").iterdir())) <= before
