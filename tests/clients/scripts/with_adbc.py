"""ADBC: Arrow tables in and out through binary COPY, and the catalogs as Arrow."""

import datetime
import decimal

import adbc_driver_postgresql.dbapi as adbc
import pyarrow as pa

from steps import URL, run

FRAME = pa.table(
    {
        "id": pa.array(range(1000), pa.int64()),
        "small": pa.array([n % 100 for n in range(1000)], pa.int16()),
        "x": pa.array([None if n % 7 == 0 else n / 3 for n in range(1000)], pa.float64()),
        "f": pa.array([n / 2 for n in range(1000)], pa.float32()),
        "s": pa.array([f"s{n}" for n in range(1000)]),
        "b": pa.array([n % 2 == 0 for n in range(1000)]),
        "d": pa.array([datetime.date(2026, 1, 1) + datetime.timedelta(n) for n in range(1000)]),
        "at": pa.array([datetime.datetime(2026, 1, 1, 10, 0, n % 60, 5) for n in range(1000)], pa.timestamp("us")),
        "tz": pa.array([datetime.datetime(2026, 1, 1, 10, 0, n % 60) for n in range(1000)], pa.timestamp("us", "UTC")),
        "raw": pa.array([bytes([n % 256]) for n in range(1000)], pa.binary()),
        "tags": pa.array([["a", None] if n % 2 else [] for n in range(1000)], pa.list_(pa.string())),
        "numbers": pa.array([[n, n + 1] for n in range(1000)], pa.list_(pa.int64())),
        "money": pa.array([decimal.Decimal(n) / 100 for n in range(1000)], pa.decimal128(10, 2)),
    }
)


def connected(**options):
    return adbc.connect(f"postgresql://postgres@{URL}", **options)


def ingests_tables():
    with connected() as connection, connection.cursor() as cursor:
        assert cursor.adbc_ingest("frames", FRAME, mode="create") == 1000
        connection.commit()
        assert cursor.adbc_ingest("frames", FRAME.slice(0, 10), mode="append") == 10
        connection.commit()
        cursor.execute("SELECT * FROM frames ORDER BY id")
        back = cursor.fetch_arrow_table()
        assert back.num_rows == 1010 and back.column_names == FRAME.column_names, back.schema
        types = {field.name: str(field.type) for field in back.schema}
        assert types["id"] == "int64" and types["small"] == "int16" and types["f"] == "float", types
        assert types["at"] == "timestamp[us]" and types["tz"].startswith("timestamp[us, tz="), types
        assert types["raw"] == "binary" and types["tags"].startswith("list<"), types
        cursor.execute("SELECT x, s, b, d, tags, numbers, raw FROM frames WHERE id = 8")
        assert cursor.fetchone() == (8 / 3, "s8", True, datetime.date(2026, 1, 9), [], [8, 9], b"\x08")
        assert cursor.adbc_ingest("frames", FRAME, mode="replace") == 1000
        connection.commit()
        assert cursor.adbc_ingest("frames", FRAME.slice(0, 5), mode="create_append") == 5
        connection.commit()
        cursor.execute("SELECT count(*), sum(money) FROM frames")
        assert cursor.fetchone()[0] == 1005
        cursor.adbc_ingest("passing", FRAME.select(["id", "s"]), mode="create", temporary=True)
        cursor.execute("SELECT count(*) FROM passing")
        assert cursor.fetchone() == (1000,)
        # A block changes one table.
        connection.commit()
        cursor.adbc_ingest("notes", FRAME.select(["id"]).slice(0, 3).cast(pa.schema([("id", pa.int32())])), mode="append",
                           db_schema_name="lab")
        connection.rollback()
        cursor.execute("SELECT count(*) FROM lab.notes")
        assert cursor.fetchone() == (0,)


