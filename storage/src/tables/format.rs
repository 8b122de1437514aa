//! Formats of external files: which a name means, and a reader for the options given.
//!
//! File names and option texts flow in, DataFusion's file formats flow out. Options are parsed here, once; nothing here
//! opens a file.

use std::collections::BTreeMap;
use std::str::FromStr as _;
use std::sync::Arc;

use datafusion::catalog::Session;
use datafusion::datasource::file_format::FileFormat;
use datafusion::datasource::file_format::arrow::ArrowFormat;
use datafusion::datasource::file_format::avro::AvroFormat;
use datafusion::datasource::file_format::csv::CsvFormat;
use datafusion::datasource::file_format::file_compression_type::FileCompressionType;
use datafusion::datasource::file_format::json::JsonFormat;
use datafusion::datasource::file_format::parquet::ParquetFormat;

use crate::catalog::ExternalFormat;
use crate::error::{Error, Result};
use crate::tables::csv_quotes::Dialect;

const CSV_OPTIONS: &[&str] = &[
    "comment",
    "compression",
    "delimiter",
    "escape",
    "header",
    "infer_rows",
    "newlines_in_values",
    "null",
    "quote",
];
const JSON_OPTIONS: &[&str] = &["compression", "infer_rows"];

/// Names that DataFusion, DuckDB and PostgreSQL give the same options.
const ALIASES: &[(&str, &str)] = &[
    ("delim", "delimiter"),
    ("has_header", "header"),
    ("null_value", "null"),
    ("nullstr", "null"),
    ("sample_rows", "infer_rows"),
    ("sample_size", "infer_rows"),
    ("schema_infer_max_rec", "infer_rows"),
    ("sep", "delimiter"),
];

/// Endings of compressed text files, and the compression.
const COMPRESSIONS: &[(&str, FileCompressionType)] = &[
    (".gz", FileCompressionType::GZIP),
    (".bz2", FileCompressionType::BZIP2),
    (".xz", FileCompressionType::XZ),
    (".zst", FileCompressionType::ZSTD),
];

/// The formats whose files stand for themselves.
const FILE_FORMATS: &[ExternalFormat] = &[
    ExternalFormat::Parquet,
    ExternalFormat::Csv,
    ExternalFormat::NdJson,
    ExternalFormat::Arrow,
    ExternalFormat::Avro,
];

impl ExternalFormat {
    /// The name in messages and snapshots.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Parquet => "parquet",
            Self::Csv => "csv",
            Self::NdJson => "ndjson",
            Self::Arrow => "arrow",
            Self::Avro => "avro",
            Self::Delta => "delta",
            Self::Iceberg => "iceberg",
        }
    }

    fn endings(self) -> &'static [&'static str] {
        match self {
            Self::Parquet => &[".parquet", ".parq", ".pq"],
            Self::Csv => &[".csv", ".tsv"],
            Self::NdJson => &[".ndjson", ".jsonl", ".json"],
            Self::Arrow => &[".arrow", ".arrows", ".feather", ".ipc"],
            Self::Avro => &[".avro"],
            Self::Delta | Self::Iceberg => &[],
        }
    }

    fn options(self) -> &'static [&'static str] {
        match self {
            Self::Parquet | Self::Arrow | Self::Avro | Self::Delta | Self::Iceberg => &[],
            Self::Csv => CSV_OPTIONS,
            Self::NdJson => JSON_OPTIONS,
        }
    }
}

/// The format that a file's name means, with the ending that says so, as `.csv.gz`.
pub(crate) fn format_of(file_name: &str) -> Option<(ExternalFormat, &str)> {
    let lower = file_name.to_ascii_lowercase();
    let (compression, _) = compression_of(&lower);
    let bare = &lower[..lower.len() - compression.len()];
    for format in FILE_FORMATS {
        // The others compress their own pages.
        let is_text = matches!(format, ExternalFormat::Csv | ExternalFormat::NdJson);
        if !is_text && !compression.is_empty() {
            continue;
        }
        if let Some(ending) = format
            .endings()
            .iter()
            .find(|ending| bare.ends_with(**ending))
        {
            let start = bare.len() - ending.len();
            return Some((*format, &file_name[start..]));
        }
    }
    None
}

