//! Where errors of planning point to in the text that the client sent, as PostgreSQL tells it: in characters, from 1.

use auspex_tests::TestServer;
use tokio_postgres::Client;
use tokio_postgres::error::ErrorPosition;

const TABLES: &str = "CREATE TABLE t (a INT, b TEXT); CREATE TABLE u (a INT, c TEXT)";

/// Statements with `¦` before what is wrong.
const PLACED: [&str; 41] = [
    // 42P01
    "SELECT 1,\n 2 FROM ¦nope",
    "SELECT 'é', a FROM ¦public.nope",
    "SELECT nope.a FROM ¦nope WHERE nope.a = 1",
    "SELECT * FROM ¦nope, nope AS n",
    "SELECT * FROM t WHERE EXISTS (SELECT 1 FROM ¦\"No Pe\")",
    "WITH q AS (SELECT * FROM ¦nope) SELECT * FROM q",
    "INSERT INTO ¦public.nope VALUES (1)",
    "UPDATE ¦nope SET a = 1",
    "DELETE FROM ¦nope",
    "CREATE VIEW nope AS SELECT * FROM ¦nope",
    "CREATE TABLE nope AS SELECT * FROM ¦nope",
    "COPY (SELECT * FROM ¦nope) TO STDOUT",
    "EXPLAIN SELECT * FROM ¦nope",
    "PREPARE p AS SELECT * FROM ¦nope",
    "SELECT 1; SELECT * FROM ¦nope",
    "SELECT ¦q.* FROM t",
    // 42803
    "SELECT a, ¦b FROM t GROUP BY a",
    "SELECT a, upper(¦b) FROM t GROUP BY a",
    "SELECT max(b), ¦b FROM t GROUP BY a",
    "SELECT ¦b FROM t HAVING count(*) > 1",
    "SELECT a FROM t GROUP BY a HAVING ¦b = '1'",
    "SELECT a FROM t GROUP BY a ORDER BY ¦b",
    "SELECT sum(¦sum(a)) FROM t",
    "SELECT a FROM t WHERE ¦count(*) > 1",
    // 42883
    "SELECT ¦nofn(1)",
    "SELECT 1 + ¦abs('x'::text)",
    "SELECT a ¦+ b FROM t",
    "SELECT (a) ¦+ (b) FROM t",
    // 42704
    "SELECT CAST(1 AS ¦notype)",
    "SELECT 1::¦public.notype",
    "CREATE TABLE z (a INT, b ¦\"NoType\")",
    // 42P10
    "SELECT a FROM t ORDER BY ¦5",
    "SELECT a FROM t GROUP BY ¦7",
    "SELECT DISTINCT a FROM t ORDER BY ¦b",
    // 42702, 42703
    "SELECT ¦a FROM t, u",
    "UPDATE t SET ¦zz = 1",
    // 42804
    "SELECT * FROM t WHERE ¦a",
    "SELECT NOT ¦1",
    "UPDATE t SET b = 'x', a = ¦now()",
    "INSERT INTO t (b, a) VALUES ('x', ¦now())",
    "INSERT INTO t (a) SELECT ¦now()",
];

/// Statements whose errors may be about several places, or about none of them.
const UNPLACED: [&str; 6] = [
    "SELECT (SELECT 1 FROM nope), * FROM nope",
    "SELECT a + b, b + a FROM t",
    "SELECT abs('x'::text), abs(1)",
    "TRUNCATE nope",
    "DROP TABLE nope",
    "ALTER TABLE nope ADD COLUMN x INT",
];

/// The character that the error of a statement points to.
async fn place(client: &Client, sql: &str) -> Option<u32> {
    let error = client.batch_execute(sql).await.unwrap_err();
    let error = error.as_db_error().expect("an error of the server");
    match error.position()? {
        ErrorPosition::Original(place) => Some(*place),
        ErrorPosition::Internal { .. } => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn errors_of_planning_tell_their_place() {
    let server = TestServer::start().await;
    let client = server.client().await;
    client.batch_execute(TABLES).await.unwrap();
    for marked in PLACED {
        let expected = marked.chars().position(|c| c == '¦').map(|n| n as u32 + 1);
        let sql = marked.replace('¦', "");
        assert_eq!(place(&client, &sql).await, expected, "{marked}");
    }
    for sql in UNPLACED {
        assert_eq!(place(&client, sql).await, None, "{sql}");
    }
    // In the extended protocol, too.
    let parse = client.prepare("SELECT 'é', a FROM nope").await.unwrap_err();
    let position = parse.as_db_error().and_then(|error| error.position());
    assert_eq!(position, Some(&ErrorPosition::Original(20)));
}
