"""pandas: queries and tables as data frames, and frames as tables."""

import pandas as pd
import sqlalchemy as sa

from steps import URL, run

engine = sa.create_engine(f"postgresql+psycopg2://postgres@{URL}")
FRAME = pd.DataFrame(
    {
        "id": range(50),
        "x": [n / 3 for n in range(50)],
        "s": [f"s{n}" for n in range(50)],
        "b": [n % 2 == 0 for n in range(50)],
        "d": pd.date_range("2026-01-01", periods=50),
    }
)


def reads_queries():
    frame = pd.read_sql("SELECT * FROM penguins", engine)
    assert frame.shape == (344, 7) and str(frame.dtypes["body_mass_g"]) in ("int64", "float64"), frame.dtypes
    heavy = pd.read_sql(sa.text("SELECT * FROM penguins WHERE body_mass_g > :mass"), engine, params={"mass": 5000})
    assert 0 < len(heavy) < 344
    assert sum(len(part) for part in pd.read_sql("SELECT * FROM penguins", engine, chunksize=100)) == 344


def reads_tables():
    frame = pd.read_sql_table("readings", engine)
    assert list(frame["id"]) == [1, 2, 3] and str(frame.dtypes["at"]).startswith("datetime64"), frame.dtypes


def writes_tables():
    for arguments in ({"index": False}, {"index": False, "method": "multi"}):
        FRAME.to_sql("frames", engine, if_exists="replace", **arguments)
        back = pd.read_sql("SELECT * FROM frames ORDER BY id", engine)
        assert back.shape == FRAME.shape and (back["x"] == FRAME["x"]).all() and (back["b"] == FRAME["b"]).all()
    FRAME.to_sql("frames", engine, if_exists="append", index=False)
    assert pd.read_sql("SELECT count(*) FROM frames", engine).iloc[0, 0] == 100
    FRAME.set_index("id").to_sql("frames", engine, if_exists="replace")
    assert pd.read_sql("frames", engine, index_col="id").shape == (50, 4)
    with engine.begin() as connection:
        connection.execute(sa.text("DROP TABLE frames"))


run(reads_queries, reads_tables, writes_tables)
