// knex as a web application uses it: migrations, the query builder, transactions, rows as a stream.

const assert = require("assert");
const { installed, run, server } = require("./steps");

const migrations = {
  "1_authors": {
    up: (k) =>
      k.schema.createTable("authors", (t) => {
        t.increments("id");
        t.string("email", 100).notNullable().unique();
        t.string("name");
        t.boolean("active").defaultTo(true);
        t.jsonb("settings");
        t.decimal("balance", 12, 2).defaultTo(0);
        t.enu("role", ["admin", "writer"]).defaultTo("writer");
        t.timestamps(true, true);
      }),
    down: (k) => k.schema.dropTable("authors"),
  },
  "2_books": {
    up: (k) =>
      k.schema.createTable("books", (t) => {
        t.bigIncrements("id");
        t.integer("author_id").unsigned().references("id").inTable("authors").onDelete("CASCADE").index();
        t.text("title").notNullable();
        t.specificType("tags", "text[]");
        t.uuid("key").defaultTo(k.raw("gen_random_uuid()"));
        t.double("score");
        t.date("day");
        t.binary("cover");
        t.unique(["author_id", "title"]);
        t.comment("what authors write");
      }),
    down: (k) => k.schema.dropTableIfExists("books"),
  },
  "3_readers": {
    up: async (k) => {
      await k.schema.alterTable("books", (t) => {
        t.integer("readers").notNullable().defaultTo(0);
        t.string("title", 200).notNullable().alter();
        t.renameColumn("score", "stars");
      });
      await k.schema.createView("titles", (v) => v.as(k("books").select("id", "title")));
    },
    down: async (k) => {
      await k.schema.dropView("titles");
      await k.schema.alterTable("books", (t) => t.dropColumn("readers"));
    },
  },
};

const knex = installed("knex")({
  client: "pg",
  connection: server,
  pool: { min: 0, max: 4 },
  migrations: {
    // One transaction around all would define tables behind the row that locks out others.
    disableTransactions: true,
    migrationSource: {
      getMigrations: async () => Object.keys(migrations),
      getMigrationName: (name) => name,
      getMigration: async (name) => migrations[name],
    },
  },
});

const count = async (table) => Number((await knex(table).count("* as n").first()).n);

