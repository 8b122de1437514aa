//! Lays the rows of a result out: as an aligned table like psql's, as CSV, or as JSON.
//!
//! In: columns and cells as text; out: text. NULL is empty in tables and CSV, as in psql.

use clap::ValueEnum;
use comfy_table::{
    Cell, CellAlignment, ColumnConstraint, ContentArrangement, Table, TableComponent,
};
use pgwire::api::Type;

/// How rows are printed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, ValueEnum)]
pub(super) enum OutputFormat {
    /// Aligned columns
    #[default]
    Table,
    /// Comma-separated values with a header
    Csv,
    /// An array of objects for each statement with rows
    Json,
}

/// A column of a result.
#[derive(Debug, Clone)]
pub(super) struct Column {
    pub(super) name: String,
    pub(super) pg_type: Option<Type>,
}

impl Column {
    fn is_number(&self) -> bool {
        const NUMBERS: [Type; 7] = [
            Type::INT2,
            Type::INT4,
            Type::INT8,
            Type::FLOAT4,
            Type::FLOAT8,
            Type::NUMERIC,
            Type::OID,
        ];
        self.pg_type
            .as_ref()
            .is_some_and(|pg_type| NUMBERS.contains(pg_type))
    }
}

/// A row: texts and NULLs.
pub(super) type Row = Vec<Option<String>>;

/// The text of a result.
pub(super) fn lay_out(format: OutputFormat, columns: &[Column], rows: &[Row]) -> String {
    match format {
        OutputFormat::Table => aligned(columns, rows),
        OutputFormat::Csv => csv(columns, rows),
        OutputFormat::Json => json(columns, rows),
    }
}

fn aligned(columns: &[Column], rows: &[Row]) -> String {
    let mut table = Table::new();
    table.load_preset("        -+          ");
    table.set_style(TableComponent::VerticalLines, '|');
    table.set_style(TableComponent::HeaderLines, '-');
    table.set_style(TableComponent::MiddleHeaderIntersections, '+');
    for component in [
        TableComponent::LeftBorder,
        TableComponent::RightBorder,
        TableComponent::TopBorder,
        TableComponent::BottomBorder,
        TableComponent::LeftHeaderIntersection,
        TableComponent::RightHeaderIntersection,
        TableComponent::HorizontalLines,
    ] {
        table.remove_style(component);
    }
    table.set_content_arrangement(ContentArrangement::Disabled);
    let centred = |column: &Column| Cell::new(&column.name).set_alignment(CellAlignment::Center);
    table.set_header(columns.iter().map(centred));
    for row in rows {
        let cell = |(value, column): (&Option<String>, &Column)| {
            let cell = Cell::new(value.as_deref().unwrap_or_default());
            if column.is_number() {
                cell.set_alignment(CellAlignment::Right)
            } else {
                cell
            }
        };
        table.add_row(row.iter().zip(columns).map(cell));
    }
    for column in table.column_iter_mut() {
        column.set_constraint(ColumnConstraint::ContentWidth);
    }
    let plural = if rows.len() == 1 { "row" } else { "rows" };
    let lines: Vec<String> = table
        .lines()
        .map(|line| line.trim_end().to_owned())
        .collect();
    format!("{}\n({} {plural})\n\n", lines.join("\n"), rows.len())
}

fn csv(columns: &[Column], rows: &[Row]) -> String {
    let field = |text: &str| {
        if text.contains([',', '"', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.to_owned()
        }
    };
    let header: Vec<String> = columns.iter().map(|column| field(&column.name)).collect();
    let mut lines = vec![header.join(",")];
    for row in rows {
        // An empty string is quoted, to tell it from NULL.
        let value = |cell: &Option<String>| match cell.as_deref() {
            None => String::new(),
            Some("") => "\"\"".to_owned(),
            Some(text) => field(text),
        };
        lines.push(row.iter().map(value).collect::<Vec<_>>().join(","));
    }
    lines.join("\n") + "\n"
}

fn json(columns: &[Column], rows: &[Row]) -> String {
    let object = |row: &Row| {
        let members: Vec<String> = columns
            .iter()
            .zip(row)
            .map(|(column, value)| {
                let name = serde_json::Value::from(column.name.as_str());
                format!("{name}:{}", json_value(column, value.as_deref()))
            })
            .collect();
        format!("{{{}}}", members.join(","))
    };
    let objects: Vec<String> = rows.iter().map(object).collect();
    format!("[{}]\n", objects.join(",\n "))
}

/// Numbers, booleans and json as they are, everything else as a string.
fn json_value(column: &Column, value: Option<&str>) -> String {
    let Some(text) = value else {
        return "null".to_owned();
    };
    let as_is = match column.pg_type {
        Some(Type::BOOL) => return if text == "t" { "true" } else { "false" }.to_owned(),
        Some(Type::JSON | Type::JSONB) => true,
        // NaN and Infinity are no json.
        _ => column.is_number() && text.parse::<f64>().is_ok_and(f64::is_finite),
    };
    if as_is {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn sample() -> (Vec<Column>, Vec<Row>) {
        let column = |name: &str, pg_type| Column {
            name: name.to_owned(),
            pg_type: Some(pg_type),
        };
        let columns = vec![column("species", Type::TEXT), column("n", Type::INT8)];
        let row = |a: Option<&str>, b: Option<&str>| {
            vec![a.map(ToOwned::to_owned), b.map(ToOwned::to_owned)]
        };
        (
            columns,
            vec![row(Some("Adelie, \"A\""), Some("152")), row(None, None)],
        )
    }

    #[test]
    fn tables_look_like_those_of_psql() {
        let (columns, rows) = sample();
        let expected = "   species   |  n
-------------+-----
 Adelie, \"A\" | 152
             |
(2 rows)

";
        assert_eq!(lay_out(OutputFormat::Table, &columns, &rows), expected);
    }

    #[test]
    fn csv_tells_null_from_empty() {
        let (columns, mut rows) = sample();
        rows.push(vec![Some(String::new()), Some("0".to_owned())]);
        let expected = "species,n\n\"Adelie, \"\"A\"\"\",152\n,\n\"\",0\n";
        assert_eq!(lay_out(OutputFormat::Csv, &columns, &rows), expected);
    }

    #[test]
    fn json_keeps_numbers() {
        let (columns, rows) = sample();
        let text = lay_out(OutputFormat::Json, &columns, &rows);
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value[0]["n"], 152);
        assert_eq!(value[1]["species"], serde_json::Value::Null);
    }
}
