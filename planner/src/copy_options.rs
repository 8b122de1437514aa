//! How rows travel in `COPY … FROM STDIN` and `COPY … TO STDOUT`.
//!
//! In: the options of the statement's syntax tree; out: a checked [`CopyOptions`]. The bytes themselves are the
//! server's business.

use auspex_sql::{COPY_CONDITION, EVERY_COPY_COLUMN, HEADER_MATCH};
use datafusion::sql::sqlparser::ast::{CopyLegacyCsvOption, CopyLegacyOption, CopyOption, Ident};

use crate::commands::folded;
use crate::error::{Error, Result};
use crate::settings::copied_encoding;

/// The form of the rows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CopyFormat {
    /// PostgreSQL's own: a line a row, marks escaped by a backslash.
    Text,
    /// Comma separated values.
    Csv,
    /// PostgreSQL's binary forms.
    Binary,
}

/// Some columns of a COPY.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum CopyColumns {
    /// None of them.
    #[default]
    None,
    /// All.
    All,
    /// Those of these names.
    Named(Vec<String>),
}

impl CopyColumns {
    /// Whether a column is one of them.
    pub fn contains(&self, name: &str) -> bool {
        match self {
            CopyColumns::None => false,
            CopyColumns::All => true,
            CopyColumns::Named(names) => names.iter().any(|known| known == name),
        }
    }
}

/// What the options of a COPY say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CopyOptions {
    /// The form of the rows.
    pub format: CopyFormat,
    /// What stands between two values.
    pub delimiter: u8,
    /// What stands for NULL.
    pub null: String,
    /// Whether the first line holds the names of the columns.
    pub has_header: bool,
    /// Whether these must be the columns' own.
    pub matches_header: bool,
    /// What values of CSV are wrapped in.
    pub quote: u8,
    /// What stands before a quote inside quotes.
    pub escape: u8,
    /// Columns of CSV whose values are written in quotes whatever they hold.
    pub force_quote: CopyColumns,
    /// Columns of CSV in which nothing read is NULL.
    pub force_not_null: CopyColumns,
    /// Columns of CSV in which also a quoted text may be NULL.
    pub force_null: CopyColumns,
    /// The encoding of the lines; `None`: the client's.
    pub encoding: Option<&'static str>,
}

/// The options as they were written, before they are checked together.
#[derive(Default)]
struct Written {
    format: Option<CopyFormat>,
    delimiter: Option<char>,
    null: Option<String>,
    has_header: bool,
    matches_header: bool,
    quote: Option<char>,
    escape: Option<char>,
    force_quote: CopyColumns,
    force_not_null: CopyColumns,
    force_null: CopyColumns,
    encoding: Option<&'static str>,
}

impl CopyOptions {
    /// Reads and checks the options of a statement.
    pub(crate) fn read(options: &[CopyOption], legacy: &[CopyLegacyOption]) -> Result<CopyOptions> {
        let mut written = Written::default();
        for option in options {
            written.read(option)?;
        }
        for option in legacy {
            written.read_legacy(option)?;
        }
        written.checked()
    }
}

impl Written {
    fn read(&mut self, option: &CopyOption) -> Result<()> {
        match option {
            CopyOption::Format(name) => self.format = Some(format_named(&name.value)?),
            CopyOption::Freeze(_) => {}
            CopyOption::Delimiter(mark) => self.delimiter = Some(*mark),
            CopyOption::Null(text) => self.null = Some(text.clone()),
            CopyOption::Header(header) => self.has_header = *header,
            CopyOption::Quote(mark) => self.quote = Some(*mark),
            CopyOption::Escape(mark) => self.escape = Some(*mark),
            CopyOption::ForceQuote(columns) => self.force_quote = named(columns),
            CopyOption::ForceNotNull(columns) => self.force_not_null = named(columns),
            option if is_header_match(option) => self.matches_header = true,
            option if copy_condition(option).is_some() => {}
            CopyOption::ForceNull(columns) => self.force_null = named(columns),
            CopyOption::Encoding(name) => self.encoding = Some(copied_encoding(name)?),
        }
        Ok(())
    }

