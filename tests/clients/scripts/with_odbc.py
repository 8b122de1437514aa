"""psqlODBC through pyodbc: the catalog functions that BI tools call, and rows both ways."""

import datetime
from decimal import Decimal

import pyodbc

from steps import PORT, run

connection = pyodbc.connect(
    f"DRIVER={{PostgreSQL Unicode}};SERVER=127.0.0.1;PORT={PORT};DATABASE=postgres;UID=postgres", autocommit=True
)


def lists_tables():
    names = {(row.table_name, row.table_type) for row in connection.cursor().tables(schema="public")}
    assert {("readings", "TABLE"), ("high", "VIEW")} <= names, names


def describes_columns():
    columns = {row.column_name: row for row in connection.cursor().columns(table="readings")}
    assert columns["id"].type_name == "int8" and columns["id"].nullable == 0, columns["id"]
    assert columns["price"].type_name == "numeric" and columns["price"].column_size == 10, columns["price"]
    assert columns["name"].nullable == 1


def asks_for_keys_and_indexes():
    cursor = connection.cursor()
    assert cursor.primaryKeys("readings").fetchall() == []
    cursor.execute("CREATE TABLE keyed (a INT, b TEXT, PRIMARY KEY (b, a))")
    assert [row.column_name for row in cursor.primaryKeys("keyed")] == ["b", "a"]
    cursor.execute("DROP TABLE keyed")
    assert cursor.foreignKeys("readings").fetchall() == []
    cursor.statistics("readings").fetchall()
    cursor.rowIdColumns("readings").fetchall()
    cursor.rowVerColumns("readings").fetchall()
    assert len(cursor.getTypeInfo().fetchall()) > 10
    assert any(row.procedure_name == "predict" for row in cursor.procedures(schema="ml"))
    cursor.procedureColumns("predict").fetchall()


def reads_rows():
    cursor = connection.cursor()
    row = cursor.execute("SELECT id, value, name, price, at, day, ok FROM readings WHERE id = ?", 1).fetchone()
    expected = (
        1, 1.5, "one", Decimal("10.25"), datetime.datetime(2026, 1, 1, 10), datetime.date(2026, 1, 1), True,
    )
    # The driver gives booleans as text unless asked otherwise.
    assert tuple(row)[:6] == expected[:6] and row[6] in (True, "1"), row
    assert [column[0] for column in cursor.description][:3] == ["id", "value", "name"]


def writes_rows():
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE odbc_rows (id INT, s TEXT)")
    cursor.execute("INSERT INTO odbc_rows VALUES (7, 'it''s')")
    assert tuple(cursor.execute("SELECT id, s FROM odbc_rows").fetchone()) == (7, "it's")
    cursor.execute("DROP TABLE odbc_rows")


def predicts():
    (mass,) = connection.cursor().execute("SELECT PREDICT(mass USING *) FROM penguins LIMIT 1").fetchone()
    assert 2000 < mass < 7000, mass


def knows_what_it_talks_to():
    assert connection.getinfo(pyodbc.SQL_DBMS_NAME) == "PostgreSQL"
    assert connection.getinfo(pyodbc.SQL_DBMS_VER).startswith("15"), connection.getinfo(pyodbc.SQL_DBMS_VER)


run(
    lists_tables,
    describes_columns,
    asks_for_keys_and_indexes,
    reads_rows,
    writes_rows,
    predicts,
    knows_what_it_talks_to,
)
