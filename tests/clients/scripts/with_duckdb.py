"""DuckDB's postgres scanner: a server that is attached, whose tables are read, joined, made and filled from DuckDB."""

import datetime
import decimal
import pathlib

import duckdb
import duckdb_extension_postgres_scanner

from steps import DSN, run

duck = duckdb.connect()
EXTENSION = next(pathlib.Path(duckdb_extension_postgres_scanner.__path__[0]).rglob("*.duckdb_extension"))
duck.execute(f"LOAD '{EXTENSION}'")
# Of a table that it has just made it does not know that its rows have no addresses.
duck.execute("SET pg_use_ctid_scan = false")


def rows(text):
    return duck.execute(text).fetchall()


def attaches():
    duck.execute(f"ATTACH '{DSN}' AS remote (TYPE postgres)")
    tables = {(schema, name) for schema, name in rows(
        "SELECT schema_name, table_name FROM duckdb_tables() WHERE database_name = 'remote'")}
    views = {name for name, in rows("SELECT view_name FROM duckdb_views() WHERE database_name = 'remote'")}
    assert {("public", "readings"), ("lab", "notes")} <= tables, tables
    assert "high" in views or ("public", "high") in tables, views
    types = {row[0]: row[1] for row in rows("DESCRIBE remote.public.readings")}
    assert types["price"] == "DECIMAL(10,2)" and types["tags"] == "VARCHAR[]" and types["tz"] == "TIMESTAMP WITH TIME ZONE", types


def reads_rows():
    row = rows('SELECT id, value, name, price, "at", day, ok, tags FROM remote.readings WHERE id = 1')[0]
    expected = (1, 1.5, "one", decimal.Decimal("10.25"), datetime.datetime(2026, 1, 1, 10), datetime.date(2026, 1, 1), True, ["a", "b"])
    assert row == expected, row
    assert rows("SELECT count(*) FROM remote.readings") == [(3,)]
    assert rows("SELECT name FROM remote.readings WHERE price > 15 AND name IN ('two', 'three') ORDER BY id") == [("two",), ("three",)]
    assert rows("SELECT id FROM remote.readings WHERE day IS NULL ORDER BY id DESC LIMIT 1") == [(3,)]
    assert rows("SELECT name FROM remote.high") == [("one",)]
    assert rows("SELECT count(*) FROM remote.penguins WHERE body_mass_g > 5000")[0][0] > 0


def joins_with_its_own():
    duck.execute("CREATE TABLE factors AS SELECT range AS id, range * 10.0 AS factor FROM range(5)")
    found = rows("SELECT r.name, f.factor FROM remote.readings r JOIN factors f ON r.id = f.id ORDER BY 1")
    assert [(name, float(factor)) for name, factor in found] == [("one", 10), ("three", 30), ("two", 20)], found


def asks_in_our_words():
    mass = rows("SELECT * FROM postgres_query('remote', 'SELECT species, PREDICT(mass USING *) AS m FROM penguins LIMIT 2')")
    assert len(mass) == 2 and mass[0][1] > 1000, mass
    duck.execute("CALL postgres_execute('remote', 'CREATE TABLE told (id INT)')")
    duck.execute("CALL postgres_execute('remote', 'DROP TABLE told')")
    assert rows(f"SELECT count(*) FROM postgres_scan('{DSN}', 'public', 'readings')") == [(3,)]


def makes_and_fills_tables():
    duck.execute("CREATE TABLE remote.made AS SELECT range AS id, 's' || range AS s, range / 4 AS x, [range, 1] AS numbers, "
                 "DATE '2026-01-01' + range::INT AS d, TIMESTAMP '2026-01-01 10:00:00.5' AS at, (range % 2 = 0) AS b FROM range(5000)")
    assert rows("SELECT count(*), sum(id) FROM remote.made") == [(5000, 12497500)]
    assert rows("SELECT s, x, numbers, d FROM remote.made WHERE id = 3") == [("s3", 0.75, [3, 1], datetime.date(2026, 1, 4))]
    duck.execute("INSERT INTO remote.made (id, s) VALUES (9000, 'late'), (9001, NULL)")
    assert rows("SELECT id, s, x FROM remote.made WHERE id >= 9000 ORDER BY id") == [(9000, "late", None), (9001, None, None)]
    duck.execute("CREATE TABLE remote.lab.kept (id INTEGER PRIMARY KEY, s VARCHAR NOT NULL, u UUID, f FLOAT)")
    duck.execute("INSERT INTO remote.lab.kept VALUES (1, 'a', '6f1c0000-0000-0000-0000-000000000001', 1.5)")
    assert rows("SELECT s, f, u::VARCHAR FROM remote.lab.kept") == [("a", 1.5, "6f1c0000-0000-0000-0000-000000000001")]


def keeps_to_transactions():
    duck.execute("BEGIN")
    duck.execute("INSERT INTO remote.lab.kept (id, s) VALUES (2, 'b')")
    assert rows("SELECT count(*) FROM remote.lab.kept") == [(2,)]
    duck.execute("ROLLBACK")
    assert rows("SELECT count(*) FROM remote.lab.kept") == [(1,)]


def defines():
    duck.execute("CREATE SCHEMA remote.fresh")
    duck.execute("CREATE VIEW remote.fresh.few AS SELECT 1 AS one")
    duck.execute("ALTER TABLE remote.made ADD COLUMN more INTEGER")
    duck.execute("ALTER TABLE remote.made RENAME COLUMN more TO less")
    duck.execute("ALTER TABLE remote.made DROP COLUMN less")
    duck.execute("CREATE INDEX by_s ON remote.made (s)")
    duck.execute("DROP VIEW remote.fresh.few")
    duck.execute("DROP SCHEMA remote.fresh")
    duck.execute("DROP TABLE remote.made")
    duck.execute("DROP TABLE remote.lab.kept")
    duck.execute("DETACH remote")


run(attaches, reads_rows, joins_with_its_own, asks_in_our_words, makes_and_fills_tables, keeps_to_transactions, defines)
