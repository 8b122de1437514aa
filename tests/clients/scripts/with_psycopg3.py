"""psycopg 3 as an application uses it: parameters, binary results, pipelines, async, errors, notices."""

import asyncio
import datetime
import enum
import threading
import uuid
from decimal import Decimal

import psycopg
from psycopg.rows import dict_row
from psycopg.types.composite import CompositeInfo
from psycopg.types.enum import EnumInfo, register_enum
from psycopg.types.json import Json, Jsonb

from steps import DSN, run

connection = psycopg.connect(DSN, autocommit=True)
UTC = datetime.timezone.utc


def reads_types_as_text_and_binary():
    query = """SELECT 1::int, 2::bigint, 3::smallint, 'a'::text, 1.5::float8, 2.5::real, true, 1.50::numeric(5,2),
               DATE '2026-01-02', TIMESTAMP '2026-01-02 03:04:05', TIMESTAMPTZ '2026-01-02 03:04:05Z',
               ARRAY[1, 2], ARRAY['x', NULL], INTERVAL '1 day', NULL"""
    expected = (
        1, 2, 3, "a", 1.5, 2.5, True, Decimal("1.50"), datetime.date(2026, 1, 2),
        datetime.datetime(2026, 1, 2, 3, 4, 5), datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC),
        [1, 2], ["x", None], datetime.timedelta(days=1), None,
    )
    for binary in (False, True):
        row = connection.cursor(binary=binary).execute(query).fetchone()
        assert row == expected, (binary, row)


def sends_parameters():
    query = "SELECT {0} + 1, {0}::text, {0}::float8, {0}::bool, {0}::date, {0}::numeric(8,2), {0}::int[], {0}::timestamptz, {0}::bytea"
    values = (
        1, "it's", 1.5, True, datetime.date(2026, 1, 1), Decimal("1.25"), [1, 2],
        datetime.datetime(2026, 1, 1, tzinfo=UTC), b"\x00\x01",
    )
    for form in ("%s", "%t", "%b"):
        row = connection.execute(query.format(form), values).fetchone()
        assert row == (2,) + values[1:], (form, row)


def finds_rows_by_a_list():
    query = "SELECT count(*) FROM readings WHERE id = ANY(%s)"
    assert connection.execute(query, ([1, 3, 9],)).fetchone() == (2,)


def finds_rows_by_a_list_of_texts():
    query = "SELECT count(*) FROM readings WHERE name = ANY(%s)"
    assert connection.execute(query, (["one", "three"],)).fetchone() == (2,)


def inserts_and_hears_what_was_inserted():
    connection.execute("CREATE TABLE typed (id int, big bigint, f float8, n numeric(12,3), d date, at timestamp, tags int[])")
    insert = "INSERT INTO typed VALUES (%s, %s, %s, %s, %s, %s, %s) RETURNING id, big, f, n, d, at, tags"
    at = datetime.datetime(2026, 1, 1, 23)
    row = connection.execute(insert, (2, 3, 5, Decimal("1.25"), at, datetime.date(2026, 1, 2), [1, 2])).fetchone()
    expected = (2, 3, 5.0, Decimal("1.250"), datetime.date(2026, 1, 1), datetime.datetime(2026, 1, 2), [1, 2])
    assert row == expected, row
    row = connection.execute("UPDATE typed SET f = %s, id = id + %s WHERE id = %s RETURNING id, f", (7, 1, 2)).fetchone()
    assert row == (3, 7.0), row
    connection.execute("DROP TABLE typed")


def keeps_times_and_durations():
    connection.execute("CREATE TABLE lessons (id int, begins time, takes interval)")
    day = datetime.timedelta(days=1, hours=2, seconds=1, microseconds=500000)
    rows = [(1, datetime.time(10, 30), day), (2, datetime.time(8, 0, 0, 5), datetime.timedelta(minutes=-5)), (3, None, None)]
    for (form, row) in zip(("%s", "%t", "%b"), rows):
        connection.execute(f"INSERT INTO lessons VALUES ({form}, {form}, {form})", row)
    for binary in (False, True):
        found = connection.cursor(binary=binary).execute("SELECT * FROM lessons ORDER BY id").fetchall()
        assert found == rows, (binary, found)
    for options in ("", " (FORMAT BINARY)"):
        with connection.cursor() as cursor, cursor.copy("COPY lessons FROM STDIN" + options) as copy:
            copy.set_types(["int4", "time", "interval"])
            copy.write_row((4, datetime.time(23, 59, 59), datetime.timedelta(hours=30)))
    query = "SELECT id FROM lessons WHERE begins < %s AND takes > %s"
    assert connection.execute(query, (datetime.time(11), datetime.timedelta(hours=25))).fetchall() == [(1,)]
    query = "SELECT max(begins), max(takes), count(*) FROM lessons"
    assert connection.execute(query).fetchone() == (datetime.time(23, 59, 59), datetime.timedelta(hours=30), 5)
    connection.execute("DROP TABLE lessons")


