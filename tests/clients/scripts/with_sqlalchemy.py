"""SQLAlchemy 2 as an application uses it: reflection of what others made, tables and rows of its own."""

import datetime
import enum
import sys

import sqlalchemy as sa
from sqlalchemy import orm
from sqlalchemy.dialects import postgresql

from steps import URL, run

driver = sys.argv[2] if len(sys.argv) > 2 else "psycopg2"
engine = sa.create_engine(f"postgresql+{driver}://postgres@{URL}")


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
    assert inspector.get_view_definition("high") == "SELECT * FROM readings WHERE value > 1;"
    assert inspector.get_sequence_names() == [] and inspector.get_enums() == []


def lists_temporary_relations():
    with engine.connect() as connection:
        connection.execute(sa.text("CREATE TEMP TABLE passing (a int)"))
        connection.execute(sa.text("CREATE TEMP VIEW passing_view AS SELECT a FROM passing"))
        inspector = sa.inspect(connection)
        assert inspector.get_temp_table_names() == ["passing"], inspector.get_temp_table_names()
        assert inspector.get_temp_view_names() == ["passing_view"], inspector.get_temp_view_names()
        assert "passing" not in inspector.get_table_names()
        connection.execute(sa.text("DROP VIEW passing_view"))
        connection.execute(sa.text("DROP TABLE passing"))


def reflects_columns():
    inspector = sa.inspect(engine)
    columns = {column["name"]: column for column in inspector.get_columns("readings")}
    types = {name: str(column["type"]) for name, column in columns.items()}
    assert types["id"] == "BIGINT" and types["value"] == "DOUBLE PRECISION", types
    assert types["price"] == "NUMERIC(10, 2)" and types["at"] == "TIMESTAMP", types
    assert types["tags"] == "TEXT[]" or types["tags"] == "ARRAY", types
    assert not columns["id"]["nullable"] and columns["name"]["nullable"]
    assert columns["name"]["default"] == "'nobody'::text", columns["name"]


def reflects_rules():
    inspector = sa.inspect(engine)
    assert inspector.get_pk_constraint("readings")["constrained_columns"] == []
    assert inspector.get_foreign_keys("readings") == []
    assert inspector.get_indexes("readings") == []
    assert inspector.get_unique_constraints("readings") == []
    checks = inspector.get_check_constraints("readings")
    assert [(check["name"], check["sqltext"]) for check in checks] == [("positive", "price > 0::numeric")], checks
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


def keeps_times_and_intervals():
    metadata = sa.MetaData()
    columns = sa.Column("begins", sa.Time, nullable=False), sa.Column("takes", sa.Interval)
    table = sa.Table("lessons", metadata, sa.Column("id", sa.Integer, primary_key=True), *columns)
    metadata.create_all(engine)
    half, day = datetime.time(10, 30), datetime.timedelta(days=1, minutes=5)
    with engine.begin() as connection:
        rows = [{"id": 1, "begins": half, "takes": day}, {"id": 2, "begins": datetime.time(8), "takes": None}]
        connection.execute(table.insert(), rows)
        query = sa.select(table.c.id, table.c.begins, table.c.takes).where(table.c.begins > datetime.time(9))
        assert connection.execute(query).all() == [(1, half, day)]
        query = sa.select(table.c.id).where(table.c.takes >= datetime.timedelta(hours=24))
        assert connection.execute(query).scalars().all() == [1]
    types = {column["name"]: column["type"] for column in sa.inspect(engine).get_columns("lessons")}
    assert isinstance(types["begins"], sa.Time) and isinstance(types["takes"], postgresql.INTERVAL), types
    metadata.drop_all(engine)


class Base(orm.DeclarativeBase):
    pass


class User(Base):
    __tablename__ = "orm_users"
    id: orm.Mapped[int] = orm.mapped_column(primary_key=True)
    name: orm.Mapped[str] = orm.mapped_column(sa.String(10), index=True)
    mail: orm.Mapped[str | None] = orm.mapped_column(unique=True)


def maps_objects():
    Base.metadata.create_all(engine)
    with orm.Session(engine) as session:
        users = [User(name=name, mail=f"{name}@x") for name in ("ann", "bob", "cid")]
        session.add_all(users)
        session.commit()
        assert sorted(user.id for user in users) == [1, 2, 3], [user.id for user in users]
        bob = session.scalars(sa.select(User).where(User.name == "bob")).one()
        bob.mail = None
        session.delete(session.get(User, users[2].id))
        session.commit()
        assert session.scalars(sa.select(User.mail).order_by(User.name)).all() == ["ann@x", None]
    with orm.Session(engine) as session:
        session.add(User(name="dan", mail="ann@x"))
        try:
            session.commit()
            raise AssertionError("no error")
        except sa.exc.IntegrityError as error:
            assert error.orig.diag.constraint_name == "orm_users_mail_key", error.orig.diag.constraint_name
        session.rollback()
        insert = postgresql.insert(User).values(name="ann2", mail="ann@x")
        changed = insert.on_conflict_do_update(index_elements=["mail"], set_={"name": insert.excluded.name})
        assert session.execute(changed.returning(User.name)).scalar() == "ann2"
        session.execute(postgresql.insert(User).values(name="ann3", mail="ann@x").on_conflict_do_nothing(index_elements=["mail"]))
        session.commit()
        assert session.scalars(sa.select(User.name).order_by(User.name)).all() == ["ann2", "bob"]


