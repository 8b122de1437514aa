# ActiveRecord as a Rails application uses it: migrations, models with associations, upserts, transactions, reflection.

require "active_record"
require "pg"

SERVER = { adapter: "postgresql", host: "127.0.0.1", port: ARGV[0].to_i, username: "postgres", database: "postgres" }
ActiveRecord::Migration.verbose = false
ActiveRecord::Base.establish_connection(SERVER)
$failed = false

# Runs a step; prints its name.
def step(name)
  yield
  puts "ok #{name}"
rescue => error
  $failed = true
  puts "FAILED #{name}: #{error.class} #{error.message}", error.backtrace.grep(/with_activerecord/)
end

def is(found, expected)
  raise "got #{found.inspect}, expected #{expected.inspect}" unless found == expected
end

class Author < ActiveRecord::Base
  has_many :books
  validates :email, uniqueness: true, allow_nil: true
end

class Book < ActiveRecord::Base
  belongs_to :author
end

class AddAuthors < ActiveRecord::Migration[6.1]
  def change
    create_table(:authors, comment: "people") do |t|
      t.string :name, null: false, limit: 50
      t.string :email, index: { unique: true }
      t.integer :age, default: 0
      t.decimal :price, precision: 10, scale: 2
      t.boolean :ok, default: true, null: false
      t.jsonb :doc, default: {}
      t.text :tags, array: true, default: []
      t.date :day
      t.datetime :at
      t.binary :picture
      t.uuid :key, default: -> { "gen_random_uuid()" }
      t.timestamps
    end
  end
end

class AddBooks < ActiveRecord::Migration[6.1]
  def change
    create_table(:books) do |t|
      t.string :title
      t.references :author, null: false, foreign_key: { on_delete: :cascade }
      t.timestamps
    end
    add_column :books, :readers, :integer, default: 0, null: false
    add_check_constraint :books, "readers >= 0", name: "some_readers"
  end
end

step "migrates" do
  # In a transaction each.
  AddAuthors.migrate(:up)
  AddBooks.migrate(:up)
  is ActiveRecord::Base.connection.primary_key("authors"), "id"
  is ActiveRecord::Base.connection.table_exists?(:books), true
end

step "creates" do
  values = { name: "Ann", email: "a@x", age: 30, price: 10.25, doc: { a: [1] }, tags: ["p", "q,r"], day: Date.new(2026, 1, 2), at: Time.utc(2026, 1, 1, 10), picture: "\x00\xff".b }
  ann = Author.create!(values)
  is ann.id, 1
  ann.reload
  is [ann.tags, ann.doc, ann.price.to_s, ann.day.to_s, ann.picture], [["p", "q,r"], { "a" => [1] }, "10.25", "2026-01-02", "\x00\xff".b]
  ann.books.create!(title: "one")
  ann.books.create!(title: "two")
  Author.create!(name: "Bob", email: "b@x")
  is Author.new(name: "Cid", email: "a@x").valid?, false
end

step "queries" do
  is Author.includes(:books).find_by(name: "Ann").books.size, 2
  is Author.joins(:books).group("authors.id").having("count(books.id) > 1").count, { 1 => 2 }
  is Author.where(age: 10..40).or(Author.where(ok: false)).pluck(:id), [1]
  is Author.where("tags @> ARRAY[?]::text[] AND doc->'a' @> ?", ["p"], "[1]").count, 1
  is Author.average(:age).to_i, 15
  is Author.where.missing(:books).pluck(:name), ["Bob"]
  is Author.find_each(batch_size: 1).count, 2
  is Author.select("authors.*, (SELECT count(*) FROM books WHERE books.author_id = authors.id) AS n").order(:id).map(&:n), [2, 0]
  is Author.where(id: 1).explain.lines.size > 1, true
end

step "changes" do
  ann = Author.find(1)
  ann.update!(age: 31, tags: ann.tags + ["z"])
  ann.increment!(:age)
  is ann.reload.age, 32
  now = { created_at: Time.now, updated_at: Time.now }
  Author.insert_all([{ name: "Di", email: "d@x", **now }, { name: "Ed", email: "e@x", **now }])
  Author.upsert_all([{ name: "Dina", email: "d@x", **now }], unique_by: :email)
  is Author.find_by(email: "d@x").name, "Dina"
  is Author.insert({ name: "known", email: "d@x", **now }).rows, []
  is Author.where(email: "e@x").delete_all, 1
end

step "keeps transactions" do
  Author.transaction do
    Author.create!(name: "T", email: "t@x")
    Author.transaction(requires_new: true) do
      Author.create!(name: "S", email: "s@x")
      raise ActiveRecord::Rollback
    end
  end
  is Author.where(email: %w[t@x s@x]).pluck(:name), ["T"]
  begin
    Book.insert!({ title: "less", author_id: 1, readers: -1, created_at: Time.now, updated_at: Time.now })
    raise "a row was taken that the check forbids"
  rescue ActiveRecord::StatementInvalid => error
    is error.message.include?("some_readers"), true
  end
end

step "reflects" do
  connection = ActiveRecord::Base.connection
  is connection.indexes("authors").map { |index| [index.columns, index.unique] }, [[["email"], true]]
  is connection.foreign_keys("books").map { |key| [key.to_table, key.column, key.on_delete] }, [["authors", "author_id", :cascade]]
  is connection.columns("authors").first(2).map { |column| [column.name, column.sql_type, column.null] }, [["id", "bigint", false], ["name", "character varying(50)", false]]
  is connection.table_comment("authors"), "people"
  AddBooks.migrate(:down)
  AddAuthors.migrate(:down)
end

exit($failed ? 1 : 0)
