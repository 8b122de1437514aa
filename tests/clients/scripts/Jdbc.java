// pgjdbc as BI tools and Java applications use it: the whole of DatabaseMetaData, typed reads, batches, fetch size.

import java.sql.*;
import java.util.*;

public class Jdbc {
    static int failures = 0;
    static Connection connection;

    interface Step { void run() throws Exception; }

    static void step(String name, Step step) {
        try {
            step.run();
            System.out.println("ok " + name);
        } catch (Throwable error) {
            failures++;
            System.out.println("FAILED " + name + ": " + error);
            error.printStackTrace(System.out);
        }
    }

    static void check(boolean condition, Object found) {
        if (!condition) throw new AssertionError(found);
    }

    /** All rows of a result: name of column, text. */
    static List<Map<String, String>> rows(ResultSet result) throws SQLException {
        List<Map<String, String>> rows = new ArrayList<>();
        ResultSetMetaData columns = result.getMetaData();
        while (result.next()) {
            Map<String, String> row = new TreeMap<>(String.CASE_INSENSITIVE_ORDER);
            for (int column = 1; column <= columns.getColumnCount(); column++)
                row.put(columns.getColumnLabel(column), result.getString(column));
            rows.add(row);
        }
        result.close();
        return rows;
    }

    static Set<String> values(List<Map<String, String>> rows, String column) {
        Set<String> values = new TreeSet<>();
        for (Map<String, String> row : rows) values.add(String.valueOf(row.get(column)));
        return values;
    }

