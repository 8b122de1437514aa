"""Makes Iceberg tables for the tests, as another engine would: pyiceberg over a SQL catalog.

In: a folder; out: the folder with `catalog.db` and `house/`, and on standard output the ids of the snapshots that the
tests ask for, as JSON. Deletes that pyiceberg does not write itself are written by its own classes one level below.
"""

import json
import sys
from datetime import datetime

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.manifest import (
    DataFile, DataFileContent, FileFormat, ManifestContent, ManifestEntry, ManifestEntryStatus, ManifestWriterV2,
)
from pyiceberg.partitioning import PartitionField, PartitionSpec
from pyiceberg.schema import Schema
from pyiceberg.table.update.snapshot import _FastAppendFiles
from pyiceberg.transforms import BucketTransform, DayTransform, IdentityTransform, TruncateTransform
from pyiceberg.typedef import Record
from pyiceberg.types import (
    BinaryType, DateType, DoubleType, FixedType, IntegerType, ListType, LongType, MapType, NestedField, StringType,
    StructType, TimestampType, TimeType,
)

folder = sys.argv[1]
catalog = SqlCatalog("lake", uri=f"sqlite:///{folder}/catalog.db", warehouse=f"file://{folder}/house")
catalog.create_namespace("sales")
found = {}


class DeleteWriter(ManifestWriterV2):
    def content(self):
        return ManifestContent.DELETES

    @property
    def _meta(self):
        return {**super()._meta, "content": "deletes"}


class AppendDeletes(_FastAppendFiles):
    """A commit whose added files hold deletes."""

    def _manifests(self):
        path = self.new_manifest_output()
        spec = self._transaction.table_metadata.spec()
        schema = self._transaction.table_metadata.schema()
        with DeleteWriter(spec, schema, path, self._snapshot_id, self._compression) as writer:
            for file in self._added_data_files:
                writer.add(ManifestEntry.from_args(
                    status=ManifestEntryStatus.ADDED, snapshot_id=self._snapshot_id, sequence_number=None,
                    file_sequence_number=None, data_file=file,
                ))
        return self._existing_manifests() + [writer.to_manifest_file()]


def delete_by(table, content, rows, name, field_ids, equality_ids=None):
    """Commits one delete file with the given rows."""
    fields = [field.with_metadata({"PARQUET:field_id": str(i)}) for field, i in zip(rows.schema, field_ids)]
    path = f"{table.location()}/data/{name}.parquet"
    pq.write_table(rows.cast(pa.schema(fields)), path.removeprefix("file://"))
    size = len(open(path.removeprefix("file://"), "rb").read())
    file = DataFile.from_args(
        content=content, file_path=path, file_format=FileFormat.PARQUET, partition=Record(), record_count=len(rows),
        file_size_in_bytes=size, column_sizes={}, value_counts={}, null_value_counts={}, nan_value_counts={},
        lower_bounds={}, upper_bounds={}, key_metadata=None, split_offsets=None, equality_ids=equality_ids,
        sort_order_id=None,
    )
    file.spec_id = 0
    transaction = table.transaction()
    from pyiceberg.table.snapshots import Operation
    commit = AppendDeletes(operation=Operation.APPEND, transaction=transaction, io=table.io)
    commit.append_data_file(file)
    commit.commit()
    transaction.commit_transaction()
    return catalog.load_table(table.name())


def plain():
    schema = Schema(
        NestedField(1, "id", LongType(), required=False), NestedField(2, "name", StringType(), required=False),
        NestedField(3, "price", DoubleType(), required=False), NestedField(4, "day", DateType(), required=False),
        NestedField(5, "at", TimestampType(), required=False),
    )
    table = catalog.create_table("sales.plain", schema)
    found["empty_metadata"] = table.metadata_location
    for k in range(3):
        table.append(pa.table({
            "id": pa.array([2 * k, 2 * k + 1], pa.int64()), "name": [f"a{k}", None], "price": [k + 0.5, 1.0],
            "day": pa.array([datetime(2026, 1, k + 1).date()] * 2), "at": pa.array([datetime(2026, 1, 1, k)] * 2, pa.timestamp("us")),
        }))
        found[f"plain_{k}"] = table.current_snapshot().snapshot_id
    return table