def finds_owners_of_sequences():
    """As Alembic's autogenerate asks of a default that takes the numbers of a sequence."""
    columns = {column["name"]: column for column in sa.inspect(engine).get_columns("orm_users")}
    assert columns["id"]["default"] == "nextval('orm_users_id_seq'::regclass)", columns["id"]
    asked = sa.text(
        "select c.relname, a.attname from pg_class as c join pg_depend d on d.objid=c.oid "
        "and d.classid='pg_class'::regclass and d.refclassid='pg_class'::regclass "
        "join pg_class t on t.oid=d.refobjid join pg_attribute a on a.attrelid=t.oid and a.attnum=d.refobjsubid "
        "where c.relkind='S' and c.oid=cast(:sequence as regclass)"
    )
    with engine.connect() as connection:
        rows = connection.execute(asked, {"sequence": "orm_users_id_seq"}).all()
    assert rows == [("orm_users_id_seq", "id")], rows


def reflects_keys():
    inspector = sa.inspect(engine)
    key = inspector.get_pk_constraint("orm_users")
    assert (key["name"], key["constrained_columns"]) == ("orm_users_pkey", ["id"]), key
    unique = inspector.get_unique_constraints("orm_users")
    assert [(each["name"], each["column_names"]) for each in unique] == [("orm_users_mail_key", ["mail"])], unique
    indexes = inspector.get_indexes("orm_users")
    assert [index["duplicates_constraint"] for index in indexes] == ["orm_users_mail_key"], indexes
    columns = {column["name"]: column for column in inspector.get_columns("orm_users")}
    assert str(columns["name"]["type"]) == "VARCHAR(10)" and not columns["id"]["nullable"], columns
    mirrored = sa.Table("orm_users", sa.MetaData(), autoload_with=engine)
    assert [column.name for column in mirrored.primary_key] == ["id"]
    Base.metadata.drop_all(engine)
    assert not sa.inspect(engine).has_table("orm_users")


def reflects_identity():
    metadata = sa.MetaData()
    always = sa.Column("id", sa.BigInteger, sa.Identity(always=True, start=10, increment=5), primary_key=True)
    sa.Table("numbered", metadata, always, sa.Column("n", sa.Integer, sa.Identity()), sa.Column("s", sa.Text))
    sa.Table("counted", metadata, sa.Column("id", sa.Integer, primary_key=True))
    metadata.create_all(engine)
    columns = {column["name"]: column for column in sa.inspect(engine).get_columns("numbered")}
    found = columns["id"]["identity"]
    bounds = {"minvalue": 1, "maxvalue": 2**63 - 1, "cache": 1, "cycle": False}
    assert found == {"always": True, "start": 10, "increment": 5, **bounds}, found
    found = columns["n"]["identity"]
    assert (found["always"], found["start"], found["increment"], found["cycle"]) == (False, 1, 1, False), found
    assert "identity" not in columns["s"], columns["s"]
    # The numbers of a serial column are those of a default.
    [column] = sa.inspect(engine).get_columns("counted")
    assert "identity" not in column and column["default"] == "nextval('counted_id_seq'::regclass)", column
    mirrored = sa.Table("numbered", sa.MetaData(), autoload_with=engine)
    assert mirrored.c.id.identity.start == 10 and mirrored.c.id.identity.always, mirrored.c.id.identity
    metadata.drop_all(engine)


class Mood(enum.Enum):
    sad = 1
    ok = 2
    happy = 3


def keeps_enums():
    metadata = sa.MetaData()
    feels = sa.Column("feels", sa.Enum(Mood, name="mood"), server_default="ok")
    people = sa.Table("people", metadata, sa.Column("id", sa.Integer, primary_key=True), feels)
    metadata.create_all(engine)
    # What is there already is not made again.
    metadata.create_all(engine)
    with engine.begin() as connection:
        connection.execute(people.insert(), [{"id": 1, "feels": Mood.happy}, {"id": 2, "feels": Mood.sad}])
        connection.execute(people.insert().values(id=3))
    with engine.connect() as connection:
        moods = connection.scalars(sa.select(people.c.feels).order_by(people.c.feels)).all()
        assert moods == [Mood.sad, Mood.ok, Mood.happy], moods
        better = sa.select(people.c.id).where(people.c.feels > Mood.sad).order_by(people.c.id)
        assert connection.scalars(better).all() == [1, 3]
        try:
            connection.execute(sa.text("INSERT INTO people VALUES (4, 'angry')"))
            raise AssertionError("no error")
        except sa.exc.DataError as error:
            assert error.orig.pgcode == "22P02", error.orig
    inspector = sa.inspect(engine)
    labels = ["sad", "ok", "happy"]
    assert [(each["name"], each["labels"]) for each in inspector.get_enums()] == [("mood", labels)]
    mirrored = sa.Table("people", sa.MetaData(), autoload_with=engine)
    assert mirrored.c.feels.type.enums == labels, mirrored.c.feels.type
    metadata.drop_all(engine)
    assert sa.inspect(engine).get_enums() == []


run(connects, lists_relations, lists_temporary_relations, reflects_columns, reflects_rules, reflects_everything_at_once, makes_tables_and_rows,
    keeps_times_and_intervals, maps_objects, finds_owners_of_sequences, reflects_keys,
    reflects_identity, keeps_enums)