def computes_with_parameters():
    for query, values, expected in (
        ("SELECT at + %s FROM readings WHERE id = 1", (datetime.timedelta(hours=1),), datetime.datetime(2026, 1, 1, 11)),
        ("SELECT interval '1 day' * %s", (2,), datetime.timedelta(days=2)),
        ("SELECT substring(%s from %s for %s)", ("hello", 2, 3), "ell"),
        ("SELECT count(*) FROM readings WHERE id > %s", (Decimal("1.5"),), 2),
        ("SELECT round(%s, 2)", (Decimal("1.005"),), Decimal("1.01")),
        ("SELECT count(*) FROM (SELECT %s UNION ALL SELECT %s) AS u", (1, 2), 2),
    ):
        row = connection.execute(query, values).fetchone()
        assert row == (expected,), (query, row)


def prepares_what_is_run_often():
    for id in range(1, 4):
        row = connection.execute("SELECT name FROM readings WHERE id = %s", (id,), prepare=True).fetchone()
        assert row == (["one", "two", "three"][id - 1],)


def pipelines():
    with connection.pipeline():
        cursors = [connection.execute("SELECT %s::int", (n,)) for n in range(5)]
    assert [cursor.fetchone()[0] for cursor in cursors] == list(range(5))


def names_columns():
    row = connection.cursor(row_factory=dict_row).execute("SELECT id, name FROM readings WHERE id = 1").fetchone()
    assert row == {"id": 1, "name": "one"}
    description = connection.execute("SELECT id, price FROM readings").description
    assert [(column.name, column.type_display) for column in description] == [("id", "int8"), ("price", "numeric(10,2)")]


def predicts():
    rows = connection.execute("SELECT PREDICT(mass USING *) FROM penguins LIMIT 3").fetchall()
    assert len(rows) == 3 and all(2000 < mass < 7000 for (mass,) in rows), rows
    connection.execute("SELECT * FROM ml.models WHERE name = %s", ("mass",)).fetchone()
    # The model and the query as parameters: the columns are those of the portal.
    query = "SELECT * FROM penguins WHERE island = 'Dream'"
    rows = connection.execute("SELECT prediction FROM ml.predict(%s, %s)", ("mass", query)).fetchall()
    assert len(rows) == 124 and all(2000 < mass < 7000 for (mass,) in rows), rows
    row = connection.execute("SELECT mean_absolute_error FROM ml.evaluate(%s)", ("mass",)).fetchone()
    assert 0 < row[0] < 1000, row


def tells_errors_apart():
    try:
        connection.execute("SELECT nothing FROM readings")
        raise AssertionError("no error")
    except psycopg.errors.UndefinedColumn as error:
        assert error.diag.statement_position == "8", error.diag.statement_position
    try:
        connection.execute("SELECT 1 / 0").fetchone()
        raise AssertionError("no error")
    except psycopg.errors.DivisionByZero:
        pass
    assert connection.execute("SELECT 1").fetchone() == (1,)


def hears_notices():
    heard = []
    connection.add_notice_handler(lambda notice: heard.append(notice.message_primary))
    connection.execute("CREATE SCHEMA IF NOT EXISTS lab")
    assert heard == ['schema "lab" already exists, skipping'], heard


def asks_for_types():
    from psycopg.types import TypeInfo
    from psycopg.types.composite import CompositeInfo
    from psycopg.types.enum import EnumInfo
    from psycopg.types.range import RangeInfo

    assert TypeInfo.fetch(connection, "int4").array_oid == 1007
    assert TypeInfo.fetch(connection, "hstore") is None
    assert EnumInfo.fetch(connection, "mood") is None
    assert CompositeInfo.fetch(connection, "address") is None
    assert RangeInfo.fetch(connection, "int4range").subtype_oid == 23