    static void metadata(DatabaseMetaData data) {
        step("names the product", () -> {
            check(data.getDatabaseProductName().equals("PostgreSQL"), data.getDatabaseProductName());
            check(data.getDatabaseMajorVersion() == 15, data.getDatabaseProductVersion());
            check(data.getUserName().equals("postgres"), data.getUserName());
            data.getMaxColumnNameLength();
            data.getMaxIndexLength();
        });
        step("lists schemas and catalogs", () -> {
            Set<String> schemas = values(rows(data.getSchemas()), "TABLE_SCHEM");
            check(schemas.containsAll(List.of("public", "lab", "ml", "pg_catalog", "information_schema")), schemas);
            check(values(rows(data.getCatalogs()), "TABLE_CAT").contains("postgres"), "catalog");
            check(values(rows(data.getTableTypes()), "TABLE_TYPE").contains("TABLE"), "types");
        });
        step("lists tables", () -> {
            List<Map<String, String>> tables = rows(data.getTables(null, "public", "%", new String[] {"TABLE", "VIEW", "FOREIGN TABLE"}));
            check(values(tables, "TABLE_NAME").containsAll(List.of("readings", "high", "mass")), tables);
            for (Map<String, String> table : tables)
                if (table.get("TABLE_NAME").equals("readings")) check("what was measured".equals(table.get("REMARKS")), table);
            rows(data.getTables(null, null, null, null));
        });
        step("lists temporary tables", () -> {
            try (Statement statement = connection.createStatement()) {
                statement.execute("CREATE TEMP TABLE passing (a int)");
                List<Map<String, String>> tables = rows(data.getTables(null, null, "%", new String[] {"TEMPORARY TABLE"}));
                check(values(tables, "TABLE_NAME").equals(Set.of("passing")), tables);
                check(tables.get(0).get("TABLE_SCHEM").startsWith("pg_temp_"), tables);
                check("TEMPORARY TABLE".equals(tables.get(0).get("TABLE_TYPE")), tables);
                check(rows(data.getColumns(null, tables.get(0).get("TABLE_SCHEM"), "passing", "%")).size() == 1, "columns");
                statement.execute("DROP TABLE pg_temp.passing");
            }
        });
        step("describes columns", () -> {
            List<Map<String, String>> columns = rows(data.getColumns(null, "public", "readings", "%"));
            Map<String, String> types = new TreeMap<>();
            for (Map<String, String> column : columns) types.put(column.get("COLUMN_NAME"), column.get("TYPE_NAME"));
            check("int8".equals(types.get("id")) && "numeric".equals(types.get("price")) && "_text".equals(types.get("tags")), types);
            Map<String, String> price = columns.get(3);
            check("10".equals(price.get("COLUMN_SIZE")) && "2".equals(price.get("DECIMAL_DIGITS")), price);
            check("NO".equals(columns.get(0).get("IS_NULLABLE")) && "YES".equals(price.get("IS_NULLABLE")), columns);
            check("'nobody'::text".equals(columns.get(2).get("COLUMN_DEF")), columns.get(2));
        });
        step("finds no keys and indexes where there are none", () -> {
            check(rows(data.getPrimaryKeys(null, "public", "readings")).isEmpty(), "primary keys");
            check(rows(data.getImportedKeys(null, "public", "readings")).isEmpty(), "imported keys");
            check(rows(data.getExportedKeys(null, "public", "readings")).isEmpty(), "exported keys");
            check(rows(data.getCrossReference(null, "public", "readings", null, "lab", "notes")).isEmpty(), "cross reference");
            check(rows(data.getIndexInfo(null, "public", "readings", false, true)).isEmpty(), "indexes");
            rows(data.getBestRowIdentifier(null, "public", "readings", DatabaseMetaData.bestRowSession, true));
            rows(data.getVersionColumns(null, "public", "readings"));
        });
        step("lists types and functions", () -> {
            Set<String> types = values(rows(data.getTypeInfo()), "TYPE_NAME");
            check(types.containsAll(List.of("int4", "text", "numeric", "timestamptz", "_int4")), types);
            List<Map<String, String>> functions = rows(data.getFunctions(null, "ml", "%"));
            check(values(functions, "FUNCTION_NAME").containsAll(List.of("predict", "evaluate")), functions);
            List<Map<String, String>> arguments = rows(data.getFunctionColumns(null, "ml", "evaluate", "%"));
            check(values(arguments, "COLUMN_NAME").containsAll(List.of("model", "query")), arguments);
            rows(data.getProcedures(null, "public", "%"));
            rows(data.getProcedureColumns(null, "public", "%", "%"));
            rows(data.getUDTs(null, null, "%", null));
            List<Map<String, String>> rowTypes = rows(data.getUDTs(null, "public", "readings", new int[] {java.sql.Types.STRUCT}));
            check(values(rowTypes, "TYPE_NAME").equals(Set.of("readings")), rowTypes);
            rows(data.getClientInfoProperties());
        });
        step("lists privileges", () -> {
            check(values(rows(data.getTablePrivileges(null, "public", "readings")), "PRIVILEGE").contains("SELECT"), "table");
            rows(data.getColumnPrivileges(null, "public", "readings", "%"));
        });
        step("lists functions by kind", () -> {
            check(data.getNumericFunctions().contains("abs"), data.getNumericFunctions());
            data.getStringFunctions();
            data.getTimeDateFunctions();
            data.getSystemFunctions();
            data.getSQLKeywords();
        });
    }

