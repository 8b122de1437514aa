// Sequelize as a web application uses it: models that are synchronised, associations, upserts, transactions, reflection.

const assert = require("assert");
const { installed, run, server } = require("./steps");
const { DataTypes, Op, QueryTypes, Sequelize } = installed("sequelize");

const sequelize = new Sequelize({ ...server, dialect: "postgres", username: server.user, logging: false });

const Author = sequelize.define(
  "Author",
  {
    name: { type: DataTypes.STRING(50), allowNull: false },
    email: { type: DataTypes.STRING, unique: true },
    age: DataTypes.INTEGER,
    big: DataTypes.BIGINT,
    price: DataTypes.DECIMAL(10, 2),
    rate: DataTypes.DOUBLE,
    ok: { type: DataTypes.BOOLEAN, defaultValue: true },
    doc: DataTypes.JSONB,
    tags: DataTypes.ARRAY(DataTypes.STRING),
    key: { type: DataTypes.UUID, defaultValue: DataTypes.UUIDV4 },
    day: DataTypes.DATEONLY,
    picture: DataTypes.BLOB,
  },
  { indexes: [{ fields: ["age"] }], comment: "people" },
);
const Book = sequelize.define("Book", { title: DataTypes.STRING }, { paranoid: true });
const Label = sequelize.define("Label", { text: { type: DataTypes.STRING, primaryKey: true } }, { timestamps: false });
Author.hasMany(Book, { foreignKey: "authorId", as: "books", onDelete: "CASCADE" });
Book.belongsTo(Author, { foreignKey: "authorId", as: "author" });
Book.belongsToMany(Label, { through: "BookLabels" });
Label.belongsToMany(Book, { through: "BookLabels" });

const n_authors = (where) => Author.count({ where });