    fn read_legacy(&mut self, option: &CopyLegacyOption) -> Result<()> {
        match option {
            CopyLegacyOption::Binary => self.format = Some(CopyFormat::Binary),
            CopyLegacyOption::Delimiter(mark) => self.delimiter = Some(*mark),
            CopyLegacyOption::Null(text) => self.null = Some(text.clone()),
            CopyLegacyOption::Header => self.has_header = true,
            CopyLegacyOption::Csv(options) => {
                self.format = Some(CopyFormat::Csv);
                for option in options {
                    match option {
                        CopyLegacyCsvOption::Header => self.has_header = true,
                        CopyLegacyCsvOption::Quote(mark) => self.quote = Some(*mark),
                        CopyLegacyCsvOption::Escape(mark) => self.escape = Some(*mark),
                        CopyLegacyCsvOption::ForceQuote(columns) => {
                            self.force_quote = named(columns);
                        }
                        CopyLegacyCsvOption::ForceNotNull(columns) => {
                            self.force_not_null = named(columns);
                        }
                    }
                }
            }
            other => return Err(Error::unsupported(format!("COPY ... {other}"))),
        }
        Ok(())
    }

    fn checked(self) -> Result<CopyOptions> {
        let format = self.format.unwrap_or(CopyFormat::Text);
        self.check_format(format)?;
        let csv = format == CopyFormat::Csv;
        let delimiter = one_byte(
            "delimiter",
            self.delimiter.unwrap_or(if csv { ',' } else { '\t' }),
        )?;
        let quote = one_byte("quote", self.quote.unwrap_or('"'))?;
        let escape = match self.escape {
            Some(mark) => one_byte("escape", mark)?,
            None => quote,
        };
        let unnamed = if csv { "" } else { "\\N" };
        let null = self.null.unwrap_or_else(|| unnamed.to_owned());
        if matches!(delimiter, b'\n' | b'\r') {
            return Err(wrong("COPY delimiter cannot be newline or carriage return"));
        }
        if null.contains(['\n', '\r']) {
            return Err(wrong(
                "COPY null representation cannot use newline or carriage return",
            ));
        }
        if !csv && b"\\.abcdefghijklmnopqrstuvwxyz0123456789".contains(&delimiter) {
            let mark = char::from(delimiter);
            return Err(wrong(&format!("COPY delimiter cannot be \"{mark}\"")));
        }
        if null.bytes().any(|byte| byte == delimiter) {
            return Err(wrong(
                "COPY delimiter character must not appear in the NULL specification",
            ));
        }
        if csv && delimiter == quote {
            return Err(wrong("COPY delimiter and quote must be different"));
        }
        if csv && null.bytes().any(|byte| byte == quote) {
            return Err(wrong(
                "CSV quote character must not appear in the NULL specification",
            ));
        }
        Ok(CopyOptions {
            format,
            delimiter,
            null,
            has_header: self.has_header,
            matches_header: self.matches_header,
            quote,
            escape,
            force_quote: self.force_quote,
            force_not_null: self.force_not_null,
            force_null: self.force_null,
            encoding: self.encoding,
        })
    }

    /// Fails for options that mean nothing in a format.
    fn check_format(&self, format: CopyFormat) -> Result<()> {
        let csv_only = [
            (self.quote.is_some(), "quote"),
            (self.escape.is_some(), "escape"),
            (self.force_quote != CopyColumns::None, "force quote"),
            (self.force_not_null != CopyColumns::None, "force not null"),
            (self.force_null != CopyColumns::None, "force null"),
        ];
        if format != CopyFormat::Csv
            && let Some((_, name)) = csv_only.iter().find(|(is_written, _)| *is_written)
        {
            let message = format!("COPY {name} available only in CSV mode");
            return Err(Error::invalid("0A000", message, None));
        }
        let text_only = [
            (self.delimiter.is_some(), "DELIMITER"),
            (self.null.is_some(), "NULL"),
            (self.has_header, "HEADER"),
        ];
        if format == CopyFormat::Binary
            && let Some((_, name)) = text_only.iter().find(|(is_written, _)| *is_written)
        {
            let message = format!("cannot specify {name} in BINARY mode");
            return Err(Error::invalid("42601", message, None));
        }
        Ok(())
    }
}