/// The format that a file's name means.
pub fn format_by_name(file_name: &str) -> Option<ExternalFormat> {
    format_of(file_name).map(|(format, _)| format)
}

/// How a text file is compressed, by its name: `gz`, `bz2`, `xz` or `zst`; `None`: not.
pub fn compression_by_name(file_name: &str) -> Option<&'static str> {
    let (ending, _) = compression_of(&file_name.to_ascii_lowercase());
    ending.strip_prefix('.')
}

/// What stands between the values of a text file, by its name.
pub fn delimiter_by_name(file_name: &str) -> char {
    let lower_name = file_name.to_ascii_lowercase();
    let (ending, _) = compression_of(&lower_name);
    match lower_name[..lower_name.len() - ending.len()].ends_with(".tsv") {
        true => '\t',
        false => ',',
    }
}

fn compression_of(lower_name: &str) -> (&'static str, FileCompressionType) {
    let found = COMPRESSIONS
        .iter()
        .find(|(ending, _)| lower_name.ends_with(ending));
    found
        .copied()
        .unwrap_or(("", FileCompressionType::UNCOMPRESSED))
}

/// What a reader needs to know beside the user's options.
#[derive(Debug, Clone, Copy)]
pub(crate) struct FileHints<'a> {
    /// The name of one of the files.
    pub(crate) name: &'a str,
    /// Whether JSON is one array instead of lines.
    pub(crate) json_array: bool,
    /// Whether each file must be read as a whole, whatever the options say.
    pub(crate) is_whole: bool,
}

/// The reader for a format. Errors: `UnknownOption`, `InvalidOption`.
pub(crate) fn reader(
    format: ExternalFormat,
    options: &BTreeMap<String, String>,
    hints: FileHints<'_>,
    session: &dyn Session,
) -> Result<Arc<dyn FileFormat>> {
    let options = FormatOptions::parse(format, options)?;
    let lower_name = hints.name.to_ascii_lowercase();
    let by_name = compression_of(&lower_name).1;
    let compression = options.compression()?.unwrap_or(by_name);
    let defaults = session.default_table_options();
    Ok(match format {
        ExternalFormat::Parquet => {
            Arc::new(ParquetFormat::default().with_options(defaults.parquet))
        }
        ExternalFormat::Csv => {
            let dialect = options.dialect(&lower_name)?;
            let mut csv = CsvFormat::default()
                .with_options(defaults.csv)
                .with_file_compression_type(compression)
                .with_has_header(options.flag("header")?.unwrap_or(true))
                .with_delimiter(dialect.delimiter)
                .with_quote(dialect.quote)
                .with_escape(dialect.escape)
                .with_comment(dialect.comment)
                // Only types are found with it; the reader itself knows but the empty field.
                .with_null_regex(options.null_text().map(exactly_or_empty))
                // A quoted line break would be cut in two if a file were read in ranges.
                .with_newlines_in_values(hints.is_whole || options.has_breaks()?);
            if let Some(n_rows) = options.count("infer_rows")? {
                csv = csv.with_schema_infer_max_rec(n_rows);
            }
            Arc::new(csv)
        }
        ExternalFormat::NdJson => {
            let mut json = JsonFormat::default()
                .with_options(defaults.json)
                .with_file_compression_type(compression)
                .with_newline_delimited(!hints.json_array);
            if let Some(n_rows) = options.count("infer_rows")? {
                json = json.with_schema_infer_max_rec(n_rows);
            }
            Arc::new(json)
        }
        ExternalFormat::Arrow => Arc::new(ArrowFormat),
        ExternalFormat::Avro => Arc::new(AvroFormat),
        ExternalFormat::Delta | ExternalFormat::Iceberg => {
            return Err(Error::Internal {
                what: format!("a {} table has no reader of files", format.name()),
            });
        }
    })
}

/// The text that means NULL beside the empty field, if the options name one; the empty text tells that an empty field in
/// quotes is none.
pub(crate) fn null_text(
    format: ExternalFormat,
    options: &BTreeMap<String, String>,
) -> Result<Option<&str>> {
    Ok(FormatOptions::parse(format, options)?.null_text())
}