const steps = {
  async synchronises() {
    await sequelize.sync({ force: true });
    await sequelize.sync();
    await sequelize.sync({ alter: true });
  },
  async creates() {
    const picture = Buffer.from([0, 1, 255]);
    const values = { name: "Ann", email: "a@x", age: 30, big: "9007199254740993", price: 10.25, rate: 2.5, doc: { a: { b: [1, "x"], c: "y" } }, tags: ["p", "q's"], day: "2026-01-02", picture };
    const ann = await Author.create(values);
    assert.strictEqual(ann.id, 1);
    await ann.reload();
    assert.deepStrictEqual([ann.big, ann.price, ann.day, ann.tags], ["9007199254740993", "10.25", "2026-01-02", ["p", "q's"]]);
    assert(ann.picture.equals(picture) && ann.createdAt instanceof Date && ann.doc.a.b[1] === "x");
    const others = await Author.bulkCreate([{ name: "Bob", email: "b@x", age: 20 }, { name: "Cid", email: "c@x" }], { returning: true });
    assert.deepStrictEqual(others.map((author) => author.id), [2, 3]);
    await ann.createBook({ title: "first" });
    await Book.bulkCreate([{ title: "second", authorId: 1 }, { title: "third", authorId: 2 }]);
  },
  async finds() {
    const order = [["id", "ASC"], [{ model: Book, as: "books" }, "id", "ASC"]];
    const all = await Author.findAll({ include: "books", order });
    assert.deepStrictEqual(all.map((author) => author.books.length), [2, 1, 0]);
    const written = { model: Book, as: "books", where: { title: { [Op.iLike]: "%S%" } } };
    const [first] = await Author.findAll({ include: [written], limit: 1, order: ["id"] });
    assert.strictEqual(first.books.length, 2);
    const { count } = await Author.findAndCountAll({ where: { age: { [Op.or]: [{ [Op.gt]: 10 }, null] } }, limit: 2, order: [["age", "DESC NULLS LAST"]] });
    assert.strictEqual(count, 3);
    assert.strictEqual(await n_authors({ tags: { [Op.contains]: ["p"] }, "doc.a.c": "y" }), 1);
    assert.strictEqual(await n_authors({ name: { [Op.any]: ["Ann", "Zed"], [Op.regexp]: "^A" }, day: { [Op.between]: ["2026-01-01", "2026-02-01"] } }), 1);
    assert.deepStrictEqual([await Author.max("age"), await Author.sum("age")], [30, 50]);
    const n = sequelize.fn("COUNT", sequelize.col("id"));
    const groups = await Book.findAll({ attributes: ["authorId", [n, "n"]], group: ["authorId"], having: sequelize.where(n, ">", 1), raw: true });
    assert.deepStrictEqual(groups, [{ authorId: 1, n: "2" }]);
    const third = await Book.findOne({ include: "author", where: { "$author.name$": "Bob" } });
    assert.strictEqual(third.author.email, "b@x");
  },
  async changes() {
    const ann = await Author.findByPk(1);
    await ann.update({ age: 31, doc: { z: 1 } });
    await ann.increment("age", { by: 2 });
    assert.strictEqual((await ann.reload()).age, 33);
    const [n, [bob]] = await Author.update({ ok: false }, { where: { age: { [Op.lt]: 25 } }, returning: true });
    assert.deepStrictEqual([n, bob.name, bob.ok], [1, "Bob", false]);
    const [known] = await Author.upsert({ name: "Anna", email: "a@x" }, { conflictFields: ["email"] });
    assert.strictEqual(known.id, 1);
    await Author.bulkCreate([{ id: 2, name: "Bobby", email: "b@x" }], { updateOnDuplicate: ["name"] });
    assert.strictEqual((await Author.findByPk(2)).name, "Bobby");
    // `findOrCreate` defines a function in PL/pgSQL.
    const once = { where: { email: "d@x" }, defaults: { name: "Di" } };
    assert((await Author.findCreateFind(once))[1]);
    assert(!(await Author.findCreateFind(once))[1]);
    const third = await Book.findOne({ where: { title: "third" } });
    await third.destroy();
    assert.strictEqual(await Book.count(), 2);
    await third.restore();
    assert.strictEqual(await Book.count(), 3);
  },
  async joins_many_to_many() {
    const label = await Label.create({ text: "news" });
    const book = await Book.findOne({ order: ["id"] });
    await book.addLabel(label);
    assert.strictEqual((await book.getLabels())[0].text, "news");
    assert.strictEqual((await Book.findAll({ include: { model: Label, required: true } })).length, 1);
    await book.setLabels([]);
    assert.strictEqual(await book.countLabels(), 0);
  },
  async keeps_transactions() {
    await sequelize.transaction(async (transaction) => {
      await Author.create({ name: "T", email: "t@x" }, { transaction });
      await Author.update({ age: 7 }, { where: { email: "t@x" }, transaction });
      const inner = sequelize.transaction({ transaction }, async (inner) => {
        await Author.create({ name: "U", email: "u@x" }, { transaction: inner });
        throw new Error("back");
      });
      await assert.rejects(inner, { message: "back" });
    });
    assert.strictEqual(await n_authors({ age: 7 }), 1);
    const twice = sequelize.transaction(async (transaction) => {
      await Author.create({ name: "V", email: "v@x" }, { transaction });
      await Author.create({ name: "V", email: "v@x" }, { transaction });
    });
    await assert.rejects(twice, (error) => error.name === "SequelizeUniqueConstraintError" && error.errors[0].path === "email");
    assert.strictEqual(await n_authors({ email: ["u@x", "v@x"] }), 0);
  },
  async reflects() {
    const query = sequelize.getQueryInterface();
    const columns = await query.describeTable("Authors");
    assert.deepStrictEqual([columns.id.primaryKey, columns.name.type, columns.name.allowNull], [true, "CHARACTER VARYING(50)", false]);
    const [reference] = await query.getForeignKeyReferencesForTable("Books");
    assert.deepStrictEqual([reference.columnName, reference.referencedTableName, reference.referencedColumnName], ["authorId", "Authors", "id"]);
    await query.addColumn("Labels", "weight", { type: DataTypes.INTEGER, defaultValue: 0, allowNull: false });
    await query.changeColumn("Labels", "weight", { type: DataTypes.BIGINT });
    await query.removeColumn("Labels", "weight");
    const rows = await sequelize.query('SELECT id FROM "Authors" WHERE id = $1', { bind: [1], type: QueryTypes.SELECT });
    assert.deepStrictEqual(rows, [{ id: 1 }]);
    await sequelize.drop();
  },
};

run(steps, () => sequelize.close());
