//! psql: the tours, every command that browses the catalogs, descriptions of results, errors with their place.

use std::process::Command;

use auspex_tests::{TestServer, root};

use crate::tools::filled;

/// Runs psql; its whole output.
async fn psql(server: &TestServer, args: &[&str]) -> (bool, String) {
    let port = server.port().to_string();
    let connection = [
        "-h",
        "127.0.0.1",
        "-p",
        &port,
        "-U",
        "postgres",
        "-X",
        "-v",
        "ON_ERROR_STOP=1",
    ];
    let mut command = Command::new("psql");
    command
        .args(connection)
        .args(args)
        .arg("postgres")
        .current_dir(root());
    let output = tokio::task::spawn_blocking(move || command.output())
        .await
        .unwrap();
    let output = output.expect("psql is needed: apt-get install postgresql-client");
    let text = [output.stdout, output.stderr].concat();
    (
        output.status.success(),
        String::from_utf8_lossy(&text).into_owned(),
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_runs_the_tour() {
    let server = TestServer::start().await;
    let (ok, output) = psql(&server, &["-f", "examples/penguins.sql"]).await;
    assert!(ok, "{output}");
    assert!(output.contains("CREATE MODEL"), "{output}");
    // It can be run again.
    let (ok, output) = psql(&server, &["-f", "examples/penguins.sql"]).await;
    assert!(ok, "{output}");
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_walks_the_lakehouse() {
    let server = TestServer::start().await;
    // Twice, since a tour is run again.
    for _ in 0..2 {
        let (ok, output) = psql(&server, &["-f", "examples/lakehouse.sql"]).await;
        assert!(ok, "{output}");
        assert!(output.contains("same_model"), "{output}");
    }
    let (ok, output) = psql(&server, &["-At", "-c", SAME_MODELS]).await;
    assert!(ok && output.contains("t|f"), "{output}");
}

/// Whether the model that was trained on the snapshot is the first one, and the one before is not.
const SAME_MODELS: &str = "SELECT \
    (SELECT mean_squared_error FROM ML.EVALUATE(MODEL mass@1)) = (SELECT mean_squared_error FROM ML.EVALUATE(MODEL mass@3)), \
    (SELECT mean_squared_error FROM ML.EVALUATE(MODEL mass@1)) = (SELECT mean_squared_error FROM ML.EVALUATE(MODEL mass@2))";

/// The commands that browse, each with words that it must show.
const BROWSING: &[(&str, &[&str])] = &[
    (r"\d", &["readings", "high", "mass"]),
    (r"\dt+", &["readings", "what was measured"]),
    (r"\dtvmsE *.*", &["pg_class", "readings", "tables"]),
    (r"\dv+", &["high"]),
    (r"\dm+", &[]),
    (r"\di+", &[]),
    (r"\ds+", &[]),
    (r"\dE+", &["mass"]),
    (r"\det+", &["mass", "linear_reg", "body_mass_g"]),
    (r"\des+", &["models"]),
    (r"\dew+", &["auspex"]),
    (r"\deu+", &[]),
    (r"\dn+", &["public", "lab"]),
    (
        r"\df+ ml.*",
        &[
            "predict",
            "evaluate",
            "SETOF record",
            "model text, query text",
        ],
    ),
    (r"\dfS+ substr", &["text, integer, integer"]),
    (r"\da", &[]),
    (r"\daS sum", &["numeric"]),
    (r"\do", &[]),
    (r"\doS+ ~~", &["textlike"]),
    (r"\dT", &[]),
    (r"\dTS+ int4", &["integer"]),
    (r"\du+", &["postgres", "Superuser"]),
    (r"\dg", &["postgres"]),
    (r"\drds", &[]),
    (r"\dp", &["readings"]),
    (r"\z readings", &["readings"]),
    (r"\ddp", &[]),
    (r"\dx", &[]),
    (r"\dy+", &[]),
    (r"\l+", &["postgres", "UTF8"]),
    (r"\db+", &["pg_default"]),
    (r"\dA+", &["btree"]),
    (r"\dAc", &["text_ops"]),
    (r"\dAf", &["integer_ops"]),
    (r"\dAo hash", &["hash"]),
    (r"\dAp hash", &["hash"]),
    (r"\dC+ int4", &["bigint"]),
    (r"\dcS+ utf8*", &[]),
    (r"\dconfig", &[]),
    (r"\dconfig+ *path", &["search_path"]),
    (r"\dD", &[]),
    (r"\dDS+", &[]),
    (r"\dF+ english", &["english"]),
    (r"\dFd+", &["simple"]),
    (r"\dFp+", &["default"]),
    (r"\dFt+", &["simple"]),
    (r"\dL", &[]),
    (r"\dLS+", &["internal"]),
    (r"\dO", &[]),
    (r"\dOS+", &["POSIX"]),
    (r"\dP+", &[]),
    (r"\dRp", &[]),
    (r"\dRs", &[]),
    (r"\dX", &[]),
    (r"\dd", &[]),
    (r"\lo_list", &[]),
    (
        r"\d readings",
        &[
            "id",
            "bigint",
            "not null",
            "numeric(10,2)",
            "'nobody'",
            "positive",
            "text[]",
        ],
    ),
    (r"\d+ readings", &["extended"]),
    (
        r"\d+ high",
        &["View definition", "SELECT * FROM readings WHERE value > 1"],
    ),
    (r"\d mass", &["Foreign table", "models", "linear_reg"]),
    (r"\d lab.*", &["lab.notes"]),
    (r"\d pg_class", &["relname", "aclitem[]"]),
    (r"\d information_schema.columns", &["ordinal_position"]),
    (r"\sv high", &["CREATE OR REPLACE VIEW public.high"]),
    (
        r"\sf ml.evaluate",
        &["CREATE OR REPLACE FUNCTION ml.evaluate"],
    ),
    (r"\conninfo", &["postgres"]),
    (r"\encoding", &["UTF8"]),
];

#[tokio::test(flavor = "multi_thread")]
async fn psql_browses_the_catalogs() {
    let server = filled().await;
    for (command, expected) in BROWSING {
        let (ok, output) = psql(&server, &["-c", command]).await;
        assert!(ok && !output.contains("ERROR"), "{command}: {output}");
        for word in *expected {
            assert!(output.contains(word), "{command} lacks {word}: {output}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_lists_domains() {
    let server = TestServer::start().await;
    let create = "CREATE DOMAIN share AS numeric(4,3) NOT NULL CHECK (VALUE <= 1)";
    let table = "CREATE TABLE parts (id int, part share)";
    let (ok, output) = psql(&server, &["-c", create, "-c", table]).await;
    assert!(ok, "{output}");
    for (command, expected) in [
        (
            r"\dD",
            vec![
                "share",
                "numeric(4,3)",
                "not null",
                "CHECK (VALUE <= 1::numeric)",
            ],
        ),
        (r"\d parts", vec!["share"]),
    ] {
        let (ok, output) = psql(&server, &["-c", command]).await;
        assert!(ok, "{command}: {output}");
        for word in expected {
            assert!(output.contains(word), "{command} lacks {word}: {output}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_describes_results() {
    let server = filled().await;
    let script = r"SELECT count(*) FROM (SELECT * FROM generate_series(1, 95)) t;
SELECT id, price, tags FROM readings \gdesc
SELECT 'seen' AS word \gset
\echo :word
SELECT id, name, price FROM readings ORDER BY id \crosstabview
\pset format csv
SELECT id, name FROM readings ORDER BY id;
";
    let file = server.files().join("script.sql");
    std::fs::write(&file, script).unwrap();
    let (ok, output) = psql(&server, &["-f", &file.to_string_lossy()]).await;
    assert!(ok, "{output}");
    for word in ["95", "numeric(10,2)", "text[]", "seen", "1,one"] {
        assert!(output.contains(word), "lacks {word}: {output}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn psql_shows_where_an_error_is() {
    let server = TestServer::start().await;
    let (ok, output) = psql(&server, &["-c", "SELECT 1; SELECT foo FRM bar"]).await;
    assert!(!ok && output.contains("LINE 1"), "{output}");
    let (ok, output) = psql(
        &server,
        &["-c", "SELECT 1 AS one, oen FROM (SELECT 1 AS one) t"],
    )
    .await;
    assert!(
        !ok && output.contains("LINE 1: SELECT 1 AS one, oen"),
        "{output}"
    );
    let create = "CREATE MODEL m PREDICT y AS SELECT x, zz AS y FROM (SELECT 1 AS x) t";
    let (ok, output) = psql(&server, &["-c", create]).await;
    let caret = output
        .lines()
        .find(|line| line.trim() == "^")
        .unwrap_or_default();
    assert!(
        !ok && caret.len() == "LINE 1: ".len() + create.find("zz").unwrap() + 1,
        "{output}"
    );
    let (ok, output) = psql(&server, &["-c", "EVALUATE MODEL nothing"]).await;
    assert!(
        !ok && output.contains("model \"nothing\" does not exist"),
        "{output}"
    );
}
