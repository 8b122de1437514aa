// TypeORM as a web application uses it: entities that are synchronised, repositories, query builders, transactions, migrations.

const assert = require("assert");
const { installed, run, server } = require("./steps");
const { ArrayContains, DataSource, EntitySchema, ILike, In, MoreThan, Not, Raw, Table, TableColumn } = installed("typeorm");

const Author = new EntitySchema({
  name: "Author",
  columns: {
    id: { type: "int", primary: true, generated: "increment" },
    email: { type: "varchar", length: 120, unique: true },
    name: { type: "varchar", nullable: true },
    age: { type: "int", default: 0 },
    big: { type: "bigint", nullable: true },
    price: { type: "numeric", precision: 10, scale: 2, nullable: true },
    ok: { type: "boolean", default: true },
    doc: { type: "jsonb", nullable: true },
    tags: { type: "text", array: true, nullable: true },
    day: { type: "date", nullable: true },
    rate: { type: "double precision", nullable: true },
    picture: { type: "bytea", nullable: true },
    createdAt: { type: "timestamptz", createDate: true },
    updatedAt: { type: "timestamp", updateDate: true },
    version: { type: "int", version: true },
  },
  relations: { books: { type: "one-to-many", target: "Book", inverseSide: "author" } },
  indices: [{ columns: ["age"] }],
  checks: [{ expression: '"age" >= 0' }],
});
const Book = new EntitySchema({
  name: "Book",
  columns: {
    id: { type: "uuid", primary: true, generated: "uuid" },
    title: { type: "text" },
    deletedAt: { type: "timestamp", deleteDate: true, nullable: true },
  },
  relations: {
    author: { type: "many-to-one", target: "Author", inverseSide: "books", joinColumn: true, onDelete: "CASCADE", nullable: true },
    labels: { type: "many-to-many", target: "Label", joinTable: true },
  },
});
const Label = new EntitySchema({
  name: "Label",
  columns: { id: { type: "int", primary: true, generated: "identity" }, text: { type: "varchar", unique: true } },
});

class AddLoans1700000000001 {
  name = "AddLoans1700000000001";
  async up(runner) {
    const columns = [{ name: "id", type: "int", isPrimary: true, isGenerated: true, generationStrategy: "increment" }, { name: "at", type: "timestamp", default: "now()" }];
    await runner.createTable(new Table({ name: "loans", columns }));
  }
  down = (runner) => runner.dropTable("loans");
}
class AddReader1700000000002 {
  name = "AddReader1700000000002";
  async up(runner) {
    await runner.addColumn("loans", new TableColumn({ name: "who", type: "varchar", isNullable: true }));
    await runner.renameColumn("loans", "who", "reader");
  }
  down = (runner) => runner.dropColumn("loans", "reader");
}

const options = { ...server, type: "postgres", username: server.user, logging: ["warn"] };
const source = new DataSource({ ...options, entities: [Author, Book, Label], synchronize: true });
const authors = () => source.getRepository("Author");
const books = () => source.getRepository("Book");

