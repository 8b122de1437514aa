// node-postgres as a web application uses it: a pool, parameters, transactions, generated keys, errors.

const assert = require("assert");
const { installed, run, server } = require("./steps");
const { Pool } = installed("pg");

const pool = new Pool({ ...server, max: 4 });

const steps = {
  async reads_rows() {
    const { rows, fields } = await pool.query("SELECT id, value, name, price, at, ok, tags FROM readings WHERE id = $1", [1]);
    const [row] = rows;
    // int8 and numeric travel as text, as the driver has them.
    assert.deepStrictEqual([row.id, row.value, row.name, row.price, row.ok, row.tags], ["1", 1.5, "one", "10.25", true, ["a", "b"]]);
    assert(row.at instanceof Date && fields.length === 7);
  },
  async prepares_and_predicts() {
    for (let run = 0; run < 3; run++) {
      const { rows } = await pool.query({ name: "by_id", text: "SELECT name FROM readings WHERE id = $1", values: [2] });
      assert.strictEqual(rows[0].name, "two");
    }
    const { rows } = await pool.query("SELECT PREDICT(mass USING *) AS mass FROM penguins LIMIT 2");
    assert(rows.length === 2 && rows.every((row) => row.mass > 2000 && row.mass < 7000));
  },
  async asks_at_once() {
    const answers = await Promise.all([1, 2, 3, 4, 5, 6].map((n) => pool.query("SELECT $1::int AS n", [n])));
    assert.deepStrictEqual(answers.map(({ rows }) => rows[0].n), [1, 2, 3, 4, 5, 6]);
  },
  async writes_in_a_transaction() {
    const client = await pool.connect();
    try {
      await client.query("BEGIN");
      await client.query("CREATE TABLE node_rows (id SERIAL PRIMARY KEY, doc JSONB, s TEXT UNIQUE)");
      const added = await client.query("INSERT INTO node_rows (doc, s) VALUES ($1, $2) RETURNING id", [{ a: [1] }, "x"]);
      assert.strictEqual(added.rows[0].id, 1);
      await client.query("COMMIT");
      await client.query("BEGIN");
      await client.query("INSERT INTO node_rows (s) VALUES ('gone')");
      await client.query("ROLLBACK");
    } finally {
      client.release();
    }
    const { rows } = await pool.query("SELECT * FROM node_rows");
    assert.deepStrictEqual(rows.map((row) => [row.id, row.s]), [[1, "x"]]);
  },
  async is_notified() {
    const client = await pool.connect();
    const told = new Promise((resolve) => client.once("notification", resolve));
    await client.query("LISTEN jobs");
    await pool.query("SELECT pg_notify('jobs', $1)", ["one"]);
    const { channel, payload } = await told;
    assert.deepStrictEqual([channel, payload], ["jobs", "one"]);
    await client.query("UNLISTEN *");
    client.release();
  },
  async tells_errors() {
    await assert.rejects(pool.query("INSERT INTO node_rows (s) VALUES ('x')"), (error) => {
      assert.strictEqual(error.code, "23505");
      assert.strictEqual(error.constraint, "node_rows_s_key");
      return error.table === "node_rows";
    });
    await assert.rejects(pool.query("SELECT nothing FROM node_rows"), { code: "42703", position: "8" });
    await pool.query("DROP TABLE node_rows");
  },
};

run(steps, () => pool.end());
