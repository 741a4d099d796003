"""Records of audits: reads and writes them in run folders, and makes tables of them."""

from wherenot.record_table import RecordTable
from wherenot.records import RecordStore, RecordWriter


def records_of(folder):
    """All records in the order of the data."""
    found = sorted(RecordStore(folder).read(), key=lambda record: record.pop("number"))
    return list(found)


def write_records(folder, records):
    """What an audit leaves that made these records."""
    with RecordWriter(folder, "00000") as writer:
        writer.add(enumerate(records))


def tables(records):
    """Records by split, as metrics are made of them."""
    splits = dict.fromkeys(record["split"] for record in records)
    return {split: RecordTable.of([each for each in records if each["split"] == split]) for split in splits}