/// The characters that the options and the name of a CSV file give a meaning.
pub(crate) fn csv_dialect(options: &BTreeMap<String, String>, name: &str) -> Result<Dialect> {
    FormatOptions::parse(ExternalFormat::Csv, options)?.dialect(&name.to_ascii_lowercase())
}

/// Whether the options say that a line of a CSV file is a row, so that it may be read in pieces.
pub(crate) fn may_be_divided(options: &BTreeMap<String, String>) -> Result<bool> {
    Ok(!FormatOptions::parse(ExternalFormat::Csv, options)?.has_breaks()?)
}

/// Whether the options or the name say that a file is compressed.
pub(crate) fn is_compressed(
    format: ExternalFormat,
    options: &BTreeMap<String, String>,
    name: &str,
) -> Result<bool> {
    let by_name = compression_of(&name.to_ascii_lowercase()).1;
    let compression = FormatOptions::parse(format, options)?
        .compression()?
        .unwrap_or(by_name);
    Ok(compression != FileCompressionType::UNCOMPRESSED)
}

/// Options with their canonical names.
struct FormatOptions<'a> {
    values: BTreeMap<&'static str, &'a str>,
}

impl<'a> FormatOptions<'a> {
    fn parse(format: ExternalFormat, options: &'a BTreeMap<String, String>) -> Result<Self> {
        let mut values = BTreeMap::new();
        for (option, value) in options {
            let lower = option.to_ascii_lowercase();
            let name = lower.strip_prefix("format.").unwrap_or(&lower);
            let alias = ALIASES.iter().find(|(alias, _)| *alias == name);
            let name = alias.map_or(name, |(_, canonical)| canonical);
            let known = format.options();
            let canonical =
                known
                    .iter()
                    .find(|known| **known == name)
                    .ok_or_else(|| Error::UnknownOption {
                        option: option.clone(),
                        format: format.name(),
                        known,
                    })?;
            values.insert(*canonical, value.as_str());
        }
        Ok(Self { values })
    }

    fn invalid(option: &str, value: &str, expected: &'static str) -> Error {
        Error::InvalidOption {
            option: option.into(),
            value: value.into(),
            expected,
        }
    }

    fn flag(&self, option: &str) -> Result<Option<bool>> {
        let Some(value) = self.values.get(option) else {
            return Ok(None);
        };
        match value.to_ascii_lowercase().as_str() {
            "true" | "on" | "yes" | "1" => Ok(Some(true)),
            "false" | "off" | "no" | "0" => Ok(Some(false)),
            _ => Err(Self::invalid(option, value, "true or false")),
        }
    }

    fn byte(&self, option: &str) -> Result<Option<u8>> {
        let Some(value) = self.values.get(option) else {
            return Ok(None);
        };
        match value.as_bytes() {
            b"\\t" => Ok(Some(b'\t')),
            [byte] => Ok(Some(*byte)),
            _ => Err(Self::invalid(option, value, "a single one-byte character")),
        }
    }

    fn count(&self, option: &str) -> Result<Option<usize>> {
        let Some(value) = self.values.get(option) else {
            return Ok(None);
        };
        match value.parse::<i64>() {
            Ok(-1) => Ok(Some(usize::MAX)),
            Ok(count) if count > 0 => Ok(Some(count as usize)),
            _ => Err(Self::invalid(
                option,
                value,
                "a whole number greater than 0, or -1 for all rows",
            )),
        }
    }

    fn compression(&self) -> Result<Option<FileCompressionType>> {
        let Some(value) = self.values.get("compression") else {
            return Ok(None);
        };
        match value.to_ascii_lowercase().as_str() {
            "auto" => Ok(None),
            "none" | "uncompressed" => Ok(Some(FileCompressionType::UNCOMPRESSED)),
            "gz" => Ok(Some(FileCompressionType::GZIP)),
            "bz2" => Ok(Some(FileCompressionType::BZIP2)),
            name => FileCompressionType::from_str(name).map(Some).map_err(|_| {
                Self::invalid("compression", value, "auto, none, gzip, bzip2, xz or zstd")
            }),
        }
    }