const steps = {
  async migrates() {
    assert.strictEqual((await knex.migrate.latest())[1].length, 3);
    assert.strictEqual((await knex.migrate.latest())[1].length, 0);
    assert(await knex.schema.hasTable("authors"));
    assert(await knex.schema.hasColumn("books", "readers"));
    const { title } = await knex("books").columnInfo();
    assert.deepStrictEqual([title.type, title.maxLength, title.nullable], ["character varying", 200, false]);
  },
  async inserts() {
    const people = [{ email: "a@x", name: "Ann", settings: { a: [1, 2] }, balance: 10.5 }, { email: "b@x", name: "Bob" }, { email: "c@x", active: false }];
    assert.deepStrictEqual(await knex("authors").insert(people).returning("id"), [{ id: 1 }, { id: 2 }, { id: 3 }]);
    const books = [
      { author_id: 1, title: "one", tags: ["x", "y"], stars: 1.5, day: "2026-01-02", cover: Buffer.from([1, 255]) },
      { author_id: 1, title: "two", tags: [] },
      { author_id: 2, title: "three" },
    ];
    const [one] = await knex("books").insert(books).returning("*");
    assert.deepStrictEqual([one.id, one.tags, one.stars, one.readers], ["1", ["x", "y"], 1.5, 0]);
    assert(one.cover.equals(Buffer.from([1, 255])) && /^[0-9a-f-]{36}$/.test(one.key));
    const many = Array.from({ length: 250 }, (_, n) => ({ email: `n${n}@x` }));
    assert.strictEqual((await knex.batchInsert("authors", many, 100).returning("id")).length, 250);
    assert.strictEqual(await knex("authors").where("email", "like", "n%").del(), 250);
  },
  async reads() {
    const ann = await knex("authors").where({ email: "a@x" }).first();
    assert.deepStrictEqual([ann.settings, ann.balance, ann.role], [{ a: [1, 2] }, "10.50", "writer"]);
    assert(ann.created_at instanceof Date);
    const books = await knex("authors as a").leftJoin("books as b", "b.author_id", "a.id").select("a.*").count("b.id as n").groupBy("a.id").orderBy("a.id");
    assert.deepStrictEqual(books.map((row) => row.n), ["2", "1", "0"]);
    const emails = knex("authors").whereIn("id", [1, 2]).andWhere("name", "ilike", "a%").orWhereNull("name");
    assert.deepStrictEqual(await emails.orderBy("id", "desc", "last").pluck("email"), ["c@x", "a@x"]);
    assert.strictEqual((await knex("authors").whereJsonPath("settings", "$.a[0]", "=", 1)).length, 1);
    assert.strictEqual((await knex("authors").whereJsonSupersetOf("settings", { a: [1] })).length, 1);
    assert.deepStrictEqual(await knex("authors").jsonExtract("settings", "$.a[1]", "second").first(), { second: 2 });
    assert.strictEqual((await knex("books").whereRaw("id = ANY(?) AND ? = ANY(tags)", [[1, 3], "x"])).length, 1);
    assert.strictEqual((await knex("books").distinctOn("author_id").orderBy(["author_id", "id"])).length, 2);
    assert.strictEqual((await knex("authors").whereExists(knex("books").whereRaw("books.author_id = authors.id"))).length, 2);
    let n_rows = 0;
    for await (const row of knex("authors").stream()) n_rows += row.id > 0;
    assert.strictEqual(n_rows, 3);
  },
  async changes() {
    const update = { name: "Anna", balance: knex.raw("?? + ?", ["balance", 5]), updated_at: knex.fn.now() };
    assert.strictEqual(await knex("authors").where({ id: 1 }).update(update), 1);
    assert.strictEqual(await knex("authors").where("id", 1).increment("balance", 2.25), 1);
    assert.deepStrictEqual(await knex("authors").where({ id: 1 }).select("name", "balance"), [{ name: "Anna", balance: "17.75" }]);
    const known = { email: "a@x", name: "known" };
    assert.deepStrictEqual(await knex("authors").insert(known).onConflict("email").merge().returning("id"), [{ id: 1 }]);
    assert.deepStrictEqual(await knex("authors").insert(known).onConflict("email").ignore().returning("id"), []);
    assert.deepStrictEqual(await knex("books").where("title", "three").del().returning("id"), [{ id: "3" }]);
  },
  async keeps_transactions() {
    await knex.transaction(async (t) => {
      await t("authors").insert({ email: "d@x" });
      await t("authors").where("email", "d@x").forUpdate().first();
      const inner = t.transaction(async (s) => {
        await s("authors").insert({ email: "e@x" });
        throw new Error("back");
      });
      await assert.rejects(inner, { message: "back" });
    });
    assert.strictEqual(await count("authors"), 4);
    const twice = knex.transaction(async (t) => {
      await t("authors").insert({ email: "f@x" });
      await t("authors").insert({ email: "f@x" });
    });
    await assert.rejects(twice, { code: "23505", constraint: "authors_email_unique" });
    const open = await knex.transaction({ isolationLevel: "repeatable read" });
    await open("authors").del();
    await open.rollback();
    assert.strictEqual(await count("authors"), 4);
  },
  async tells_errors() {
    await assert.rejects(knex("authors").insert({ email: null }), { code: "23502", column: "email" });
    await assert.rejects(knex("authors").insert({ email: "q", role: "reader" }), { code: "23514" });
    await assert.rejects(knex("nothing").select(), { code: "42P01" });
  },
  async goes_back() {
    await knex("books").truncate();
    await knex.migrate.rollback(undefined, true);
    assert(!(await knex.schema.hasTable("authors")));
  },
};

run(steps, () => knex.destroy());