def copies_rows():
    with connection.cursor() as cursor:
        cursor.execute("CREATE TABLE copied (id INT, s TEXT, at TIMESTAMP)")
        at = datetime.datetime(2026, 1, 2, 3, 4, 5)
        with cursor.copy("COPY copied FROM STDIN") as copy:
            for n in range(1000):
                copy.write_row((n, f"s\t{n}" if n else None, at))
        with cursor.copy("COPY copied (id, s, at) FROM STDIN (FORMAT BINARY)") as copy:
            copy.set_types(["int4", "text", "timestamp"])
            copy.write_row((1000, "binary", at))
        with cursor.copy("COPY (SELECT id, s FROM copied WHERE id IN (0, 1, 1000) ORDER BY id) TO STDOUT") as copy:
            copy.set_types(["int4", "text"])
            assert list(copy.rows()) == [(0, None), (1, "s\t1"), (1000, "binary")]
        with cursor.copy("COPY copied TO STDOUT (FORMAT CSV, HEADER)") as copy:
            assert sum(bytes(part).count(b"\n") for part in copy) == 1002
        cursor.execute("DROP TABLE copied")


def reads_by_server_side_cursors():
    with psycopg.connect(DSN) as block:
        with block.cursor(name="numbers") as cursor:
            cursor.itersize = 100
            cursor.execute("SELECT value FROM generate_series(1, 1000) AS g(value)")
            assert cursor.fetchmany(3) == [(1,), (2,), (3,)]
            assert sum(value for (value,) in cursor) == 500500 - 6


def generates_keys():
    with psycopg.connect(DSN) as block:
        block.execute("CREATE TABLE keyed (id SERIAL PRIMARY KEY, s TEXT UNIQUE)")
        assert block.execute("INSERT INTO keyed (s) VALUES (%s), (%s) RETURNING id", ("a", "b")).fetchall() == [(1,), (2,)]
        cursor = block.cursor()
        cursor.executemany("INSERT INTO keyed (s) VALUES (%s) RETURNING id", [("c",), ("d",)], returning=True)
        ids = [cursor.fetchone()[0]]
        while cursor.nextset():
            ids.append(cursor.fetchone()[0])
        assert ids == [3, 4], ids
        upsert = "INSERT INTO keyed (s) VALUES (%s) ON CONFLICT (s) DO UPDATE SET s = excluded.s || '!' RETURNING id, s"
        assert block.execute(upsert, ("a",)).fetchone() == (1, "a!")
    try:
        connection.execute("INSERT INTO keyed (id) VALUES (1)")
        raise AssertionError("no error")
    except psycopg.errors.UniqueViolation as error:
        diag = error.diag
        assert (diag.schema_name, diag.table_name, diag.constraint_name) == ("public", "keyed", "keyed_pkey")
        assert diag.message_detail == "Key (id)=(1) already exists.", diag.message_detail
    connection.execute("DROP TABLE keyed")


def is_cancelled():
    timer = threading.Timer(0.2, connection.cancel)
    timer.start()
    try:
        connection.execute("SELECT count(*) FROM generate_series(1, 10000000) a, generate_series(1, 10000) b").fetchone()
        raise AssertionError("not cancelled")
    except psycopg.errors.QueryCanceled:
        pass
    timer.join()


def works_asynchronously():
    async def one(n):
        async with await psycopg.AsyncConnection.connect(DSN) as connection:
            cursor = await connection.execute("SELECT %s::int", (n,))
            return (await cursor.fetchone())[0]

    async def all():
        return await asyncio.gather(*(one(n) for n in range(4)))

    assert asyncio.run(all()) == [0, 1, 2, 3]


def decodes_columns_of_json():
    connection.execute("CREATE TABLE docs (id int, doc jsonb, raw json)")
    document = {"user": "ann", "tags": ["a", None], "n": 1.5}
    insert = "INSERT INTO docs VALUES (1, %s, %s)"
    connection.execute(insert, (Jsonb(document), Json([1, {"x": True}])))
    for binary in (False, True):
        cursor = connection.cursor(binary=binary).execute("SELECT doc, raw, doc->'tags', row_to_json(docs) FROM docs")
        row = {"id": 1, "doc": document, "raw": [1, {"x": True}]}
        assert cursor.fetchone() == (document, [1, {"x": True}], ["a", None], row), binary
        assert [column.type_code for column in cursor.description] == [3802, 114, 3802, 114]
    try:
        connection.execute("INSERT INTO docs (doc) VALUES (%s)", ("{",))
        raise AssertionError("no json was taken")
    except psycopg.errors.InvalidTextRepresentation:
        pass


