"""asyncpg, which speaks binary only and reads the catalogs for types that it does not know."""

import asyncio
import datetime
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


def reads_the_catalogs_for_types():
    async def work(connection):
        rows = await connection.fetch("SELECT typname, typtype, typinput FROM pg_type WHERE typname = 'int4'")
        assert rows[0]["typname"] == "int4" and rows[0]["typtype"] == b"b", rows
        names = await connection.fetch("SELECT nspname FROM pg_namespace WHERE nspname = ANY($1::text[])", ["public", "lab"])
        assert len(names) == 2, names

    asyncio.run(connected(work))


run(reads_rows, prepares, reads_the_catalogs_for_types)
