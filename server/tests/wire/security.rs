//! Who is let in: passwords, certificates, rules, and what those see who are not let in.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use auspex_server::{ServerOptions, Tls, TlsFiles, hba_rules};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_postgres::{Config, NoTls};

use crate::{Fixture, error_of, rows};

const SCRAM: &str = "[[hba]]\nmethod = \"scram\"";

fn rules(text: &str) -> ServerOptions {
    ServerOptions {
        rules: hba_rules(text).unwrap(),
        ..ServerOptions::default()
    }
}

/// A server that asks for passwords; the superuser's is `first`.
async fn with_passwords() -> Fixture {
    let fixture = Fixture::start_with(rules(SCRAM)).await;
    fixture
        .engine
        .set_superuser_password("first")
        .await
        .unwrap();
    fixture
}

impl Fixture {
    fn config_of(&self, user: &str, password: &str) -> Config {
        let mut config = self.config();
        config.user(user).password(password);
        config
    }
}

/// How a connection is refused: SQLSTATE, message.
async fn refused(config: &Config) -> (String, String) {
    let Err(error) = config.connect(NoTls).await else {
        panic!("connected");
    };
    let error = error.as_db_error().unwrap_or_else(|| panic!("{error:?}"));
    assert_eq!(error.severity(), "FATAL");
    (error.code().code().to_owned(), error.message().to_owned())
}

#[tokio::test]
async fn a_password_is_asked_and_checked() {
    let fixture = with_passwords().await;
    let root = fixture.config_of("postgres", "first");
    let (client, _) = fixture.connect_as(&root).await;
    client
        .batch_execute("CREATE USER ada PASSWORD 'Ünicode ½ pass'; CREATE ROLE mute PASSWORD 'x'; CREATE USER empty")
        .await
        .unwrap();
    let (ada, _) = fixture
        .connect_as(&fixture.config_of("ada", "Ünicode ½ pass"))
        .await;
    assert_eq!(rows(&ada, "SELECT current_user").await, ["ada"]);
    // What is told is the same whether the password is wrong, there is none, or there is no such role.
    for (user, password) in [
        ("ada", "wrong"),
        ("ada", ""),
        ("empty", "x"),
        ("nobody", "x"),
    ] {
        let (sqlstate, message) = refused(&fixture.config_of(user, password)).await;
        assert_eq!(sqlstate, "28P01");
        assert_eq!(
            message,
            format!("password authentication failed for user \"{user}\"")
        );
    }
    let (sqlstate, message) = refused(&fixture.config_of("mute", "x")).await;
    assert_eq!(
        (sqlstate.as_str(), message.as_str()),
        ("28000", "role \"mute\" is not permitted to log in")
    );
    // A password that is over is none.
    client
        .batch_execute("ALTER ROLE ada VALID UNTIL '2001-01-01'")
        .await
        .unwrap();
    assert_eq!(
        refused(&fixture.config_of("ada", "Ünicode ½ pass")).await.0,
        "28P01"
    );
    client
        .batch_execute("ALTER ROLE ada VALID UNTIL 'infinity' CONNECTION LIMIT 1")
        .await
        .unwrap();
    let (sqlstate, message) = refused(&fixture.config_of("ada", "Ünicode ½ pass")).await;
    assert_eq!(
        (sqlstate.as_str(), message.as_str()),
        ("53300", "too many connections for role \"ada\"")
    );
}

#[tokio::test]
async fn settings_of_a_role_hold_from_its_log_in_on() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE USER ada; ALTER ROLE ada SET seed = 7; ALTER ROLE ada SET timezone = 'Asia/Tokyo'")
        .await
        .unwrap();
    let mut config = fixture.config();
    config.user("ada").options("-c seed=8");
    let (ada, _) = fixture.connect_as(&config).await;
    assert_eq!(rows(&ada, "SHOW timezone").await, ["Asia/Tokyo"]);
    assert_eq!(rows(&ada, "SHOW seed").await, ["8"]);
    ada.batch_execute("SET timezone = 'UTC'; RESET timezone")
        .await
        .unwrap();
    assert_eq!(rows(&ada, "SHOW timezone").await, ["Asia/Tokyo"]);
    assert_eq!(rows(&ada, "SHOW is_superuser").await, ["off"]);
}