def keeps_uuids():
    key = uuid.uuid4()
    connection.execute("CREATE TABLE keyed (id uuid PRIMARY KEY DEFAULT gen_random_uuid(), note text)")
    connection.execute("INSERT INTO keyed VALUES (%s, 'given')", (key,))
    drawn = connection.execute("INSERT INTO keyed (note) VALUES ('drawn') RETURNING id").fetchone()[0]
    assert isinstance(drawn, uuid.UUID) and drawn.version == 4, drawn
    for form in ("%s", "%t", "%b"):
        for binary in (False, True):
            cursor = connection.cursor(binary=binary)
            row = cursor.execute(f"SELECT id, note FROM keyed WHERE id = {form}", (key,)).fetchone()
            assert row == (key, "given"), (form, binary, row)
    count = connection.execute("SELECT count(*) FROM keyed WHERE id = ANY(%s)", ([key, drawn],)).fetchone()
    assert count == (2,), count
    for form in ("text", "binary"):
        with connection.cursor().copy(f"COPY keyed FROM STDIN (FORMAT {form})") as copy:
            copy.set_types(["uuid", "text"])
            copy.write_row((uuid.uuid4(), form))
    assert connection.execute("SELECT count(*) FROM keyed").fetchone() == (4,)
    connection.execute("DROP TABLE keyed")


def sends_documents_and_uuids_anywhere():
    document, number = {"b": [1, None, "x"]}, uuid.UUID("a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11")
    for form in ("%s", "%t", "%b"):
        query = f"SELECT {form}, jsonb_build_object('a', {form}), {form} || {form}, {form}->'b', pg_typeof({form})::text"
        row = connection.execute(query, (Jsonb(document), Jsonb([1]), Jsonb([2]), Jsonb([3.0]), Jsonb(document), Jsonb(1))).fetchone()
        assert row == (document, {"a": [1]}, [2, 3.0], document["b"], "jsonb"), (form, row)
        query = f"SELECT {form}, json_build_object('a', {form}), to_json({form}), jsonb_agg({form}), coalesce(NULL, {form})"
        row = connection.execute(query, (Json(document), Json([1]), Json([2]), Jsonb([4]), Jsonb({}))).fetchone()
        assert row == (document, {"a": [1]}, [2], [[4]], {}), (form, row)
        query = f"SELECT {form}, coalesce(NULL, {form}), ARRAY[{form}], pg_typeof({form})::text"
        row = connection.execute(query, (number,) * 4).fetchone()
        assert row == (number, number, [number], "uuid"), (form, row)
        cursor = connection.execute(f"SELECT * FROM (VALUES ({form}, {form})) v(a, b)", (number, Jsonb([1])))
        assert [column.type_code for column in cursor.description] == [2950, 3802]
        assert cursor.fetchone() == (number, [1])


def keeps_the_digits_of_numerics():
    connection.execute("CREATE TABLE rates (id int, n numeric(38,18), g numeric(12,2))")
    exact = Decimal("0.123456789012345678")
    connection.execute("INSERT INTO rates VALUES (1, 0.123456789, 1), (2, %s, 1.01)", (exact,))
    for form in ("%s", "%t", "%b"):
        def found(condition, *values):
            query = f"SELECT id FROM rates WHERE {condition.format(form)} ORDER BY id"
            return [id for (id,) in connection.execute(query, values)]

        assert found("n = {0}", exact) == [2]
        assert found("n = {0}", Decimal("0.123456789")) == [1]
        assert found("n IN ({0}, {0})", exact, Decimal(5)) == [2]
        assert found("n = ANY({0})", [exact, Decimal("1.5")]) == [2]
        assert found("n BETWEEN {0} AND {0}", exact, exact) == [2]
        assert found("n > {0}", Decimal("0.1234567890123456779")) == [2]
        assert found("g = {0}", Decimal("1.004")) == []
        assert found("g < {0}", Decimal("1.004")) == [1]
        for value in ("0.123456789012345678", "1E-20", "12345678901234567890.123456789012345678", "1E+30", "-1.5"):
            row = connection.execute(f"SELECT {form}, {form} + 0, coalesce({form}, 0)", (Decimal(value),) * 3).fetchone()
            assert row[0] == Decimal(value), (form, row)
        row = connection.execute(f"SELECT {form} + 0, coalesce({form}, 0), ARRAY[{form}]", (exact,) * 3).fetchone()
        assert row == (exact, exact, [exact]), (form, row)
        connection.execute(f"UPDATE rates SET n = n + {form} WHERE id = 2", (Decimal("1E-18"),))
        connection.execute(f"UPDATE rates SET n = n - {form} WHERE n = {form}", (Decimal("1E-18"), exact + Decimal("1E-18")))
        connection.execute(f"INSERT INTO rates SELECT 3, {form}, {form}", (exact, Decimal("0.125")))
        cursor = connection.execute(f"DELETE FROM rates WHERE id = 3 RETURNING n, g, {form}", (exact,))
        assert cursor.fetchone() == (exact, Decimal("0.13"), exact)
    # What is copied is rounded to the digits of its column.
    with connection.cursor().copy("COPY rates FROM STDIN (FORMAT binary)") as copy:
        copy.set_types(["int4", "numeric", "numeric"])
        copy.write_row((4, Decimal("0.1234567890123456789"), Decimal("1.005")))
    row = connection.execute("SELECT n, g FROM rates WHERE id = 4").fetchone()
    assert row == (Decimal("0.123456789012345679"), Decimal("1.01")), row
    connection.execute("DROP TABLE rates")


