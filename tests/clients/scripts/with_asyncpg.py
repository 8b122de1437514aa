"""asyncpg, which speaks binary only and reads the catalogs for types that it does not know."""

import asyncio
import datetime
import io
from decimal import Decimal

import asyncpg

from steps import PORT, run


async def connected(work):
    connection = await asyncpg.connect(host="127.0.0.1", port=int(PORT), user="postgres", database="postgres")
    try:
        return await work(connection)
    finally:
        await connection.close()


def reads_rows():
    async def work(connection):
        row = await connection.fetchrow("SELECT id, value, name, price, at, day, ok, tags FROM readings WHERE id = $1", 1)
        expected = (
            1, 1.5, "one", Decimal("10.25"), datetime.datetime(2026, 1, 1, 10), datetime.date(2026, 1, 1), True, ["a", "b"],
        )
        assert tuple(row) == expected, row

    asyncio.run(connected(work))


def prepares():
    async def work(connection):
        statement = await connection.prepare("SELECT name FROM readings WHERE id = $1 AND price > $2")
        assert [parameter.name for parameter in statement.get_parameters()][0] == "int8"
        assert await statement.fetchval(2, Decimal("1.5")) == "two"

    asyncio.run(connected(work))


def tells_the_types_of_numbers():
    async def work(connection):
        for query, expected in [
            ("SELECT id ^ $1, |/ $2, 2 ^ $3 FROM readings", ["float8", "float8", "float8"]),
            ("SELECT ntile($1) OVER (ORDER BY id), nth_value(id, $2) OVER (ORDER BY id) FROM readings", ["int4", "int4"]),
            ("SELECT percentile_cont($1) WITHIN GROUP (ORDER BY id) FROM readings", ["float8"]),
            ("SELECT id FROM readings WHERE id IN ($1, $2)", ["int8", "int8"]),
        ]:
            statement = await connection.prepare(query)
            found = [parameter.name for parameter in statement.get_parameters()]
            assert found == expected, (query, found)
        assert await connection.fetchval("SELECT $1 IN (1, 2)", 2) is True
        assert await connection.fetchval("SELECT 2 ^ $1", 3.0) == 8.0

    asyncio.run(connected(work))


def reads_the_catalogs_for_types():
    async def work(connection):
        rows = await connection.fetch("SELECT typname, typtype, typinput FROM pg_type WHERE typname = 'int4'")
        assert rows[0]["typname"] == "int4" and rows[0]["typtype"] == b"b", rows
        names = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname = ANY($1::text[])", ["public", "lab"])
        assert len(names) == 2, names

    asyncio.run(connected(work))


def looks_names_of_objects_up_each_time():
    async def work(connection):
        # What SQLAlchemy's reflection asks of each table.
        text = "SELECT relname FROM pg_class WHERE oid = $1::regclass"
        for name in ["readings", "pg_class", "readings"]:
            assert await connection.fetchval(text, name) == name
            assert await connection.fetchval("SELECT $1::regclass = 1259", name) is (name == "pg_class")
            assert await connection.fetchval("SELECT 1259 = $1::text::regclass", name) is (name == "pg_class")
        text = "SELECT attgenerated, attidentity FROM pg_attribute WHERE attrelid = 'readings'::regclass AND attnum = 1"
        assert tuple(await connection.fetchrow(text)) == (b"\0", b"\0")
        text = "SELECT CASE WHEN true THEN relkind END, relname FROM pg_class WHERE relname = 'readings'"
        assert (await connection.fetchrow(text))["relname"] == "readings"
        text = "SELECT count(*) FROM pg_attribute WHERE attrelid = 'readings'::regclass AND attnum = 1 AND attgenerated = $1"
        assert await connection.fetchval(text, b"\0") == 1

    asyncio.run(connected(work))


def copies_rows():
    async def work(connection):
        await connection.execute("CREATE TABLE copied (id INT PRIMARY KEY, s TEXT, x FLOAT8)")
        rows = [(n, f"s{n}", n / 2) for n in range(100)]
        assert await connection.copy_records_to_table("copied", records=rows) == "COPY 100"
        out = io.BytesIO()
        await connection.copy_from_query("SELECT id, s FROM copied WHERE id < $1 ORDER BY id", 2, output=out, format="csv")
        assert out.getvalue() == b"0,s0\n1,s1\n", out.getvalue()
        try:
            await connection.copy_records_to_table("copied", records=rows[:1])
            raise AssertionError("no error")
        except asyncpg.UniqueViolationError as error:
            assert error.constraint_name == "copied_pkey" and error.table_name == "copied", error.as_dict()
        await connection.execute("DROP TABLE copied")

    asyncio.run(connected(work))