#[tokio::test]
async fn passwords_are_nowhere_to_be_seen() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute(
            "CREATE ROLE ada PASSWORD 'hush-hush'; ALTER ROLE ada PASSWORD $$hush-hush$$",
        )
        .await
        .unwrap();
    let _ = client
        .batch_execute("ALTER ROLE nobody PASSWORD 'hush-hush'")
        .await;
    let _ = client
        .batch_execute("ALTER ROLE ada PASSWORD 'hush-hush' 'hush-hush'")
        .await;
    let seen = rows(&client, "SELECT statement FROM ml.audit_log").await;
    assert!(
        seen.iter()
            .any(|text| text == "CREATE ROLE ada PASSWORD '***'"),
        "{seen:?}"
    );
    assert!(seen.iter().all(|text| !text.contains("hush")), "{seen:?}");
    let mut folders = vec![fixture.folder.path().join("warehouse")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else {
                let bytes = std::fs::read(&path).unwrap();
                assert!(
                    !bytes.windows(9).any(|part| part == b"hush-hush"),
                    "{path:?}"
                );
            }
        }
    }
}

#[tokio::test]
async fn secrets_of_urls_are_nowhere_to_be_seen() {
    let fixture = Fixture::start().await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE TABLE t (a bigint)")
        .await
        .unwrap();
    for statement in [
        "SELECT * FROM 'https://user:hush@host.invalid/x.csv'",
        "SELECT * FROM 'https://host.invalid/x.csv?token=hush'",
        "SELECT * FROM read_parquet('s3://key:hush@bucket/x.parquet')",
        "COPY t FROM 'https://host.invalid/x.csv?sv=1&sig=hush'",
        "COPY t TO 's3://bucket/x.csv?X-Amz-Signature=hush'",
        "CREATE EXTERNAL TABLE e STORED AS CSV LOCATION 'ftp://user:hush@host.invalid/x.csv'",
        "CREATE EXTERNAL LOCATION l URL 'https://user:hu/sh@host.invalid/'",
        "CREATE CATALOG c TYPE iceberg WITH (type = 'sql', uri = 'postgresql://user:hush@host.invalid/db')",
        "CREATE CATALOG c TYPE iceberg WITH (type = 'rest', uri = 'https://host.invalid/?token=hush')",
        "SELECT * FORM 'https://user:hush@host.invalid/x.csv'",
        "SELECT 'https://user:hush@host.invalid/x.csv'::bigint",
    ] {
        let error = client.batch_execute(statement).await.unwrap_err();
        let error = error.as_db_error().unwrap();
        assert!(
            !format!("{error:?}").contains("hush"),
            "{statement}: {error:?}"
        );
    }
    for column in ["statement FROM ml.audit_log", "query FROM pg_stat_activity"] {
        let seen = rows(&client, &format!("SELECT {column}")).await;
        assert!(seen.iter().all(|text| !text.contains("hush")), "{seen:?}");
    }
}

#[tokio::test]
async fn rules_decide_who_comes_in() {
    let fixture = Fixture::start_with(rules(
        "[[hba]]\nuser = \"eve\"\nmethod = \"reject\"\n\
         [[hba]]\ntype = \"hostssl\"\nmethod = \"trust\"\n\
         [[hba]]\nuser = [\"postgres\", \"+analysts\"]\naddress = \"127.0.0.1/32\"\nmethod = \"trust\"",
    ))
    .await;
    let client = fixture.connect().await;
    client
        .batch_execute("CREATE USER eve; CREATE ROLE analysts; CREATE USER ada IN ROLE analysts; CREATE USER bob")
        .await
        .unwrap();
    let config = |user: &str| fixture.config_of(user, "");
    assert!(config("ada").connect(NoTls).await.is_ok());
    let (sqlstate, message) = refused(&config("eve")).await;
    assert_eq!(sqlstate, "28000");
    assert!(
        message.starts_with("pg_hba.conf rejects connection for host \"127.0.0.1\", user \"eve\""),
        "{message}"
    );
    let (sqlstate, message) = refused(&config("bob")).await;
    assert_eq!(sqlstate, "28000");
    assert!(
        message.ends_with("user \"bob\", database \"postgres\", no encryption"),
        "{message}"
    );
    // Nobody is let in who does not exist.
    client.batch_execute("DROP ROLE ada").await.unwrap();
    let trusting = Fixture::start().await;
    let (sqlstate, message) = refused(&trusting.config_of("ada", "")).await;
    assert_eq!(
        (sqlstate.as_str(), message.as_str()),
        ("28000", "role \"ada\" does not exist")
    );
}

