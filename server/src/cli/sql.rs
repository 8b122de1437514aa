//! `auspex sql`: statements from arguments, a file, standard input or a prompt.
//!
//! In: the statements; out: their results. Runs the engine in this process, or talks to a server.

use std::io::{IsTerminal, Read};
use std::path::Path;

use rustyline::DefaultEditor;
use rustyline::error::ReadlineError;

use super::client::Client;
use super::runner::{AfterError, Runner};
use super::script::Script;
use super::{CliError, SqlArgs, Success, open, print_line, start_logging, version};
use crate::config::{Config, EngineArgs};
use crate::config_server::LogFormat;

/// What the prompt tells who asks.
const HELP: &str = "Statements end with a semicolon. Ctrl-C cancels one, Ctrl-D or \\q leaves.
  SHOW TABLES;                                    what there is
  SELECT * FROM 'file.parquet' LIMIT 5;           read a file of this folder
  CREATE MODEL m PREDICT label AS SELECT ...;     train a model
  EVALUATE MODEL m;   PREDICT MODEL m ON t;       use it
  SELECT * FROM ml.models;                        list models";

/// Runs the command.
pub(super) async fn sql(args: SqlArgs) -> Result<Success, CliError> {
    start_logging("error", LogFormat::Text);
    let client = match &args.url {
        Some(url) => Client::connect(url).await?,
        None => embedded(args.engine).await?,
    };
    let mut runner = Runner::new(client, args.format);
    let after_error = if args.keep_going {
        AfterError::GoOn
    } else {
        AfterError::Stop
    };
    let text = match &args.file {
        Some(path) => Some(read(path)?),
        None if !args.commands.is_empty() => Some(args.commands.join(";\n")),
        None if !std::io::stdin().is_terminal() => Some(read(Path::new("-"))?),
        None => None,
    };
    let success = match text {
        Some(text) => {
            runner
                .run_all(&Script::cut(&text).into_statements(), after_error)
                .await?
        }
        None => prompt(&mut runner).await?,
    };
    runner.close().await;
    Ok(success)
}

/// An engine of this process; SQL may read the current folder.
async fn embedded(args: EngineArgs) -> Result<Client, CliError> {
    let mut config = Config::resolve(args, None)?;
    let folder = std::env::current_dir()?;
    config
        .engine
        .allow_locations
        .insert(0, folder.display().to_string());
    Ok(Client::in_process(open(config.engine).await?).await?)
}

fn read(path: &Path) -> Result<String, CliError> {
    let result = if path == Path::new("-") {
        let mut text = String::new();
        std::io::stdin().read_to_string(&mut text).map(|_| text)
    } else {
        std::fs::read_to_string(path)
    };
    result.map_err(|source| CliError::Unreadable {
        path: path.display().to_string(),
        source,
    })
}

/// Reads statements from the terminal until the end of input.
async fn prompt(runner: &mut Runner) -> Result<Success, CliError> {
    let server = runner
        .server_version()
        .map(|v| format!(", server {v}"))
        .unwrap_or_default();
    print_line(&format!("{}{server}. Type \\? for help.", version()))?;
    let mut editor = Some(DefaultEditor::new()?);
    let mut pending = String::new();
    loop {
        let sign = if pending.is_empty() {
            "auspex=> "
        } else {
            "auspex-> "
        };
        // Reading blocks: it must not hold up the connection's task.
        let Some(mut reader) = editor.take() else {
            return Ok(Success::All);
        };
        let reading = tokio::task::spawn_blocking(move || {
            let line = reader.readline(sign);
            (reader, line)
        });
        let (reader, line) = reading.await.map_err(std::io::Error::other)?;
        let reader = editor.insert(reader);
        match line {
            Ok(line) => match (pending.is_empty(), line.trim()) {
                (true, "") => {}
                (true, "\\q" | "exit" | "quit") => return Ok(Success::All),
                (true, "\\?" | "\\h" | "help") => print_line(HELP)?,
                (true, command) if command.starts_with('\\') => {
                    print_line("Only \\? and \\q are known here; psql's commands work in psql.")?;
                }
                _ => {
                    pending.push_str(&line);
                    pending.push('\n');
                    let script = Script::cut(&pending);
                    if !script.statements.is_empty() {
                        // A history that is full forgets; that is no reason to stop.
                        let _ = reader.add_history_entry(pending.trim());
                        runner.run_all(&script.statements, AfterError::Stop).await?;
                    }
                    pending = script.rest;
                }
            },
            Err(ReadlineError::Interrupted) => pending.clear(),
            Err(ReadlineError::Eof) => return Ok(Success::All),
            Err(error) => return Err(error.into()),
        }
    }
}