def keeps_the_digits_of_numerics():
    async def work(connection):
        await connection.execute("CREATE TABLE rates (id int, n numeric(38,18), g numeric(12,2))")
        exact = Decimal("0.123456789012345678")
        await connection.execute("INSERT INTO rates VALUES ($1, $2, $3), (2, 0.123456789, 1.01)", 1, exact, Decimal("1.004"))
        assert await connection.fetch("SELECT n, g FROM rates WHERE id = 1") == [(exact, Decimal("1.00"))]

        async def found(condition, *values):
            rows = await connection.fetch(f"SELECT id FROM rates WHERE {condition} ORDER BY id", *values)
            return [row["id"] for row in rows]

        # Two values that columns hold, and some that they do not.
        for value, of_price, below in [("1", [1], []), ("1.01", [2], [1]), ("1.004", [], [1]), ("0.996", [], []), ("1E+15", [], [1, 2])]:
            value = Decimal(value)
            assert await found("g = $1", value) == of_price, value
            assert await found("g IN ($1, $2)", value, Decimal(7)) == of_price, value
            assert await found("g = ANY($1)", [value, None]) == of_price, value
            assert await found("g BETWEEN $1 AND $1", value) == of_price, value
            assert await found("g < $1", value) == below, value
            assert await found("$1 = g OR n > $2 * g", value, Decimal(9)) == of_price, value
        assert await found("n = $1", exact) == [1]
        assert await found("n - $1::numeric = 0", exact) == [1]
        assert await found("id = $1 OR g = $1", 1) == [1]
        assert await connection.fetchval("SELECT $1::numeric + 0", exact) == exact
        assert await connection.fetchval("UPDATE rates SET n = n + $1 WHERE g = $2 RETURNING n - $3", Decimal("1E-18"), Decimal("1.0"), exact) == Decimal("1E-18")
        await connection.execute("DROP TABLE rates")

    asyncio.run(connected(work))


def takes_arrays():
    async def work(connection):
        assert await connection.fetchval("SELECT $1::int[]", [1, 2]) == [1, 2]
        assert await connection.fetchval("SELECT '{1,2}'::int[]") == [1, 2]
        assert await connection.fetchval("SELECT $1::text[]", ["a", None]) == ["a", None]
        rows = await connection.fetch("SELECT id FROM readings WHERE name = ANY($1) ORDER BY id", ["one", "three"])
        assert [row["id"] for row in rows] == [1, 3], rows

    asyncio.run(connected(work))


def reads_by_cursors_and_generates_keys():
    async def work(connection):
        async with connection.transaction():
            cursor = await connection.cursor("SELECT value FROM generate_series(1, 100) AS g(value)")
            assert [row["value"] for row in await cursor.fetch(3)] == [1, 2, 3]
            total = 0
            async for row in connection.cursor("SELECT value FROM generate_series(1, 100) AS g(value)", prefetch=7):
                total += row["value"]
            assert total == 5050
        async with connection.transaction():
            await connection.execute("CREATE TABLE keyed (id SERIAL PRIMARY KEY, s TEXT)")
            assert await connection.fetchval("INSERT INTO keyed (s) VALUES ($1) RETURNING id", "a") == 1
        await connection.executemany("INSERT INTO keyed (s) VALUES ($1)", [("b",), ("c",)])
        assert await connection.fetchval("SELECT count(*) FROM keyed") == 3
        await connection.execute("DROP TABLE keyed")

    asyncio.run(connected(work))


def sends_what_the_statement_asks_for():
    async def work(connection):
        assert await connection.fetchval("SELECT $1::numeric", Decimal("1.5")) == Decimal("1.5")
        assert await connection.fetchval("SELECT $1::interval", datetime.timedelta(1)) == datetime.timedelta(1)
        rows = await connection.fetch("SELECT id FROM readings ORDER BY id LIMIT $1", 2)
        assert len(rows) == 2, rows
        later = await connection.fetchval("SELECT at + $1 FROM readings WHERE id = 1", datetime.timedelta(hours=1))
        assert later == datetime.datetime(2026, 1, 1, 11), later
        rows = await connection.fetch("SELECT * FROM generate_series(1, $1) AS g", 3)
        assert len(rows) == 3, rows
        # It refuses values of another type than it is told.
        assert await connection.fetchval("SELECT chr($1) || left('hello', $2)", 65, 2) == "Ahe"
        assert await connection.fetchval("SELECT jsonb_array_length($1)", "[1, 2]") == 2
        assert await connection.fetchval("SELECT make_interval(days => $1)", 2) == datetime.timedelta(2)
        assert await connection.fetchval("SELECT length(sha256($1))", b"") == 32
        text = "SELECT age(at, $1) FROM readings WHERE id = 1"
        assert await connection.fetchval(text, datetime.datetime(2026, 1, 1, 9)) == datetime.timedelta(hours=1)
        text = "SELECT * FROM generate_series($1::timestamp, $2, $3)"
        ends = datetime.datetime(2026, 1, 1), datetime.datetime(2026, 1, 3)
        assert len(await connection.fetch(text, *ends, datetime.timedelta(1))) == 3
        text = "SELECT count(*) FROM pg_class WHERE relname = $1 AND relkind = ANY ($2)"
        assert await connection.fetchval(text, "readings", [b"r"]) == 1

    asyncio.run(connected(work))