def scrolls():
    with connection.transaction(), connection.cursor("there", scrollable=True) as cursor:
        cursor.execute("SELECT generate_series(1, 100) AS n ORDER BY n")
        assert cursor.fetchmany(3) == [(1,), (2,), (3,)]
        cursor.scroll(-2)
        assert cursor.fetchone() == (2,)
        cursor.scroll(99, mode="absolute")
        assert cursor.fetchall() == [(100,)]


class Mood(enum.Enum):
    sad = 1
    ok = 2
    happy = 3


def tells_the_types_of_rows():
    connection.execute("CREATE TABLE pairs (a int, b text, cs int[])")
    info = CompositeInfo.fetch(connection, "pairs")
    assert (info.name, info.regtype) == ("pairs", "pairs"), info
    assert list(info.field_names) == ["a", "b", "cs"] and list(info.field_types) == [23, 25, 1007], info
    numbers = connection.execute("SELECT 'pairs'::regtype::oid, 'pairs[]'::regtype::oid").fetchone()
    assert numbers == (info.oid, info.array_oid), numbers
    assert CompositeInfo.fetch(connection, "nothing") is None
    connection.execute("DROP TABLE pairs")


def keeps_enums():
    connection.execute("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
    connection.execute("CREATE TABLE feelings (id int, m mood, ms mood[])")
    info = EnumInfo.fetch(connection, "mood")
    assert list(info.labels) == ["sad", "ok", "happy"], info.labels
    register_enum(info, connection, Mood)
    for id, mood in enumerate([Mood.happy, Mood.sad]):
        connection.execute("INSERT INTO feelings VALUES (%s, %s, '{ok,sad}')", (id, mood))
    for binary in (False, True):
        cursor = connection.cursor(binary=binary).execute("SELECT m, ms FROM feelings ORDER BY m")
        assert [column.type_code for column in cursor.description] == [info.oid, info.array_oid]
        assert cursor.fetchall() == [(mood, [Mood.ok, Mood.sad]) for mood in (Mood.sad, Mood.happy)]
    assert connection.execute("SELECT id FROM feelings WHERE m > %s", (Mood.sad,)).fetchall() == [(0,)]
    assert connection.execute("SELECT %s::mood", ("ok",)).fetchone() == (Mood.ok,)
    connection.execute("DROP TABLE feelings")
    connection.execute("DROP TYPE mood")


def is_notified():
    with psycopg.connect(DSN, autocommit=True) as listener, psycopg.connect(DSN) as sender:
        listener.execute("LISTEN jobs")
        sender.execute("SELECT pg_notify('jobs', n::text) FROM generate_series(1, 2) AS s (n)")
        sender.commit()
        told = list(listener.notifies(timeout=30, stop_after=2))
        assert [(one.channel, one.payload, one.pid) for one in told] == [
            ("jobs", payload, sender.info.backend_pid) for payload in ("1", "2")
        ], told


run(
    reads_types_as_text_and_binary,
    sends_parameters,
    finds_rows_by_a_list,
    finds_rows_by_a_list_of_texts,
    inserts_and_hears_what_was_inserted,
    keeps_times_and_durations,
    computes_with_parameters,
    prepares_what_is_run_often,
    pipelines,
    names_columns,
    predicts,
    tells_errors_apart,
    hears_notices,
    asks_for_types,
    copies_rows,
    reads_by_server_side_cursors,
    generates_keys,
    is_cancelled,
    works_asynchronously,
    decodes_columns_of_json,
    keeps_uuids,
    tells_the_types_of_rows,
    keeps_enums,
    sends_documents_and_uuids_anywhere,
    keeps_the_digits_of_numerics,
    scrolls,
    is_notified,
)