    static void statements() {
        step("reads typed values", () -> {
            // The driver asks for binary values once a statement was run often.
            for (int run = 0; run < 8; run++) {
                try (PreparedStatement query = connection.prepareStatement("SELECT id, value, name, price, at, tz, day, ok, tags FROM readings WHERE id = ?")) {
                    query.setLong(1, 1);
                    ResultSet row = query.executeQuery();
                    check(row.next(), "a row");
                    check(row.getLong(1) == 1 && row.getDouble(2) == 1.5 && row.getString(3).equals("one"), "numbers");
                    check(row.getBigDecimal(4).toString().equals("10.25"), row.getBigDecimal(4));
                    check(row.getTimestamp(5).toString().equals("2026-01-01 10:00:00.0"), row.getTimestamp(5));
                    check(row.getObject(6, java.time.OffsetDateTime.class).toInstant().toString().equals("2026-01-01T10:00:00Z"), row.getString(6));
                    check(row.getObject(7, java.time.LocalDate.class).toString().equals("2026-01-01"), row.getString(7));
                    check(row.getBoolean(8), "boolean");
                    check(Arrays.equals((Object[]) row.getArray(9).getArray(), new String[] {"a", "b"}), row.getArray(9));
                }
            }
        });
        step("sends typed values", () -> {
            String query = "SELECT id FROM readings WHERE day = ? AND at <= ? AND price > ? AND name = ANY (?) AND tags @> ?";
            try (PreparedStatement statement = connection.prepareStatement(query)) {
                statement.setDate(1, java.sql.Date.valueOf("2026-01-01"));
                statement.setObject(2, java.time.LocalDateTime.of(2026, 1, 1, 10, 0));
                statement.setBigDecimal(3, java.math.BigDecimal.ONE);
                statement.setArray(4, connection.createArrayOf("text", new String[] {"one", "two"}));
                statement.setArray(5, connection.createArrayOf("text", new String[] {"a"}));
                check(values(rows(statement.executeQuery()), "id").equals(Set.of("1")), query);
            }
        });
        step("describes a query", () -> {
            try (PreparedStatement query = connection.prepareStatement("SELECT id, price FROM readings WHERE name = ?")) {
                ResultSetMetaData columns = query.getMetaData();
                check(columns.getPrecision(2) == 10 && columns.getScale(2) == 2, columns.getPrecision(2));
                check(columns.getTableName(1).equals("readings"), columns.getTableName(1));
                check(query.getParameterMetaData().getParameterTypeName(1).equals("text"), query.getParameterMetaData().getParameterTypeName(1));
            }
        });
        step("predicts", () -> {
            ResultSet row = connection.createStatement().executeQuery("SELECT PREDICT(mass USING *) FROM penguins LIMIT 1");
            check(row.next() && row.getDouble(1) > 2000 && row.getDouble(1) < 7000, "mass");
        });
        step("tells errors", () -> {
            try {
                connection.createStatement().executeQuery("SELECT nothing FROM readings");
                throw new AssertionError("no error");
            } catch (SQLException error) {
                check(error.getSQLState().equals("42703"), error.getSQLState());
            }
        });
        step("writes in batches", () -> {
            connection.createStatement().execute("CREATE TABLE jdbc_rows (id INT, s TEXT)");
            try (PreparedStatement insert = connection.prepareStatement("INSERT INTO jdbc_rows VALUES (?, ?)")) {
                for (int row = 0; row < 10; row++) {
                    insert.setInt(1, row);
                    insert.setString(2, "s" + row);
                    insert.addBatch();
                }
                check(Arrays.stream(insert.executeBatch()).sum() == 10, "counts");
            }
            ResultSet count = connection.createStatement().executeQuery("SELECT count(*) FROM jdbc_rows");
            check(count.next() && count.getInt(1) == 10, count.getInt(1));
            connection.createStatement().execute("DROP TABLE jdbc_rows");
        });
        step("fetches in parts", () -> {
            connection.setAutoCommit(false);
            Statement query = connection.createStatement();
            query.setFetchSize(50);
            ResultSet rows = query.executeQuery("SELECT value FROM generate_series(1, 1000) AS g(value)");
            int count = 0;
            while (rows.next()) count++;
            check(count == 1000, count);
            connection.commit();
            connection.setAutoCommit(true);
        });
    }

