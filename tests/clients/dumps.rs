//! pg_dump, pg_restore and psql: what a warehouse holds goes into another one, and so does what PostgreSQL dumped.

use std::path::{Path, PathBuf};
use std::process::Command;

use auspex_tests::{TestServer, rows};

use crate::tools::{run, scripts};

/// What dumps do not hold, and what they name.
const ROLES: &str = "CREATE ROLE reader";

/// What must be the same on both sides, each with rows.
const QUERIES: &[&str] = &[
    "SELECT id, a, d, i2, i4, i8, f4, f8, n, plain, b, t, v, c, by, day, tm, ts, tz FROM kinds ORDER BY id",
    "SELECT id, iv, u, j, jb, m, ta, ia, na, ma, tza, up, \"Odd name\", \"select\" FROM kinds ORDER BY id",
    "SELECT * FROM lab.parts ORDER BY id",
    "SELECT * FROM stairs ORDER BY step",
    "SELECT * FROM zeroth ORDER BY id",
    "SELECT * FROM better ORDER BY id",
    "SELECT a, \"B b\" FROM named ORDER BY a",
    "SELECT * FROM walled ORDER BY id",
    "SELECT * FROM summed ORDER BY m",
    "SELECT * FROM again",
    "SELECT * FROM lab.shares ORDER BY id",
    "SELECT domain_name, data_type, numeric_precision, domain_default, obj_description('lab.share'::regtype, 'pg_type') \
     FROM information_schema.domains WHERE domain_schema = 'lab'",
    "SELECT column_name, domain_schema, domain_name FROM information_schema.columns WHERE table_name = 'shares' ORDER BY 1",
    "SELECT * FROM guarded ORDER BY number",
    "SELECT * FROM formed ORDER BY a",
    "SELECT table_name, check_option, is_updatable FROM information_schema.views WHERE table_schema = 'public' ORDER BY 1",
    "SELECT relname, relkind, relispopulated FROM pg_class WHERE relnamespace IN (SELECT oid FROM pg_namespace \
     WHERE nspname IN ('public', 'lab')) AND relkind <> 'f' ORDER BY 1",
    "SELECT conname, contype, pg_get_constraintdef(oid) FROM pg_constraint ORDER BY 1",
    "SELECT attrelid::regclass::text, attname, format_type(atttypid, atttypmod), attnotnull, attidentity, attgenerated \
     FROM pg_attribute WHERE attrelid IN ('kinds'::regclass, 'lab.parts'::regclass, 'empty'::regclass) AND attnum > 0 \
     ORDER BY 1, attnum",
    "SELECT obj_description('kinds'::regclass), col_description('kinds'::regclass, 12), \
     obj_description('better'::regclass), obj_description('summed'::regclass), obj_description('ticks'::regclass)",
    "SELECT has_table_privilege('reader', 'kinds', 'SELECT'), has_table_privilege('reader', 'kinds', 'INSERT'), \
     has_table_privilege('reader', 'lab.parts', 'INSERT WITH GRANT OPTION'), has_schema_privilege('reader', 'lab', 'USAGE')",
    "SELECT tableowner FROM pg_tables WHERE tablename = 'empty'",
    "SELECT sequencename, last_value FROM pg_sequences ORDER BY 1",
];

/// A client of PostgreSQL's own.
fn client(program: &str, server: &TestServer) -> Command {
    let mut command = Command::new(program);
    let port = server.port().to_string();
    command.args(["-h", "127.0.0.1", "-p", &port, "-U", "postgres"]);
    command
}

/// Runs a file of statements to its end.
async fn restore(server: &TestServer, file: &Path) {
    let mut psql = client("psql", server);
    psql.args(["-X", "-q", "-v", "ON_ERROR_STOP=1", "-f"]);
    psql.arg(file).arg("postgres");
    run(psql).await;
}

/// Dumps all that a server holds.
async fn dump(server: &TestServer, name: &str, options: &[&str]) -> PathBuf {
    let file = server.files().join(name);
    let mut pg_dump = client("pg_dump", server);
    pg_dump.args(options).arg("-f").arg(&file).arg("postgres");
    run(pg_dump).await;
    file
}

/// A server with the roles that dumps name.
async fn server() -> TestServer {
    let server = TestServer::start().await;
    server.client().await.batch_execute(ROLES).await.unwrap();
    server
}

/// A server with something of everything.
async fn filled() -> TestServer {
    let server = server().await;
    restore(&server, &scripts().join("dump.sql")).await;
    server
}

/// What a dump says, but for the tokens that are new in each.
fn text(dump: &Path) -> String {
    let text = std::fs::read_to_string(dump).unwrap();
    let lines = text.lines();
    let lines =
        lines.filter(|line| !line.starts_with("\\restrict") && !line.starts_with("\\unrestrict"));
    lines.collect::<Vec<_>>().join("\n")
}