/// Wrong passwords: the whole ten thousand when everything is tested, and a part of them else.
fn n_guesses() -> usize {
    match std::env::var_os("AUSPEX_TEST_FULL") {
        Some(_) => 10_000,
        None => 1_000,
    }
}

#[tokio::test]
async fn guessing_is_slowed_down_and_disturbs_nobody() {
    let fixture = with_passwords().await;
    let (client, _) = fixture
        .connect_as(&fixture.config_of("postgres", "first"))
        .await;
    client
        .batch_execute("CREATE USER ada PASSWORD 'right'")
        .await
        .unwrap();
    for _ in 0..6 {
        assert_eq!(refused(&fixture.config_of("ada", "wrong")).await.0, "28P01");
    }
    // Now every guess is refused before it is looked at, the right one too.
    let startup = startup("ada");
    let mut looked_at = 0;
    for _ in 0..n_guesses() {
        let mut stream = TcpStream::connect(fixture.server.address()).await.unwrap();
        stream.write_all(&startup).await.unwrap();
        let mut kind = [0];
        stream.read_exact(&mut kind).await.unwrap();
        if kind[0] == b'R' {
            looked_at += 1;
            // A guess that is no proof is a wrong one.
            stream.write_all(b"p\0\0\0\x05x").await.unwrap();
            let mut rest = Vec::new();
            let _ = stream.read_to_end(&mut rest).await;
        }
    }
    // The waits are short at first, so that a few guesses may have been let through.
    assert!(looked_at < 10, "{looked_at} guesses were looked at");
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
    // A wait may just have ended; then it begins again.
    let mut hint = String::new();
    for _ in 0..10 {
        match fixture.config_of("ada", "right").connect(NoTls).await {
            Err(error) => {
                let error = error.as_db_error().unwrap();
                hint = error.hint().unwrap_or_default().to_owned();
                break;
            }
            Ok(_) => {
                for _ in 0..6 {
                    refused(&fixture.config_of("ada", "wrong")).await;
                }
            }
        }
    }
    assert!(hint.starts_with("Too many wrong passwords"), "{hint}");
    // Another user of the same machine is not hindered.
    assert!(
        fixture
            .config_of("postgres", "first")
            .connect(NoTls)
            .await
            .is_ok()
    );
}

/// The message by which a user begins.
fn startup(user: &str) -> Vec<u8> {
    let body = [b"\0\x03\0\0user\0", user.as_bytes(), b"\0\0"].concat();
    let length = u32::try_from(body.len() + 4).unwrap();
    [&length.to_be_bytes()[..], &body].concat()
}

#[tokio::test]
async fn garbage_in_the_exchange_hurts_only_its_sender() {
    let fixture = with_passwords().await;
    let (client, _) = fixture
        .connect_as(&fixture.config_of("postgres", "first"))
        .await;
    let message = |body: &[u8]| {
        let length = u32::try_from(body.len() + 4).unwrap();
        [b"p", &length.to_be_bytes()[..], body].concat()
    };
    let sasl = |data: &[u8]| {
        let length = u32::try_from(data.len()).unwrap();
        message(&[b"SCRAM-SHA-256\0", &length.to_be_bytes()[..], data].concat())
    };
    for bytes in [
        message(b""),
        message(b"password\0"),
        message(b"SCRAM-SHA-256\0\xff\xff\xff\xff"),
        message(b"SCRAM-SHA-1\0\0\0\0\x03n,,"),
        sasl(b"n,,"),
        sasl(b"p=tls-server-end-point,,n=,r=x"),
        sasl(b"\xff\xfe\xfd"),
        sasl(&[b'n'; 5000]),
        [sasl(b"n,,n=,r=abc"), message(b"c=biws,r=abc,p=AAAA")].concat(),
        b"Q\0\0\0\x0dSELECT 1\0".to_vec(),
        b"p\xff\xff\xff\xff".to_vec(),
        b"X\0\0\0\x04".to_vec(),
    ] {
        let mut stream = TcpStream::connect(fixture.server.address()).await.unwrap();
        stream.write_all(&startup("postgres")).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(5), reading)
            .await
            .unwrap();
        // No authentication came of it.
        assert!(
            !answer.windows(9).any(|part| part == b"R\0\0\0\x08\0\0\0\0"),
            "{bytes:?}"
        );
    }
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn who_never_logs_in_is_sent_away() {
    let options = ServerOptions {
        authentication_timeout: Duration::from_millis(200),
        ..rules(SCRAM)
    };
    let fixture = Fixture::start_with(options).await;
    let beginnings: [Vec<u8>; 3] = [Vec::new(), b"\0\0\0".to_vec(), startup("ada")];
    for begun in beginnings {
        let mut stream = TcpStream::connect(fixture.server.address()).await.unwrap();
        stream.write_all(&begun).await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        tokio::time::timeout(Duration::from_secs(5), reading)
            .await
            .unwrap()
            .unwrap();
    }
}