def partitioned():
    schema = Schema(
        NestedField(1, "id", LongType(), required=False), NestedField(2, "region", StringType(), required=False),
        NestedField(3, "at", TimestampType(), required=False),
    )
    spec = PartitionSpec(
        PartitionField(2, 1000, IdentityTransform(), "region"), PartitionField(3, 1001, DayTransform(), "at_day"),
    )
    table = catalog.create_table("sales.partitioned", schema, partition_spec=spec)
    rows = lambda ids: pa.table({
        "id": pa.array(ids, pa.int64()), "region": ["north" if i % 2 else "south" for i in ids],
        "at": pa.array([datetime(2026, 1, 1 + i % 3, 12) for i in ids], pa.timestamp("us")),
    })
    table.append(rows(list(range(12))))
    # The partitions of new files are others than those of the old ones.
    with table.update_spec() as update:
        update.add_field("id", BucketTransform(2), "id_bucket")
        update.remove_field("region")
    table.append(rows(list(range(12, 24))))


def departed():
    """A table that was in partitions by a column which is no more."""
    schema = Schema(
        NestedField(1, "id", LongType(), required=False), NestedField(2, "s", StringType(), required=False),
    )
    spec = PartitionSpec(PartitionField(2, 1000, TruncateTransform(2), "s_part"))
    table = catalog.create_table("sales.departed", schema, partition_spec=spec)
    table.append(pa.table({"id": pa.array([1, 2, 3], pa.int64()), "s": ["aab", "abc", "bcd"]}))
    with table.update_spec() as update:
        update.remove_field("s_part")
    with table.update_schema() as update:
        update.delete_column("s")
    table.append(pa.table({"id": pa.array([4, 5], pa.int64())}))


def strange():
    """Partitions whose values are characters with a meaning in URLs; the metadata name the files as they are."""
    schema = Schema(
        NestedField(1, "id", LongType(), required=False), NestedField(2, "s", StringType(), required=False),
    )
    spec = PartitionSpec(PartitionField(2, 1000, IdentityTransform(), "s"))
    table = catalog.create_table("sales.strange", schema, partition_spec=spec)
    names = ["New York", "a/b", "x:y", "k=v", "a&b", "a,b", "a+b", "100%", "Zürich", "#?"]
    table.append(pa.table({"id": pa.array(range(len(names)), pa.int64()), "s": names}))
    table.delete("id = 9")


def evolved():
    schema = Schema(
        NestedField(1, "a", IntegerType(), required=False), NestedField(2, "b", StringType(), required=False),
        NestedField(3, "c", StringType(), required=False),
    )
    table = catalog.create_table("sales.evolved", schema)
    table.append(pa.table({"a": pa.array([1, 2], pa.int32()), "b": ["x", "y"], "c": ["old", "old"]}))
    found["evolved_0"] = table.current_snapshot().snapshot_id
    with table.update_schema() as update:
        update.rename_column("b", "label")
        update.update_column("a", LongType())
        update.delete_column("c")
    with table.update_schema() as update:
        update.add_column("c", DoubleType())
        update.add_column("b", StringType())
    # The newest columns are those of no snapshot yet.
    found["evolved_metadata"] = catalog.load_table("sales.evolved").metadata_location
    table.append(pa.table({"a": pa.array([3_000_000_000], pa.int64()), "label": ["z"], "c": [0.5], "b": ["new"]}))


def widened():
    schema = Schema(NestedField(1, "a", IntegerType(), required=False))
    table = catalog.create_table("sales.widened", schema)
    table.append(pa.table({"a": pa.array([1, 2], pa.int32())}))
    with table.update_schema() as update:
        update.add_column("extra", StringType())
    table.append(pa.table({"a": pa.array([3], pa.int32()), "extra": ["e"]}))


