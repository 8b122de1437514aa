"""SQLAlchemy 2 as an application uses it: reflection of what others made, tables and rows of its own."""

import sys

import sqlalchemy as sa

from steps import URL, run

driver = sys.argv[2] if len(sys.argv) > 2 else "psycopg2"
# Definitions are committed by themselves, never inside a transaction block.
engine = sa.create_engine(f"postgresql+{driver}://postgres@{URL}", isolation_level="AUTOCOMMIT")


def connects():
    with engine.connect() as connection:
        assert "PostgreSQL 15" in connection.execute(sa.text("SELECT version()")).scalar()
    assert engine.dialect.server_version_info >= (15, 0)


def lists_relations():
    inspector = sa.inspect(engine)
    assert {"public", "lab", "ml"} <= set(inspector.get_schema_names()), inspector.get_schema_names()
    assert {"readings", "penguins"} <= set(inspector.get_table_names())
    assert inspector.get_view_names() == ["high"]
    assert inspector.get_table_names(schema="lab") == ["notes"]
    assert "mass" in inspector.get_foreign_table_names()
    assert inspector.has_table("readings") and not inspector.has_table("nothing")
    assert inspector.get_view_definition("high") == "SELECT * FROM readings WHERE value > 1"
    assert inspector.get_sequence_names() == [] and inspector.get_enums() == []


def reflects_columns():
    inspector = sa.inspect(engine)
    columns = {column["name"]: column for column in inspector.get_columns("readings")}
    types = {name: str(column["type"]) for name, column in columns.items()}
    assert types["id"] == "BIGINT" and types["value"] == "DOUBLE PRECISION", types
    assert types["price"] == "NUMERIC(10, 2)" and types["at"] == "TIMESTAMP", types
    assert types["tags"] == "TEXT[]" or types["tags"] == "ARRAY", types
    assert not columns["id"]["nullable"] and columns["name"]["nullable"]
    assert columns["name"]["default"] == "'nobody'", columns["name"]


def reflects_rules():
    inspector = sa.inspect(engine)
    assert inspector.get_pk_constraint("readings")["constrained_columns"] == []
    assert inspector.get_foreign_keys("readings") == []
    assert inspector.get_indexes("readings") == []
    assert inspector.get_unique_constraints("readings") == []
    checks = inspector.get_check_constraints("readings")
    assert [(check["name"], check["sqltext"]) for check in checks] == [("positive", "price > 0")], checks
    assert inspector.get_table_comment("readings") == {"text": "what was measured"}


def reflects_everything_at_once():
    inspector = sa.inspect(engine)
    assert (None, "readings") in inspector.get_multi_columns()
    inspector.get_multi_pk_constraint()
    inspector.get_multi_indexes()
    inspector.get_multi_foreign_keys()
    inspector.get_multi_unique_constraints()
    inspector.get_multi_check_constraints()
    inspector.get_multi_table_comment()
    metadata = sa.MetaData()
    metadata.reflect(engine, views=True)
    assert {"readings", "high"} <= set(metadata.tables)
    readings = metadata.tables["readings"]
    with engine.connect() as connection:
        query = sa.select(readings.c.name).where(readings.c.price > 15).order_by(readings.c.id)
        assert connection.execute(query).scalars().all() == ["two", "three"]


def makes_tables_and_rows():
    metadata = sa.MetaData()
    table = sa.Table("core_rows", metadata, sa.Column("id", sa.Integer), sa.Column("s", sa.String(10)))
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(table.insert(), [{"id": n, "s": str(n)} for n in range(5)])
        assert connection.execute(sa.select(sa.func.count()).select_from(table)).scalar() == 5
    with engine.begin() as connection:
        connection.execute(table.update().where(table.c.id == 1).values(s="x"))
        connection.execute(table.delete().where(table.c.id == 2))
    with engine.connect() as connection:
        rows = connection.execute(sa.select(table.c.s).order_by(table.c.id)).scalars().all()
        assert rows == ["0", "x", "3", "4"], rows
        assert connection.execute(sa.select(sa.exists().where(table.c.id == 3))).scalar() is True
    metadata.drop_all(engine)


run(connects, lists_relations, reflects_columns, reflects_rules, reflects_everything_at_once, makes_tables_and_rows)