/// Whether an option is `HEADER MATCH`.
pub(crate) fn is_header_match(option: &CopyOption) -> bool {
    match option {
        CopyOption::ForceNull(columns) => columns.iter().any(|c| c.value == HEADER_MATCH),
        _ => false,
    }
}

/// Fails for `HEADER MATCH` where rows are written, as PostgreSQL does.
pub(crate) fn header_match_in_copy_to() -> Error {
    let message = "cannot use \"match\" with HEADER in COPY TO";
    Error::invalid("0A000", message, None)
}

/// What is wrong with a header that must name some columns, in PostgreSQL's words. A name that is NULL is `None`.
pub fn header_fault(header: &[Option<&[u8]>], columns: &[String]) -> Option<String> {
    if header.len() != columns.len() {
        return Some(format!(
            "wrong number of fields in header line: got {}, expected {}",
            header.len(),
            columns.len()
        ));
    }
    let mut pairs = header.iter().zip(columns);
    let place = pairs.position(|(found, name)| *found != Some(name.as_bytes()))?;
    let found = match header[place] {
        Some(found) => format!("\"{}\"", String::from_utf8_lossy(found)),
        None => "null value".to_owned(),
    };
    Some(format!(
        "column name mismatch in header line field {}: got {found}, expected \"{}\"",
        place + 1,
        columns[place]
    ))
}

/// An option as it is written in a statement.
pub(crate) fn written_option(option: &CopyOption) -> String {
    match option {
        CopyOption::ForceQuote(columns) if named(columns) == CopyColumns::All => {
            "FORCE_QUOTE *".to_owned()
        }
        option => option.to_string(),
    }
}

/// The same of the older form.
pub(crate) fn written_legacy_option(option: &CopyLegacyCsvOption) -> String {
    match option {
        CopyLegacyCsvOption::ForceQuote(columns) if named(columns) == CopyColumns::All => {
            "FORCE QUOTE *".to_owned()
        }
        option => option.to_string(),
    }
}

/// The condition of `COPY t FROM … WHERE …`, if an option holds it.
pub(crate) fn copy_condition(option: &CopyOption) -> Option<&str> {
    match option {
        CopyOption::ForceNull(columns) => {
            let mut columns = columns.iter();
            columns.find_map(|column| column.value.strip_prefix(COPY_CONDITION))
        }
        _ => None,
    }
}

fn named(columns: &[Ident]) -> CopyColumns {
    let is_every = |column: &Ident| column.value == EVERY_COPY_COLUMN;
    if columns.iter().any(is_every) {
        return CopyColumns::All;
    }
    CopyColumns::Named(columns.iter().map(folded).collect())
}

fn format_named(name: &str) -> Result<CopyFormat> {
    match name.to_lowercase().as_str() {
        "text" => Ok(CopyFormat::Text),
        "csv" => Ok(CopyFormat::Csv),
        "binary" => Ok(CopyFormat::Binary),
        other => Err(Error::invalid(
            "22023",
            format!("COPY format \"{other}\" not recognized"),
            Some(
                "Between client and server the formats are text, csv and binary; files may also be parquet and json.",
            ),
        )),
    }
}

fn one_byte(what: &str, mark: char) -> Result<u8> {
    match u8::try_from(mark) {
        Ok(byte) if mark.is_ascii() => Ok(byte),
        _ => Err(Error::invalid(
            "0A000",
            format!("COPY {what} must be a single one-byte character"),
            None,
        )),
    }
}

fn wrong(message: &str) -> Error {
    Error::invalid("22023", message, None)
}