fn certificate(name: &str) -> PathBuf {
    Path::new("tests/wire/certificates").join(name)
}

pub(crate) async fn with_tls(text: &str) -> Fixture {
    let tls = Tls::load(&TlsFiles {
        certificate: certificate("server.pem"),
        key: certificate("server.key"),
        client_ca: Some(certificate("ca.pem")),
    });
    let options = ServerOptions {
        tls: Some(tls.unwrap()),
        ..rules(text)
    };
    Fixture::start_with(options).await
}

/// What psql says of a connection with these parameters; `None` without psql.
fn psql(fixture: &Fixture, parameters: &str) -> Option<(bool, String)> {
    ask(fixture, parameters, "SELECT current_user")
}

/// What psql says to a query.
fn ask(fixture: &Fixture, parameters: &str, query: &str) -> Option<(bool, String)> {
    let port = fixture.server.address().port();
    let connection = format!(
        "host=127.0.0.1 port={port} dbname=postgres sslrootcert={} {parameters}",
        certificate("ca.pem").display()
    );
    let output = Command::new("psql")
        .args(["-X", "-A", "-t", "-c", query, &connection])
        .env("PGPASSWORD", "first")
        .output()
        .ok()?;
    let text = [output.stdout, output.stderr].concat();
    Some((
        output.status.success(),
        String::from_utf8_lossy(&text).trim().to_owned(),
    ))
}

