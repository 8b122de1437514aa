//! Runs statements one after the other and prints what comes.
//!
//! In: statements and a connection; out: rows and tags on standard output, notices and errors on
//! standard error in psql's form, a bar for what takes long. Ctrl-C cancels the statement, not the
//! program.

use std::io::{IsTerminal, Write};

use indicatif::{ProgressBar, ProgressStyle};

use super::client::{Client, Message, Reply};
use super::table::{Column, OutputFormat, Row, lay_out};
use super::{CliError, Success};

/// Steps of a progress bar.
const BAR_STEPS: u64 = 1_000;

/// How statements are run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum AfterError {
    Stop,
    GoOn,
}

/// A connection and the way to print.
pub(super) struct Runner {
    client: Client,
    format: OutputFormat,
    bar: Option<ProgressBar>,
}

impl Runner {
    pub(super) fn new(client: Client, format: OutputFormat) -> Runner {
        Runner {
            client,
            format,
            bar: None,
        }
    }

    /// Runs the statements, up to the first that fails or all of them.
    pub(super) async fn run_all(
        &mut self,
        statements: &[String],
        after_error: AfterError,
    ) -> Result<Success, CliError> {
        let mut success = Success::All;
        for statement in statements {
            if self.run(statement).await? == Success::NotAll {
                success = Success::NotAll;
                if after_error == AfterError::Stop {
                    break;
                }
            }
        }
        Ok(success)
    }

    /// Runs one statement.
    pub(super) async fn run(&mut self, statement: &str) -> Result<Success, CliError> {
        self.client.query(statement).await?;
        let mut columns: Vec<Column> = Vec::new();
        let mut rows: Vec<Row> = Vec::new();
        let mut success = Success::All;
        loop {
            let reply = tokio::select! {
                reply = self.client.next() => reply,
                interrupted = tokio::signal::ctrl_c() => {
                    interrupted?;
                    self.client.cancel().await?;
                    continue;
                }
            };
            match reply.inspect_err(|_| self.end_bar())? {
                Reply::Columns(described) => columns = described,
                Reply::Row(row) => rows.push(row),
                Reply::Copied(data) => std::io::stdout().lock().write_all(&data)?,
                Reply::Notice(notice) => self.print_notice(&notice)?,
                Reply::Failed(error) => {
                    self.end_bar();
                    self.print_error(statement, &error)?;
                    success = Success::NotAll;
                }
                Reply::Done(tag) => {
                    self.end_bar();
                    self.print_result(
                        &std::mem::take(&mut columns),
                        &std::mem::take(&mut rows),
                        &tag,
                    )?;
                }
                Reply::Ready => return Ok(success),
            }
        }
    }

    /// Ends the connection.
    pub(super) async fn close(self) {
        self.client.close().await;
    }

    /// The server's version, if there is a server.
    pub(super) fn server_version(&self) -> Option<&str> {
        self.client.server_version()
    }

    fn print_result(&self, columns: &[Column], rows: &[Row], tag: &str) -> Result<(), CliError> {
        let mut out = std::io::stdout().lock();
        if !columns.is_empty() {
            out.write_all(lay_out(self.format, columns, rows).as_bytes())?;
        } else if self.format == OutputFormat::Table {
            writeln!(out, "{tag}")?;
        }
        Ok(out.flush()?)
    }

    /// Progress moves the bar, where there is a terminal; everything else is a line.
    fn print_notice(&mut self, notice: &Message) -> Result<(), CliError> {
        let Some(fraction) = notice.progress.filter(|_| std::io::stderr().is_terminal()) else {
            let text = described(notice);
            return match &self.bar {
                Some(bar) => bar.suspend(|| write_stderr(&text)),
                None => write_stderr(&text),
            };
        };
        let bar = self.bar.get_or_insert_with(new_bar);
        // Lossless: a fraction of a thousand.
        bar.set_position((fraction.clamp(0.0, 1.0) * BAR_STEPS as f64) as u64);
        bar.set_message(notice.message.clone());
        Ok(())
    }

    fn print_error(&self, statement: &str, error: &Message) -> Result<(), CliError> {
        let mut text = format!("{}:  {}\n", error.severity, error.message);
        if let Some(position) = error.position {
            text.push_str(&pointer(statement, position));
        }
        text.push_str(&remarks(error));
        write_stderr(&text)
    }

    fn end_bar(&mut self) {
        if let Some(bar) = self.bar.take() {
            bar.finish_and_clear();
        }
    }
}

fn new_bar() -> ProgressBar {
    let bar = ProgressBar::new(BAR_STEPS);
    let style = ProgressStyle::with_template("{bar:30} {percent:>3} %  {elapsed}  {msg}");
    // The template is a constant; without it the bar looks plainer.
    bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
    bar
}

fn described(notice: &Message) -> String {
    format!(
        "{}:  {}\n{}",
        notice.severity,
        notice.message,
        remarks(notice)
    )
}

fn remarks(message: &Message) -> String {
    let detail = message
        .detail
        .iter()
        .map(|detail| format!("DETAIL:  {detail}\n"));
    let hint = message.hint.iter().map(|hint| format!("HINT:  {hint}\n"));
    detail.chain(hint).collect()
}

/// The line in which an error lies, and a caret under the place.
fn pointer(statement: &str, position: usize) -> String {
    let before: String = statement.chars().take(position.saturating_sub(1)).collect();
    let line_number = before.matches('\n').count() + 1;
    let Some(line) = statement.lines().nth(line_number - 1) else {
        return String::new();
    };
    let label = format!("LINE {line_number}: ");
    let column = before
        .rsplit('\n')
        .next()
        .unwrap_or_default()
        .chars()
        .count();
    let tabs_kept: String = line
        .chars()
        .take(column)
        .map(|c| if c == '\t' { '\t' } else { ' ' })
        .collect();
    format!("{label}{line}\n{}{tabs_kept}^\n", " ".repeat(label.len()))
}

fn write_stderr(text: &str) -> Result<(), CliError> {
    Ok(std::io::stderr().write_all(text.as_bytes())?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_error_points_at_its_place() {
        let statement = "SELECT a,\n       ö, x\nFROM t";
        let position = statement.chars().position(|c| c == 'x').unwrap() + 1;
        assert_eq!(
            pointer(statement, position),
            "LINE 2:        ö, x\n                  ^\n"
        );
        assert_eq!(pointer("SELECT", 99), "LINE 1: SELECT\n              ^\n");
    }
}