    fn dialect(&self, lower_name: &str) -> Result<Dialect> {
        // Lossless: both delimiters are ASCII.
        let delimiter = delimiter_by_name(lower_name) as u8;
        Ok(Dialect {
            delimiter: self.byte("delimiter")?.unwrap_or(delimiter),
            quote: self.byte("quote")?.unwrap_or(b'"'),
            escape: self.byte("escape")?,
            comment: self.byte("comment")?,
        })
    }

    /// Whether line breaks may stand within values.
    fn has_breaks(&self) -> Result<bool> {
        Ok(self.flag("newlines_in_values")?.unwrap_or(true))
    }

    /// The text that means NULL beside the empty field.
    fn null_text(&self) -> Option<&'a str> {
        self.values.get("null").copied()
    }
}

/// A pattern for exactly a text, or nothing.
fn exactly_or_empty(text: &str) -> String {
    let mut pattern = String::from("^(?:");
    for character in text.chars() {
        if character.is_ascii_punctuation() {
            pattern.push('\\');
        }
        pattern.push(character);
    }
    pattern.push_str(")?$");
    pattern
}

#[cfg(test)]
mod tests {
    use datafusion::prelude::SessionContext;

    use super::*;

    #[test]
    fn names_mean_formats() {
        use ExternalFormat::{Csv, NdJson, Parquet};
        for (name, expected) in [
            ("a.parquet", Some((Parquet, ".parquet"))),
            ("a.b.PQ", Some((Parquet, ".PQ"))),
            ("a.csv", Some((Csv, ".csv"))),
            ("a.tsv.gz", Some((Csv, ".tsv.gz"))),
            ("a.json.zst", Some((NdJson, ".json.zst"))),
            ("a.jsonl", Some((NdJson, ".jsonl"))),
            ("a.parquet.gz", None),
            ("a.gz", None),
            ("é.txt", None),
            ("csv", None),
        ] {
            assert_eq!(format_of(name), expected, "{name}");
        }
    }

    fn options(options: &[(&str, &str)]) -> BTreeMap<String, String> {
        options
            .iter()
            .map(|(k, v)| ((*k).into(), (*v).into()))
            .collect()
    }

    fn read_with(format: ExternalFormat, given: &[(&str, &str)]) -> Result<Arc<dyn FileFormat>> {
        let hints = FileHints {
            name: "a.csv",
            json_array: false,
            is_whole: false,
        };
        reader(
            format,
            &options(given),
            hints,
            &SessionContext::new().state(),
        )
    }

    #[test]
    fn a_bad_option_is_named() {
        let error = read_with(ExternalFormat::Csv, &[("delimitr", ";")]).unwrap_err();
        assert_eq!(error.sqlstate(), "22023");
        assert!(error.to_string().contains("\"delimitr\""));
        assert!(error.hint().unwrap().contains("delimiter"));
        assert!(read_with(ExternalFormat::Parquet, &[("header", "true")]).is_err());
        for bad in [
            ("header", "maybe"),
            ("delimiter", ";;"),
            ("quote", ""),
            ("infer_rows", "0"),
            ("compression", "rar"),
        ] {
            let error = read_with(ExternalFormat::Csv, &[bad]).unwrap_err();
            let text = format!("option \"{}\" must be", bad.0);
            assert!(error.to_string().starts_with(&text), "{error}");
            assert!(
                error.to_string().ends_with(&format!("got \"{}\"", bad.1)),
                "{error}"
            );
        }
    }

    #[test]
    fn options_have_the_names_of_other_systems() {
        let given = [
            ("FORMAT.HAS_HEADER", "off"),
            ("sep", "\\t"),
            ("null_value", "N.A"),
            ("sample_size", "-1"),
        ];
        let format = read_with(ExternalFormat::Csv, &given).unwrap();
        let format: &dyn std::any::Any = format.as_ref();
        let csv = format.downcast_ref::<CsvFormat>().unwrap();
        assert_eq!(csv.has_header(), Some(false));
        assert_eq!(csv.delimiter(), b'\t');
        assert_eq!(csv.options().schema_infer_max_rec, Some(usize::MAX));
        assert_eq!(csv.options().null_regex.as_deref(), Some("^(?:N\\.A)?$"));
    }
}
