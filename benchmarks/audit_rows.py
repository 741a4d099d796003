"""What a large audit costs after its forwards: rows written, metrics made, the run read and its report written.

    python benchmarks/audit_rows.py /tmp/rows --rows 1200000

The rows are records of a small real audit, with other ids and answers drawn at random: as many bytes and columns as a
classifier's have. 200 of them have pictures, the same few over and over.
"""

import argparse
import json
import random
import resource
import tempfile
import time
from pathlib import Path

import torch

from wherenot.audit import AuditConfig, audit
from wherenot.data import load_dataset
from wherenot.models import build_classifier
from wherenot.records import RecordStore, RecordWriter
from wherenot.report import load_run, write_report
from wherenot.run import RunFolder
from wherenot.summary import metric_rows

BATCH = 32
PICTURED = 200


def real_records(folder):
    """Forty records with evidence, and their pictures."""
    torch.manual_seed(0)
    dataset = load_dataset("decoy")
    classifier = build_classifier("small-cnn", classes=dataset.classes)
    config = AuditConfig(splits=("test_biased",), max_images=40, partition="grid:4x4")
    run = audit(classifier, dataset, folder, config, name="rows", model="small-cnn")
    return [record for record in RecordStore(run).read() if record["true"]]


def rows(records, count):
    """Batches of numbered records, as an audit adds them."""
    rng = random.Random(0)
    for start in range(0, count, BATCH):
        batch = []
        for number in range(start, min(start + BATCH, count)):
            record = records[number % len(records)] | {"id": f"{number:08d}.jpg", "correct": rng.random() < 0.8}
            record["true"] = {name: drawn(value, rng) for name, value in record["true"].items()}
            if number >= PICTURED:
                record["evidence_file"] = None
            record.pop("number", None)
            batch.append((number, record))
        yield batch


def drawn(value, rng):
    """Another number of the same kind: equal ones would compress to nothing."""
    return value * rng.random() if isinstance(value, float) else value


def timed(name, do):
    """Say how long it took, and how much memory the process has had at most."""
    started = time.process_time()
    found = do()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"{name}: {time.process_time() - started:.1f} s of the processor, at most {peak:.0f} MB so far", flush=True)
    return found


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--rows", type=int, default=1_200_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as place:
        records = real_records(Path(place) / "real")
        options.out.mkdir(parents=True)
        (options.out / "evidence").symlink_to(Path(place) / "real" / "evidence")

        def write():
            with RecordWriter(options.out, "00000") as writer:
                for batch in rows(records, options.rows):
                    writer.add(batch)

        timed("import and one small audit", lambda: None)
        timed(f"write {options.rows} rows", write)
        store = RecordStore(options.out)
        size = sum(part.stat().st_size for part in store.parts())
        print(f"{len(store.parts())} parts, {size / 1e6:.0f} MB, {size / options.rows:.0f} bytes a row")
        timed("which samples are done", store.numbers)
        tables = timed("numbers of all records", store.tables)
        found = timed("metrics with intervals", lambda: metric_rows(tables, seed=0))
        RunFolder(options.out).write("metrics.json", {"rows": found})
        about = json.loads((Path(place) / "real" / "run.json").read_text())
        RunFolder(options.out).write("run.json", about)
        run = timed("load_run", lambda: load_run(options.out))
        print(f"{len(run.records)} of {run.num_records} records are read one by one")
        page = timed("write_report", lambda: write_report([options.out], options.out / "report.html"))
        print(f"report: {page.stat().st_size / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