#[tokio::test(flavor = "multi_thread")]
async fn connections_are_encrypted_and_bound_to_the_certificate() {
    let fixture = with_tls("[[hba]]\ntype = \"hostssl\"\nmethod = \"scram\"").await;
    fixture
        .engine
        .set_superuser_password("first")
        .await
        .unwrap();
    let Some(answer) = psql(
        &fixture,
        "user=postgres sslmode=verify-full channel_binding=require",
    ) else {
        eprintln!("skipped: psql is not installed");
        return;
    };
    assert_eq!(answer, (true, "postgres".to_owned()));
    // Without channel binding, too; without encryption no rule fits.
    let answer = psql(
        &fixture,
        "user=postgres sslmode=require channel_binding=disable",
    )
    .unwrap();
    assert_eq!(answer, (true, "postgres".to_owned()));
    let (success, text) = psql(&fixture, "user=postgres sslmode=disable").unwrap();
    assert!(
        !success && text.contains("no pg_hba.conf entry") && text.contains("no encryption"),
        "{text}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_is_a_password() {
    let fixture = with_tls("[[hba]]\ntype = \"hostssl\"\nmethod = \"cert\"").await;
    let folder = tempfile::tempdir().unwrap();
    // psql wants a key that nobody else can read.
    let key = folder.path().join("client.key");
    std::fs::copy(certificate("client.key"), &key).unwrap();
    std::fs::set_permissions(&key, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
    let with_key = format!(
        "sslmode=require sslcert={} sslkey={}",
        certificate("client.pem").display(),
        key.display()
    );
    let session = fixture.engine.connect(&auspex_planner::ClientFacts {
        user: "postgres".to_owned(),
        ..auspex_planner::ClientFacts::default()
    });
    run(&session.unwrap(), "CREATE USER ada").await;
    let Some(answer) = psql(&fixture, &format!("user=ada {with_key}")) else {
        eprintln!("skipped: psql is not installed");
        return;
    };
    assert_eq!(answer, (true, "ada".to_owned()));
    let how = "SELECT ssl, version, bits >= 128, cipher LIKE 'TLS_%', client_dn FROM pg_stat_ssl \
               WHERE pid = pg_backend_pid()";
    let answer = ask(&fixture, &format!("user=ada {with_key}"), how).unwrap();
    assert_eq!(answer, (true, "t|TLSv1.3|t|t|/CN=ada".to_owned()));
    let (success, text) = psql(&fixture, &format!("user=postgres {with_key}")).unwrap();
    assert!(
        !success && text.contains("certificate authentication failed for user \"postgres\""),
        "{text}"
    );
    let (success, text) = psql(&fixture, "user=ada sslmode=require").unwrap();
    assert!(
        !success && text.contains("connection requires a valid client certificate"),
        "{text}"
    );
}

/// Runs a statement without a wire.
async fn run(session: &std::sync::Arc<auspex_planner::Session>, text: &str) {
    let (notices, _) = tokio::sync::mpsc::unbounded_channel();
    let control = auspex_planner::StatementControl {
        cancel: Default::default(),
        notices,
        returned: None,
    };
    for statement in session.parse(text).unwrap() {
        let prepared = session.prepare(&statement, &[]).await.unwrap();
        session
            .execute(&prepared, Vec::new(), &control)
            .await
            .unwrap();
    }
}

#[tokio::test]
async fn nothing_sent_before_the_encryption_counts() {
    const REQUEST: &[u8] = b"\0\0\0\x08\x04\xd2\x16\x2f";
    let fixture = with_tls("[[hba]]\nmethod = \"trust\"").await;
    let client = fixture.connect().await;
    let attempts: [Vec<u8>; 4] = [
        // A startup message right behind the request, as somebody in the middle would put it there.
        [REQUEST, &startup("postgres"), b"Q\0\0\0\x0dSELECT 1\0"].concat(),
        [REQUEST, &[0x16, 3, 1, 0xff, 0xff][..], &[0; 300]].concat(),
        [&[0x16, 3, 1, 0, 5][..], &[0xff; 64]].concat(),
        REQUEST.repeat(50),
    ];
    for bytes in attempts {
        let mut stream = TcpStream::connect(fixture.server.address()).await.unwrap();
        stream.write_all(&bytes).await.unwrap();
        stream.shutdown().await.unwrap();
        let mut answer = Vec::new();
        let reading = stream.read_to_end(&mut answer);
        let _ = tokio::time::timeout(Duration::from_secs(5), reading)
            .await
            .unwrap();
        assert!(
            !answer.windows(9).any(|part| part == b"R\0\0\0\x08\0\0\0\0"),
            "{bytes:?}"
        );
    }
    assert_eq!(rows(&client, "SELECT 1").await, ["1"]);
}

#[tokio::test]
async fn other_peoples_sessions_are_not_mine_to_end() {
    let fixture = Fixture::start().await;
    let root = fixture.connect().await;
    root.batch_execute("CREATE USER ada; CREATE USER bob")
        .await
        .unwrap();
    let connect = async |user: &str| fixture.connect_as(&fixture.config_of(user, "")).await.0;
    let (ada, bob) = (connect("ada").await, connect("bob").await);
    let pid = rows(&bob, "SELECT pg_backend_pid()").await.remove(0);
    let root_pid = rows(&root, "SELECT pg_backend_pid()").await.remove(0);
    for function in ["pg_cancel_backend", "pg_terminate_backend"] {
        for pid in [&pid, &root_pid] {
            let error = error_of(&ada, &format!("SELECT {function}({pid})")).await;
            assert_eq!(error.code().code(), "42501");
        }
        assert_eq!(
            rows(&ada, &format!("SELECT {function}(99999)")).await,
            ["f"]
        );
    }
    root.batch_execute("GRANT pg_signal_backend TO ada")
        .await
        .unwrap();
    let error = error_of(&ada, &format!("SELECT pg_terminate_backend({root_pid})")).await;
    assert_eq!(error.code().code(), "42501");
    assert_eq!(
        rows(&ada, &format!("SELECT pg_terminate_backend({pid})")).await,
        ["t"]
    );
    let ended = async {
        while !bob.is_closed() {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(5), ended)
        .await
        .unwrap();
}