def reads_batches():
    with connected() as connection, connection.cursor() as cursor:
        cursor.execute("SELECT id, value, name, price, at, tz, day, ok, tags FROM readings ORDER BY id")
        table = cursor.fetch_arrow_table()
        assert table.column("name").to_pylist() == ["one", "two", "three"], table
        assert table.column("tags").to_pylist() == [["a", "b"], None, None]
        assert [str(price) for price in table.column("price").to_pylist()] == ["10.25", "20.50", "30.00"], table
        cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": "65536"})
        cursor.execute("SELECT g AS id, repeat('x', 50) AS s FROM generate_series(1, 20000) AS g")
        reader = cursor.fetch_record_batch()
        sizes = [batch.num_rows for batch in reader]
        assert sum(sizes) == 20000 and len(sizes) > 5, sizes
        cursor.execute("SELECT '1 mon 2 days'::interval, '6f1c0000-0000-0000-0000-000000000001'::uuid, '{\"a\":1}'::jsonb, NULL, '10:30'::time")
        row = cursor.fetchone()
        assert row[3] is None and row[4] == datetime.time(10, 30), row


def binds_parameters():
    with connected() as connection, connection.cursor() as cursor:
        cursor.execute("CREATE TABLE bound (id BIGINT PRIMARY KEY, s TEXT, x FLOAT8, at TIMESTAMP)")
        connection.commit()
        rows = [(n, f"s{n}", n / 2, datetime.datetime(2026, 1, 1)) for n in range(20)]
        cursor.executemany("INSERT INTO bound VALUES ($1, $2, $3, $4)", rows)
        assert cursor.rowcount in (20, -1), cursor.rowcount
        connection.commit()
        cursor.execute("SELECT s FROM bound WHERE id = $1 AND x < $2", (3, 100.0))
        assert cursor.fetchone() == ("s3",)
        cursor.executemany("UPDATE bound SET s = $1 WHERE id = $2", pa.record_batch({"s": ["a", None], "id": [1, 2]}))
        connection.commit()
        cursor.execute("SELECT s FROM bound WHERE id IN (1, 2) ORDER BY id")
        assert cursor.fetchall() == [("a",), (None,)]
        try:
            cursor.execute("INSERT INTO bound VALUES ($1)", (1,))
            raise AssertionError("no error")
        except adbc.Error as error:
            assert error.sqlstate == "23505", error.sqlstate
        connection.rollback()
        cursor.execute("DROP TABLE bound")
        connection.commit()


def reads_the_catalogs():
    with connected() as connection:
        info = connection.adbc_get_info()
        assert info["vendor_name"] == "PostgreSQL" and info["vendor_version"].startswith("15"), info
        assert {"table", "view"} <= set(connection.adbc_get_table_types())
        schema = connection.adbc_get_table_schema("readings")
        assert schema.names[:3] == ["id", "value", "name"] and str(schema.field("at").type) == "timestamp[us]", schema
        assert connection.adbc_get_table_schema("notes", db_schema_filter="lab").names == ["id", "note"]
        found = connection.adbc_get_objects(depth="all", catalog_filter="postgres").read_all().to_pylist()
        schemas = {each["db_schema_name"]: each["db_schema_tables"] for each in found[0]["catalog_db_schemas"]}
        tables = {table["table_name"]: table for table in schemas["public"]}
        assert {"readings", "high", "frames"} <= set(tables), set(tables)
        columns = sorted(tables["readings"]["table_columns"], key=lambda column: column["ordinal_position"])
        columns = [column["column_name"] for column in columns]
        assert columns == ["id", "value", "name", "price", "at", "tz", "day", "ok", "tags"], columns
        kinds = {rule["constraint_name"]: rule["constraint_type"] for rule in tables["readings"]["table_constraints"]}
        assert kinds == {"positive": "CHECK"}, kinds
        few = connection.adbc_get_objects(depth="tables", db_schema_filter="lab", table_name_filter="no%").read_all().to_pylist()
        assert [table["table_name"] for table in few[0]["catalog_db_schemas"][0]["db_schema_tables"]] == ["notes"], few
        assert connection.adbc_current_catalog == "postgres" and connection.adbc_current_db_schema == "public"
        connection.adbc_get_statistics(db_schema_filter="public").read_all()
        with connection.cursor() as cursor:
            cursor.execute("DROP TABLE frames")
        connection.commit()


def says_what_it_would_return():
    with connected(autocommit=True) as connection, connection.cursor() as cursor:
        schema = cursor.adbc_execute_schema("SELECT id, price, tags FROM readings")
        assert schema.names == ["id", "price", "tags"], schema
        assert str(cursor.adbc_prepare("SELECT $1::int8 + 1")) != ""


run(ingests_tables, reads_batches, binds_parameters, reads_the_catalogs, says_what_it_would_return)
