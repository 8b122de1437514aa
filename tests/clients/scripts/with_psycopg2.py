"""psycopg2, which most of what is installed still uses: text only, parameters put in by the client."""

import datetime
from decimal import Decimal

import psycopg2
import psycopg2.extras

from steps import DSN, run

connection = psycopg2.connect(DSN)
connection.autocommit = True


def reads_rows():
    cursor = connection.cursor()
    cursor.execute("SELECT id, value, name, price, at, tz, day, ok, tags, NULL FROM readings WHERE id = %s", (1,))
    row = cursor.fetchone()
    utc = datetime.timezone.utc
    expected = (
        1, 1.5, "one", Decimal("10.25"), datetime.datetime(2026, 1, 1, 10), datetime.datetime(2026, 1, 1, 10, tzinfo=utc),
        datetime.date(2026, 1, 1), True, ["a", "b"], None,
    )
    assert row == expected, row


def reads_dictionaries():
    cursor = connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
    cursor.execute("SELECT id, name FROM readings WHERE id IN %s ORDER BY id", ((1, 2),))
    assert [dict(row) for row in cursor] == [{"id": 1, "name": "one"}, {"id": 2, "name": "two"}]


def writes_many_rows():
    cursor = connection.cursor()
    cursor.execute("CREATE TABLE psycopg2_rows (id INT, s TEXT, d DATE)")
    rows = [(n, f"it's {n}", datetime.date(2026, 1, 1 + n)) for n in range(20)]
    psycopg2.extras.execute_values(cursor, "INSERT INTO psycopg2_rows VALUES %s", rows)
    cursor.execute("SELECT count(*), max(d), min(s) FROM psycopg2_rows")
    assert cursor.fetchone() == (20, datetime.date(2026, 1, 20), "it's 0")
    cursor.execute("DROP TABLE psycopg2_rows")


def knows_the_server():
    assert connection.server_version == 150000 and connection.encoding == "UTF8"
    assert connection.get_parameter_status("TimeZone") == "UTC"


run(reads_rows, reads_dictionaries, writes_many_rows, knows_the_server)