def deleted():
    schema = Schema(
        NestedField(1, "id", LongType(), required=False), NestedField(2, "name", StringType(), required=False),
    )
    table = catalog.create_table("sales.deleted", schema, properties={"format-version": "2"})
    for start in (0, 10):
        ids = list(range(start, start + 10))
        table.append(pa.table({"id": pa.array(ids, pa.int64()), "name": [f"n{i % 3}" for i in ids]}))
    found["deleted_0"] = table.current_snapshot().snapshot_id
    first = sorted(task.file.file_path for task in table.scan().plan_files())
    path = next(p for p in first if pq.read_table(p.removeprefix("file://"))["id"][0].as_py() == 0)
    positions = pa.table({"file_path": [path, path], "pos": pa.array([0, 4], pa.int64())})
    table = delete_by(table, DataFileContent.POSITION_DELETES, positions, "pos", [2147483546, 2147483545])
    found["deleted_1"] = table.current_snapshot().snapshot_id
    names = pa.table({"name": ["n1"]})
    table = delete_by(table, DataFileContent.EQUALITY_DELETES, names, "eq", [2], [2])
    # An equality delete does not reach rows that were written after it.
    table.append(pa.table({"id": pa.array([100], pa.int64()), "name": ["n1"]}))


def nulls():
    """Deletes by columns that hold NULL, NaN and both zeros, by several columns, and by one that is dropped later."""
    schema = Schema(
        NestedField(1, "id", LongType(), required=False), NestedField(2, "k", StringType(), required=False),
        NestedField(3, "x", DoubleType(), required=False), NestedField(4, "old", StringType(), required=False),
    )
    table = catalog.create_table("sales.nulls", schema, properties={"format-version": "2"})
    table.append(pa.table({
        "id": pa.array(range(6), pa.int64()), "k": ["a", "b", None, "a", "b", None],
        "x": [0.0, -0.0, float("nan"), 1.0, None, 2.0], "old": ["o", "o", "o", "o", None, "p"],
    }))
    equal = DataFileContent.EQUALITY_DELETES
    before = table.current_snapshot().snapshot_id
    text = lambda *values: pa.array(values, pa.string())

    def deleted_alone(name, rows, ids):
        """Deletes from the rows as they were at first."""
        now = delete_by(catalog.load_table("sales.nulls"), equal, rows, name, ids, ids)
        found[name] = now.current_snapshot().snapshot_id
        now.manage_snapshots().rollback_to_snapshot(before).commit()

    deleted_alone("nulls_a", pa.table({"k": text("a")}), [2])
    deleted_alone("nulls_null", pa.table({"k": text(None)}), [2])
    deleted_alone("nulls_both", pa.table({"k": text(None, "b"), "x": pa.array([2.0, None], pa.float64())}), [2, 3])
    deleted_alone("nulls_zero", pa.table({"x": pa.array([-0.0], pa.float64())}), [3])
    deleted_alone("nulls_nan", pa.table({"x": pa.array([float("nan")], pa.float64())}), [3])
    table = delete_by(catalog.load_table("sales.nulls"), equal, pa.table({"old": text("p")}), "nulls_old", [4], [4])
    with table.update_schema() as update:
        update.delete_column("old")