const steps = {
  async synchronises() {
    await source.initialize();
    const { upQueries } = await source.driver.createSchemaBuilder().log();
    // Indexes are not kept, so that it would make them each time; that does nothing.
    const changes = upQueries.map(({ query }) => query).filter((query) => !query.startsWith("CREATE INDEX"));
    assert.deepStrictEqual(changes, []);
  },
  async saves() {
    const picture = Buffer.from([1, 255]);
    const values = { email: "a@x", name: "Ann", age: 30, big: "9007199254740993", price: "10.25", doc: { a: [1] }, tags: ["x", "y,z"], day: "2026-01-02", rate: 1.5, picture };
    const ann = await authors().save(values);
    assert.deepStrictEqual([ann.id, ann.version, ann.createdAt instanceof Date], [1, 1, true]);
    const read = await authors().findOneBy({ id: 1 });
    assert.deepStrictEqual([read.tags, read.doc, read.price, read.day], [["x", "y,z"], { a: [1] }, "10.25", "2026-01-02"]);
    assert(read.picture.equals(picture));
    await authors().save([{ email: "b@x", name: "Bob", age: 20 }, { email: "c@x", age: 10 }]);
    read.age = 31;
    await authors().save(read);
    assert.strictEqual((await authors().findOneBy({ id: 1 })).version, 2);
    const one = await books().save({ title: "one", author: { id: 1 } });
    assert.match(one.id, /^[0-9a-f-]{36}$/);
    await books().save([{ title: "two", author: { id: 1 } }, { title: "three" }]);
    assert.strictEqual((await source.getRepository("Label").save({ text: "news" })).id, 1);
    await source.createQueryBuilder().relation("Book", "labels").of(one).add(1);
  },
  async finds() {
    const order = { id: "ASC", books: { title: "DESC" } };
    const [ann] = await authors().find({ relations: { books: true }, order, take: 1 });
    assert.deepStrictEqual(ann.books.map((book) => book.title), ["two", "one"]);
    const [rows, n] = await authors().findAndCount({ where: { age: MoreThan(15) }, take: 1, order: { age: { direction: "DESC", nulls: "LAST" } } });
    assert.deepStrictEqual([rows.length, n], [1, 2]);
    const where = { id: In([1, 2]), name: ILike("a%"), email: Not("z"), tags: ArrayContains(["x"]), createdAt: Raw((at) => `${at} > now() - interval '1 hour'`) };
    assert.strictEqual(await authors().countBy(where), 1);
    const [labelled] = await books().find({ relations: { labels: true, author: true }, where: { labels: { text: "news" } } });
    assert.deepStrictEqual([labelled.author.name, labelled.labels[0].text], ["Ann", "news"]);
    const groups = authors().createQueryBuilder("a").leftJoin("a.books", "b").select("a.name", "name").addSelect("COUNT(b.id)", "n");
    assert.deepStrictEqual(await groups.groupBy("a.name").having("COUNT(b.id) > :n", { n: 0 }).getRawMany(), [{ name: "Ann", n: "2" }]);
    assert.strictEqual(await authors().sum("age"), 61);
  },
  async changes() {
    assert.strictEqual((await authors().update({ id: 2 }, { name: "Bobby" })).affected, 1);
    const older = authors().createQueryBuilder().update().set({ age: () => "age + 1" }).where("id = :id", { id: 2 });
    assert.deepStrictEqual((await older.returning(["id", "age"]).execute()).raw, [{ id: 2, age: 21 }]);
    await authors().upsert([{ email: "b@x", name: "known" }, { email: "d@x", name: "new" }], ["email"]);
    assert.strictEqual((await authors().findOneBy({ email: "b@x" })).name, "known");
    await authors().createQueryBuilder().insert().values({ email: "b@x" }).orIgnore().execute();
    await books().softDelete({ title: "three" });
    assert.strictEqual(await books().count(), 2);
    await books().restore({ title: "three" });
    await authors().remove(await authors().findOneBy({ email: "c@x" }));
    assert.strictEqual(await authors().count(), 3);
  },
  async keeps_transactions() {
    await source.transaction(async (manager) => {
      await manager.save("Author", { email: "t@x" });
      await manager.update("Author", { email: "t@x" }, { age: 4 });
    });
    const twice = source.transaction(async (manager) => {
      await manager.insert("Author", { email: "u@x" });
      await manager.insert("Author", { email: "u@x" });
    });
    await assert.rejects(twice, (error) => error.code === "23505" && error.driverError.table === "author");
    const runner = source.createQueryRunner();
    await runner.startTransaction();
    await runner.manager.findOne("Author", { where: { id: 1 }, lock: { mode: "pessimistic_write" } });
    await runner.startTransaction();
    await runner.manager.delete("Author", { id: 1 });
    await runner.rollbackTransaction();
    await runner.commitTransaction();
    await runner.release();
    assert(await authors().existsBy({ id: 1 }));
    await assert.rejects(authors().insert({ email: "n@x", age: -1 }), { code: "23514" });
  },
  async migrates() {
    const other = await new DataSource({ ...options, migrations: [AddLoans1700000000001, AddReader1700000000002] }).initialize();
    // One transaction around all of them would define a table behind the row that tells of the first.
    assert.strictEqual((await other.runMigrations({ transaction: "each" })).length, 2);
    assert(!(await other.showMigrations()));
    assert.strictEqual((await other.query("INSERT INTO loans (reader) VALUES ($1) RETURNING id", ["Ann"]))[0].id, 1);
    await other.undoLastMigration();
    await other.undoLastMigration();
    await other.destroy();
    await source.dropDatabase();
  },
};

run(steps, () => source.destroy());