def keeps_enums():
    async def work(connection):
        await connection.execute("CREATE TYPE mood AS ENUM ('sad', 'ok', 'happy')")
        await connection.execute("CREATE TABLE feelings (id int, m mood, ms mood[])")
        await connection.execute("INSERT INTO feelings VALUES (1, $1, '{ok,sad}')", "happy")
        row = await connection.fetchrow("SELECT m, ms FROM feelings WHERE m > $1", "sad")
        assert tuple(row) == ("happy", ["ok", "sad"]), row
        await connection.execute("DROP TABLE feelings")
        await connection.execute("DROP TYPE mood")

    asyncio.run(connected(work))


def moves_cursors():
    async def work(connection):
        async with connection.transaction():
            cursor = await connection.cursor("SELECT g FROM generate_series(0, 99) g ORDER BY 1")
            assert [row[0] for row in await cursor.fetch(3)] == [0, 1, 2]
            await cursor.forward(10)
            assert (await cursor.fetchrow())[0] == 13
            assert [row[0] for row in await cursor.fetch(2)] == [14, 15]
            cursor = await connection.cursor("SELECT g FROM generate_series(0, 99) g ORDER BY 1")
            assert await cursor.forward(2) == 2
            assert [row[0] for row in await cursor.fetch(2)] == [2, 3]

    asyncio.run(connected(work))


def is_refused_infinite_moments():
    async def work(connection):
        for kind, value in [("date", datetime.date.max), ("date", datetime.date.min), ("timestamp", datetime.datetime.max)]:
            for text in [f"SELECT ($1::{kind})::text", f"SELECT ($1::{kind}[])::text"]:
                try:
                    await connection.fetchval(text, [value] if "[]" in text else value)
                except asyncpg.FeatureNotSupportedError as error:
                    assert "infinity" in str(error), error
                else:
                    raise AssertionError(f"{text} took {value}")

    asyncio.run(connected(work))


def is_notified():
    async def work(connection):
        told = asyncio.Queue()

        def listener(of, process, channel, payload):
            told.put_nowait((process, channel, payload))

        async def next_told():
            return await asyncio.wait_for(told.get(), 30)

        other = await asyncpg.connect(host="127.0.0.1", port=int(PORT), user="postgres", database="postgres")
        try:
            process = other.get_server_pid()
            await connection.add_listener("jobs", listener)
            # It does nothing meanwhile.
            await other.execute("SELECT pg_notify($1, $2)", "jobs", "one")
            assert await next_told() == (process, "jobs", "one")
            try:
                async with other.transaction():
                    await other.execute("NOTIFY jobs, 'lost'")
                    raise ValueError("taken back")
            except ValueError:
                pass
            async with other.transaction():
                await other.execute("NOTIFY jobs, 'two'; NOTIFY jobs, 'two'; NOTIFY others")
            assert await next_told() == (process, "jobs", "two")
            await connection.execute("NOTIFY jobs")
            assert await next_told() == (connection.get_server_pid(), "jobs", "")
            await connection.remove_listener("jobs", listener)
            assert await connection.fetch("SELECT pg_listening_channels()") == []
            assert told.empty()
        finally:
            await other.close()

    asyncio.run(connected(work))


run(
    reads_rows,
    prepares,
    tells_the_types_of_numbers,
    reads_the_catalogs_for_types,
    looks_names_of_objects_up_each_time,
    copies_rows,
    reads_by_cursors_and_generates_keys,
    keeps_the_digits_of_numerics,
    takes_arrays,
    sends_what_the_statement_asks_for,
    keeps_enums,
    moves_cursors,
    is_refused_infinite_moments,
    is_notified,
)