def nested():
    """Columns whose fields change, and a delete, for which the library reads the files; without one DataFusion does."""
    inner = lambda i: StructType(NestedField(i, "x", IntegerType(), required=False))
    schema = Schema(
        NestedField(1, "id", LongType(), required=False), NestedField(2, "s", inner(20), required=False),
        NestedField(3, "l", ListType(30, inner(31), element_required=False), required=False),
        NestedField(4, "m", MapType(40, StringType(), 41, inner(42), value_required=False), required=False),
    )
    x = pa.struct([("x", pa.int32())])
    old = pa.table({
        "id": pa.array([1, 2], pa.int64()), "s": pa.array([{"x": 10}, None], x),
        "l": pa.array([[{"x": 11}, None], []], pa.list_(x)),
        "m": pa.array([[("k", {"x": 12})], None], pa.map_(pa.string(), x)),
    })
    for name in ("grown", "nested"):
        table = catalog.create_table(f"sales.{name}", schema, properties={"format-version": "2"})
        table.append(old)
        renamed = "xx" if name == "nested" else "x"
        with table.update_schema() as update:
            for column in ("s", "l", "m"):
                update.add_column((column, "y"), StringType())
        if name == "nested":
            with table.update_schema() as update:
                update.rename_column(("s", "x"), "xx")
                update.rename_column(("l", "element", "x"), "xx")
                update.rename_column(("m", "value", "x"), "xx")
                update.update_column(("s", "x"), LongType())
                update.add_column("tags", ListType(1, StringType(), element_required=False))
        kind = lambda x: pa.struct([(renamed, x), ("y", pa.string())])
        new = {
            "id": pa.array([3, 4], pa.int64()),
            "s": pa.array([{renamed: 20, "y": "a"}, None], kind(pa.int64() if name == "nested" else pa.int32())),
            "l": pa.array([[{renamed: 21, "y": "b"}], None], pa.list_(kind(pa.int32()))),
            "m": pa.array([[("k", {renamed: 22, "y": "c"})], None], pa.map_(pa.string(), kind(pa.int32()))),
        }
        if name == "nested":
            new["tags"] = pa.array([["t"], None], pa.list_(pa.string()))
        table.append(pa.table(new))
    ids = pa.table({"id": pa.array([4], pa.int64())})
    delete_by(table, DataFileContent.EQUALITY_DELETES, ids, "nested", [1], [1])


def spelled():
    """Columns whose names are none in Avro, so that files have them under others; fields within a column, too."""
    names = ["sp ace", "a-b", "a.b", "1st", "größe", "数"]
    inner = StructType(NestedField(20, "x y", LongType(), required=False))
    fields = [NestedField(i + 1, name, LongType(), required=False) for i, name in enumerate(names)]
    table = catalog.create_table("sales.spelled", Schema(*fields, NestedField(10, "s", inner, required=False)))
    rows = {name: pa.array([10 * i, 10 * i + 1], pa.int64()) for i, name in enumerate(names)}
    kind = pa.struct([("x y", pa.int64())])
    table.append(pa.table({**rows, "s": pa.array([{"x y": 7}, None], kind)}))


def raw():
    """Columns of bytes beside one that is renamed, so that the library reads the files, and columns that old files lack."""
    schema = Schema(
        NestedField(1, "id", LongType(), required=False), NestedField(2, "b", BinaryType(), required=False),
        NestedField(3, "f", FixedType(3), required=False), NestedField(4, "s", StringType(), required=False),
        NestedField(5, "l", ListType(6, BinaryType(), element_required=False), required=False),
    )
    table = catalog.create_table("sales.raw", schema)
    bytes_of = lambda ids: {
        "id": pa.array(ids, pa.int64()), "b": pa.array([b"\xa2\xf5", None], pa.large_binary()),
        "f": pa.array([b"abc", None], pa.binary(3)),
    }
    lists = pa.array([[b"\x01", None], None], pa.list_(pa.large_binary()))
    table.append(pa.table({**bytes_of([1, 2]), "s": ["x", "y"], "l": lists}))
    with table.update_schema() as update:
        update.rename_column("s", "name")
        update.add_column("late", BinaryType())
        update.add_column("late_f", FixedType(2))
        update.add_column("late_t", TimeType())
    table.append(pa.table({
        **bytes_of([3, 4]), "name": ["x", "y"], "l": lists, "late": pa.array([b"new", None], pa.large_binary()),
        "late_f": pa.array([b"\x07\x08", None], pa.binary(2)),
        "late_t": pa.array([36_000_000_000, None], pa.time64("us")),
    }))


plain()
partitioned()
departed()
strange()
evolved()
widened()
deleted()
nulls()
nested()
spelled()
raw()
print(json.dumps(found))