    static void keys(DatabaseMetaData data) {
        step("generates keys", () -> {
            // As an application does that leaves autocommit off.
            connection.setAutoCommit(false);
            Statement define = connection.createStatement();
            define.execute("CREATE TABLE jdbc_keys (id SERIAL PRIMARY KEY, code VARCHAR(5) UNIQUE, n INT)");
            try (PreparedStatement insert = connection.prepareStatement("INSERT INTO jdbc_keys (code, n) VALUES (?, ?)", Statement.RETURN_GENERATED_KEYS)) {
                insert.setString(1, "a");
                insert.setInt(2, 1);
                check(insert.executeUpdate() == 1, "count");
                ResultSet keys = insert.getGeneratedKeys();
                check(keys.next() && keys.getInt("id") == 1, "key");
            }
            try (PreparedStatement insert = connection.prepareStatement("INSERT INTO jdbc_keys (code, n) VALUES (?, ?)", new String[] {"id"})) {
                for (String code : List.of("b", "c")) {
                    insert.setString(1, code);
                    insert.setInt(2, 2);
                    insert.addBatch();
                }
                insert.executeBatch();
                ResultSet keys = insert.getGeneratedKeys();
                check(keys.next() && keys.getInt(1) == 2 && keys.next() && keys.getInt(1) == 3, "keys of a batch");
            }
            connection.commit();
            connection.setAutoCommit(true);
        });
        step("tells which constraint was broken", () -> {
            try {
                connection.createStatement().execute("INSERT INTO jdbc_keys (code) VALUES ('a')");
                throw new AssertionError("no error");
            } catch (org.postgresql.util.PSQLException error) {
                check(error.getSQLState().equals("23505"), error.getSQLState());
                check("jdbc_keys_code_key".equals(error.getServerErrorMessage().getConstraint()), error);
            }
        });
        step("finds keys and indexes", () -> {
            List<Map<String, String>> keys = rows(data.getPrimaryKeys(null, "public", "jdbc_keys"));
            check(keys.size() == 1 && "id".equals(keys.get(0).get("COLUMN_NAME")) && "jdbc_keys_pkey".equals(keys.get(0).get("PK_NAME")), keys);
            List<Map<String, String>> indexes = rows(data.getIndexInfo(null, "public", "jdbc_keys", true, true));
            check(values(indexes, "COLUMN_NAME").equals(Set.of("id", "code")), indexes);
            List<Map<String, String>> best = rows(data.getBestRowIdentifier(null, "public", "jdbc_keys", DatabaseMetaData.bestRowSession, true));
            check(values(best, "COLUMN_NAME").equals(Set.of("id")), best);
            Map<String, String> code = rows(data.getColumns(null, "public", "jdbc_keys", "code")).get(0);
            check("5".equals(code.get("COLUMN_SIZE")) && "varchar".equals(code.get("TYPE_NAME")), code);
            check(rows(data.getColumns(null, "public", "jdbc_keys", "id")).get(0).get("IS_AUTOINCREMENT").equals("YES"), "autoincrement");
        });
        step("copies rows", () -> {
            org.postgresql.copy.CopyManager copies = connection.unwrap(org.postgresql.PGConnection.class).getCopyAPI();
            long copied = copies.copyIn("COPY jdbc_keys (code, n) FROM STDIN (FORMAT CSV)", new java.io.StringReader("x,10\ny,\n"));
            check(copied == 2, copied);
            java.io.StringWriter out = new java.io.StringWriter();
            copies.copyOut("COPY (SELECT code, n FROM jdbc_keys WHERE code > 'd' ORDER BY code) TO STDOUT", out);
            check(out.toString().equals("x\t10\ny\t\\N\n"), out);
        });
        step("reads a table by a cursor", () -> {
            connection.setAutoCommit(false);
            PreparedStatement query = connection.prepareStatement("SELECT id FROM jdbc_keys WHERE id > ? ORDER BY id");
            query.setFetchSize(2);
            query.setInt(1, 0);
            ResultSet rows = query.executeQuery();
            int count = 0;
            while (rows.next()) count++;
            check(count == 5, count);
            connection.rollback();
            connection.setAutoCommit(true);
            connection.createStatement().execute("DROP TABLE jdbc_keys");
        });
    }

    public static void main(String[] args) throws Exception {
        connection = DriverManager.getConnection("jdbc:postgresql://127.0.0.1:" + args[0] + "/postgres?user=postgres");
        metadata(connection.getMetaData());
        statements();
        keys(connection.getMetaData());
        System.exit(failures == 0 ? 0 : 1);
    }
}