/// Whether two servers answer alike.
async fn compare(one: &TestServer, two: &TestServer) {
    let (one, two) = (one.client().await, two.client().await);
    for query in QUERIES {
        let expected = rows(&one, query).await.unwrap();
        assert!(!expected.is_empty(), "{query}");
        assert_eq!(rows(&two, query).await.unwrap(), expected, "{query}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_goes_into_another_warehouse() {
    let (one, two) = (filled().await, server().await);
    let first = dump(&one, "first.sql", &[]).await;
    let written = text(&first);
    // What every warehouse has, and models, which no statement of PostgreSQL's makes.
    for word in [
        "EXTENSION",
        "FOREIGN TABLE",
        "doubled",
        "audit_log",
        "STORAGE",
    ] {
        assert!(!written.contains(word), "{word} in {written}");
    }
    restore(&two, &first).await;
    compare(&one, &two).await;
    let second = dump(&two, "second.sql", &[]).await;
    assert_eq!(text(&second), written);
    // Numbers go on where they were.
    let next = "INSERT INTO kinds (t) VALUES ('next') RETURNING id, a, d, m, day = CURRENT_DATE";
    assert_eq!(
        rows(&two.client().await, next).await.unwrap(),
        rows(&one.client().await, next).await.unwrap()
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_may_be_inserts_or_an_archive() {
    let one = filled().await;
    for option in ["--inserts", "--column-inserts"] {
        let two = server().await;
        let file = dump(&one, "inserts.sql", &[option]).await;
        restore(&two, &file).await;
        compare(&one, &two).await;
    }
    let two = server().await;
    let archive = dump(&one, "archive.dump", &["-Fc"]).await;
    let mut pg_restore = client("pg_restore", &two);
    pg_restore.args(["-e", "-d", "postgres"]).arg(&archive);
    run(pg_restore).await;
    compare(&one, &two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_is_made_over_several_connections() {
    let (one, two) = (filled().await, server().await);
    let folder = dump(&one, "several", &["-Fd", "--jobs", "2"]).await;
    let mut pg_restore = client("pg_restore", &two);
    pg_restore.args(["-e", "-d", "postgres"]).arg(&folder);
    run(pg_restore).await;
    compare(&one, &two).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_table_is_dumped_by_its_name() {
    let (one, two) = (filled().await, TestServer::start().await);
    // Without privileges: the other one has no such roles.
    let options = ["-x", "-t", "stairs", "-t", "ticks"];
    let file = dump(&one, "stairs.sql", &options).await;
    assert!(!text(&file).contains("kinds"));
    restore(&two, &file).await;
    let steps = rows(&two.client().await, "SELECT step FROM stairs ORDER BY step").await;
    assert_eq!(steps.unwrap(), [["8"], ["11"]]);
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_dumped_without_passwords() {
    let server = server().await;
    let role = "CREATE ROLE ada LOGIN CONNECTION LIMIT 7 PASSWORD 'secret'";
    server.client().await.batch_execute(role).await.unwrap();
    let file = server.files().join("roles.sql");
    let mut pg_dumpall = client("pg_dumpall", &server);
    pg_dumpall.arg("--roles-only").arg("-f").arg(&file);
    run(pg_dumpall).await;
    let written = text(&file);
    assert!(written.contains("CREATE ROLE ada;"), "{written}");
    assert!(written.contains("CONNECTION LIMIT 7"), "{written}");
    assert!(!written.contains("PASSWORD"), "{written}");
}

#[tokio::test(flavor = "multi_thread")]
async fn roles_are_restored_with_members_comments_and_settings() {
    let (one, two) = (TestServer::start().await, TestServer::start().await);
    let roles = "CREATE ROLE readers; CREATE ROLE ada LOGIN; GRANT readers TO ada WITH ADMIN OPTION; \
                 COMMENT ON ROLE readers IS 'those who read'; ALTER ROLE ada SET statement_timeout = '5s'";
    one.client().await.batch_execute(roles).await.unwrap();
    let file = one.files().join("all_roles.sql");
    let mut pg_dumpall = client("pg_dumpall", &one);
    pg_dumpall.arg("--roles-only").arg("-f").arg(&file);
    run(pg_dumpall).await;
    // The first role is there already, as it is in PostgreSQL, which fails here, too.
    let written = text(&file).replace("CREATE ROLE postgres;\n", "");
    assert!(written.contains("GRANTED BY postgres"), "{written}");
    std::fs::write(&file, written).unwrap();
    restore(&two, &file).await;
    let query = "SELECT rolname, rolcanlogin, rolsuper, array_to_string(rolconfig, ' '), shobj_description(oid, 'pg_authid') \
                 FROM pg_roles WHERE rolname IN ('ada', 'postgres', 'readers') ORDER BY 1";
    let expected = rows(&one.client().await, query).await.unwrap();
    assert_eq!(expected.len(), 3);
    assert_eq!(rows(&two.client().await, query).await.unwrap(), expected);
    let members = "SELECT admin_option, member = (SELECT oid FROM pg_roles WHERE rolname = 'ada') FROM pg_auth_members";
    assert_eq!(
        rows(&two.client().await, members).await.unwrap(),
        [["t", "t"]]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_dump_of_postgresql_is_restored() {
    let (one, two) = (filled().await, server().await);
    restore(&two, &scripts().join("postgres15.sql")).await;
    let (one, two) = (one.client().await, two.client().await);
    for query in &QUERIES[2..10] {
        let expected = rows(&one, query).await.unwrap();
        assert!(!expected.is_empty(), "{query}");
        assert_eq!(rows(&two, query).await.unwrap(), expected, "{query}");
    }
    // What PostgreSQL fills up with blanks stays as it was filled up.
    let query = "SELECT id, a, d, i2, i4, i8, f4, f8, n, plain, b, t, v, trim(c), by, day, tm, ts, tz, iv, u, j, jb, m, ta, \
                 ia, na, ma, tza, up, \"Odd name\", \"select\" FROM kinds ORDER BY id";
    assert_eq!(
        rows(&two, query).await.unwrap(),
        rows(&one, query).await.unwrap()
    );
    let next = "INSERT INTO kinds (t) VALUES ('next') RETURNING id, a, d, m";
    assert_eq!(rows(&two, next).await.unwrap(), [["3", "3", "3", "ok"]]);
    let wrong = rows(&two, "INSERT INTO kinds (m) VALUES ('sad')").await;
    assert!(wrong.unwrap_err().contains("kinds_m_check"));
}
