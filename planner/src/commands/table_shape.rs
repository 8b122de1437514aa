//! The definition of a managed table as CREATE TABLE and ALTER TABLE write it.
//!
//! In: column definitions, constraints, partitions and properties; out: a `TableShape` whose expressions can be
//! planned. Reads and writes nothing.

use std::collections::BTreeSet;
use std::sync::Arc;

use auspex_sql::Word;
use auspex_storage::{
    DeclaredType, Identity, IdentityKind, TableShape, TextLimit, marks_of, stored_schema,
};
use datafusion::arrow::array::{RecordBatch, RecordBatchOptions};
use datafusion::arrow::datatypes::{DataType, Schema};
use datafusion::common::DFSchema;
use datafusion::error::DataFusionError;
use datafusion::logical_expr::{Expr, ExprSchemable as _};
use datafusion::sql::sqlparser::ast::{
    self, ColumnOption, GeneratedAs, SequenceOptions, TableConstraint,
};

use super::folded;
use super::table_keys::{DeclaredKey, add_key, free_name, is_taken, name_taken};
use super::tables::declared_schema;
use super::unnamed_types::without_named_types;
use crate::bind::{
    check_definition, default_of_sequences, defined_expr, defined_value, settle_domain,
    undefined_column, without_own_name,
};
use crate::constants::holds_query;
use crate::error::{Error, Result};
use crate::functions::{assigned, type_name};
use crate::session::Session;

/// PostgreSQL's limit of `VARCHAR(n)`.
const LONGEST_TEXT: u64 = 10_485_760;
/// The digits of a second that a clock has.
pub(super) const MOST_CLOCK_DIGITS: u8 = 6;

/// The definition that `CREATE TABLE (…)` writes, behind the columns that `LIKE` copied.
pub(super) async fn declared_shape(
    session: &Arc<Session>,
    create: &ast::CreateTable,
    copied: Option<TableShape>,
    (schema_name, relation): (&str, &str),
) -> Result<TableShape> {
    let mut create = create.clone();
    let mut domains = Vec::with_capacity(create.columns.len());
    for column in &mut create.columns {
        spell_serial(column);
        domains.push(settle_domain(session, &mut column.data_type)?);
    }
    without_own_name(&mut create.columns, schema_name, relation);
    without_own_name(&mut create.constraints, schema_name, relation);
    let create = &create;
    let mut plain = create.clone();
    plain.constraints.clear();
    plain.like = None;
    for column in &mut plain.columns {
        let is_plain = |option: &ast::ColumnOptionDef| {
            matches!(option.option, ColumnOption::Null | ColumnOption::NotNull)
        };
        column.options.retain(is_plain);
    }
    let n_copied = copied.as_ref().map_or(0, |copied| copied.columns().len());
    let mut shape = match copied {
        Some(copied) if plain.columns.is_empty() => copied,
        copied => {
            let schema = stored_schema(declared_schema(session, &plain).await?.as_ref())?;
            match copied {
                Some(copied) => widened(copied, &schema)?,
                None => TableShape::new(&schema),
            }
        }
    };
    for (idx, (column, domain)) in create.columns.iter().zip(&domains).enumerate() {
        let idx = n_copied + idx;
        shape.set_text_limit(idx, text_limit(&column.data_type)?);
        shape.set_clock_digits(idx, clock_digits(&column.data_type));
        shape.set_domain(idx, domain.as_ref());
        // A key follows what makes its column unique.
        let is_key =
            |option: &&ast::ColumnOptionDef| matches!(option.option, ColumnOption::PrimaryKey(_));
        let (keys, others): (Vec<_>, Vec<_>) = column.options.iter().partition(is_key);
        for option in others.into_iter().chain(keys) {
            add_option(session, &mut shape, idx, option, relation)?;
        }
    }
    for constraint in &create.constraints {
        add_constraint(session, &mut shape, constraint, relation)?;
    }
    Ok(shape)
}

/// A definition with more columns behind its own.
fn widened(mut shape: TableShape, more: &Schema) -> Result<TableShape> {
    for field in more.fields() {
        if shape.position(field.name()).is_some() {
            let message = format!("column \"{}\" specified more than once", field.name());
            return Err(Error::invalid("42701", message, None));
        }
        shape.add_column(field.as_ref().clone())?;
    }
    Ok(shape)
}

/// How long the texts of a column of a type may be.
pub(super) fn text_limit(data_type: &ast::DataType) -> Result<Option<TextLimit>> {
    use ast::CharacterLength::IntegerLength;
    use ast::DataType as T;
    let (is_fixed, length) = match data_type {
        // Without a length it is one character.
        T::Char(None) | T::Character(None) => (true, 1),
        T::Char(Some(IntegerLength { length, .. }))
        | T::Character(Some(IntegerLength { length, .. })) => (true, *length),
        T::Varchar(Some(IntegerLength { length, .. }))
        | T::CharVarying(Some(IntegerLength { length, .. }))
        | T::CharacterVarying(Some(IntegerLength { length, .. })) => (false, *length),
        T::Varchar(None) | T::CharVarying(None) | T::CharacterVarying(None) => {
            return Ok(Some(TextLimit {
                is_fixed: false,
                length: None,
            }));
        }
        _ => return Ok(None),
    };
    if !(1..=LONGEST_TEXT).contains(&length) {
        let message = format!("length of a text must be 1 to {LONGEST_TEXT}, got {length}");
        return Err(Error::invalid("22023", message, None));
    }
    // Lossless: it was compared just now.
    let length = Some(length as usize);
    Ok(Some(TextLimit { is_fixed, length }))
}

/// The digits that the seconds of a column of a type have.
pub(super) fn clock_digits(data_type: &ast::DataType) -> Option<u8> {
    use ast::DataType as T;
    match data_type {
        // Lossless. PostgreSQL, too, takes more digits than it has for the most.
        T::Timestamp(digits, _)
        | T::Time(digits, _)
        | T::Interval {
            precision: digits, ..
        } => digits.map(|digits| digits.min(u64::from(MOST_CLOCK_DIGITS)) as u8),
        _ => None,
    }
}

/// Adds what stands behind a column's type.
pub(super) fn add_option(
    session: &Arc<Session>,
    shape: &mut TableShape,
    idx: usize,
    option: &ast::ColumnOptionDef,
    relation: &str,
) -> Result<()> {
    let column = shape.columns()[idx].name().clone();
    match &option.option {
        ColumnOption::Null => {}
        // Numbers of an identity column take the place of NULL; a check of its own forbids what is left.
        ColumnOption::NotNull if shape.identity_of(&shape.columns()[idx]).is_some() => {}
        ColumnOption::NotNull => shape.set_nullable(idx, false),
        ColumnOption::Default(expr) => {
            let text = checked_default(session, shape, idx, expr)?;
            shape.set_default(idx, text.as_deref());
        }
        ColumnOption::Check(check) => {
            let name = option.name.as_ref().or(check.name.as_ref()).map(folded);
            add_check(session, shape, name, &check.expr, relation)?;
        }
        ColumnOption::Generated {
            generation_expr: Some(expr),
            ..
        } => {
            let text = checked_generation(session, shape, idx, expr)?;
            shape.set_generated(idx, Some(&text));
        }
        ColumnOption::Generated {
            generated_as: generated @ (GeneratedAs::Always | GeneratedAs::ByDefault),
            sequence_options,
            generated_keyword,
            ..
        } => {
            let kind = match generated {
                GeneratedAs::Always => IdentityKind::Always,
                _ if *generated_keyword => IdentityKind::ByDefault,
                _ => IdentityKind::Serial,
            };
            let options = sequence_options.as_deref().unwrap_or_default();
            set_identity(shape, idx, steps(options)?, kind, relation)?;
        }
        ColumnOption::Generated { .. } | ColumnOption::Identity(_) => {
            return Err(Error::unsupported("this form of an identity column"));
        }
        ColumnOption::PrimaryKey(key) => {
            let key = DeclaredKey::primary(option.name.as_ref(), key, Some(&column))?;
            add_key(shape, &key, relation)?;
        }
        ColumnOption::Unique(key) => {
            let key = DeclaredKey::unique(option.name.as_ref(), key, Some(&column))?;
            add_key(shape, &key, relation)?;
        }
        // References are added when all columns and keys are there.
        ColumnOption::ForeignKey(_) => {}
        ColumnOption::Collation(name) => super::storage_options::check_collation(name)?,
        other => return Err(Error::unsupported(format!("the column option {other}"))),
    }
    Ok(())
}

/// `SERIAL` and its kin as PostgreSQL means them: a whole number that is an identity column. Its mark is the word
/// `GENERATED`, which all others have.
fn spell_serial(column: &mut ast::ColumnDef) {
    let ast::DataType::Custom(name, _) = &column.data_type else {
        return;
    };
    let name = super::name_parts(name).pop().unwrap_or_default();
    column.data_type = match name.as_str() {
        "serial" | "serial4" => ast::DataType::Integer(None),
        "bigserial" | "serial8" => ast::DataType::BigInt(None),
        "smallserial" | "serial2" => ast::DataType::SmallInt(None),
        _ => return,
    };
    column.options.push(ast::ColumnOptionDef {
        name: None,
        option: ColumnOption::Generated {
            generated_as: GeneratedAs::ByDefault,
            sequence_options: None,
            generation_expr: None,
            generation_expr_mode: None,
            generated_keyword: false,
        },
    });
}

/// The first number and the step of an identity column.
pub(super) fn steps(options: &[SequenceOptions]) -> Result<(i64, i64)> {
    let number = |expr: &ast::Expr| {
        let text = expr.to_string().replace(' ', "");
        let unread = |_| Error::invalid("42601", format!("\"{text}\" is not a whole number"), None);
        text.parse::<i64>().map_err(unread)
    };
    // The largest numbers of the types, which the type of the column guards.
    const LARGEST: [i64; 3] = [i16::MAX as i64, i32::MAX as i64, i64::MAX];
    let (mut start, mut increment, mut min) = (None, 1, None);
    for option in options {
        match option {
            SequenceOptions::StartWith(expr, _) => start = Some(number(expr)?),
            SequenceOptions::IncrementBy(expr, _) => increment = number(expr)?,
            SequenceOptions::MinValue(Some(expr)) if increment > 0 => min = Some(number(expr)?),
            SequenceOptions::MaxValue(Some(expr))
                if increment > 0 && LARGEST.contains(&number(expr)?) => {}
            // How many numbers a server takes at a time is its own affair.
            SequenceOptions::Cache(_)
            | SequenceOptions::Cycle(false)
            | SequenceOptions::MinValue(None)
            | SequenceOptions::MaxValue(None) => {}
            other => return Err(Error::unsupported(format!("IDENTITY with{other}"))),
        }
    }
    if increment == 0 {
        return Err(Error::invalid("22023", "INCREMENT must not be zero", None));
    }
    if let (Some(first), Some(min)) = (start, min)
        && first < min
    {
        let message = format!("START value ({first}) cannot be less than MINVALUE ({min})");
        return Err(Error::invalid("22023", message, None));
    }
    let start = start.or(min);
    Ok((
        start.unwrap_or(if increment > 0 { 1 } else { -1 }),
        increment,
    ))
}

/// Makes a column an identity column. NULL is what a number takes the place of, so that not the column's type but a check
/// forbids it.
pub(super) fn set_identity(
    shape: &mut TableShape,
    idx: usize,
    (start, increment): (i64, i64),
    kind: IdentityKind,
    relation: &str,
) -> Result<()> {
    let column = shape.columns()[idx].name().clone();
    if !shape.columns()[idx].data_type().is_integer() {
        let message = "identity column type must be smallint, integer, or bigint";
        return Err(Error::invalid("22023", message, None));
    }
    shape.set_nullable(idx, true);
    let identity = Identity {
        kind,
        sequence: column.clone(),
        start,
        increment,
        origin: start,
    };
    shape.set_identity(idx, &identity);
    let quoted = ast::Ident::with_quote('"', &column);
    let name = free_name(shape, &format!("{relation}_{column}_not_null"));
    shape.add_check(&name, &format!("{quoted} IS NOT NULL"));
    Ok(())
}

/// Adds a constraint that stands by itself.
pub(super) fn add_constraint(
    session: &Arc<Session>,
    shape: &mut TableShape,
    constraint: &TableConstraint,
    relation: &str,
) -> Result<()> {
    match constraint {
        TableConstraint::Check(check) => {
            let name = check.name.as_ref().map(folded);
            add_check(session, shape, name, &check.expr, relation)
        }
        TableConstraint::PrimaryKey(key) => {
            add_key(shape, &DeclaredKey::primary(None, key, None)?, relation).map(|_| ())
        }
        TableConstraint::Unique(key) => {
            add_key(shape, &DeclaredKey::unique(None, key, None)?, relation).map(|_| ())
        }
        TableConstraint::ForeignKey(_) => Ok(()),
        _ => Err(Error::unsupported("this table constraint")),
    }
}

/// Adds a check. As in PostgreSQL, one without a name is named after the column that it is about, if it is one alone,
/// wherever the check stands.
fn add_check(
    session: &Arc<Session>,
    shape: &mut TableShape,
    name: Option<String>,
    expr: &ast::Expr,
    relation: &str,
) -> Result<()> {
    if let Some(name) = name.as_ref().filter(|name| is_taken(shape, name)) {
        return Err(name_taken(name, relation));
    }
    let schema = DFSchema::try_from(shape.schema())?;
    let (text, planned) = planned_condition(session, expr, &schema)?;
    let name = name.unwrap_or_else(|| {
        let columns = planned.column_refs();
        let names: BTreeSet<&str> = columns.iter().map(|column| column.name()).collect();
        let wish = match (names.first(), names.len()) {
            (Some(column), 1) => format!("{relation}_{column}_check"),
            _ => format!("{relation}_check"),
        };
        free_name(shape, &wish)
    });
    shape.add_check(&name, &text);
    Ok(())
}

/// The text of a condition of what a schema has.
pub(super) fn checked_condition(
    session: &Session,
    expr: &ast::Expr,
    schema: &DFSchema,
) -> Result<String> {
    planned_condition(session, expr, schema).map(|(text, _)| text)
}

/// The same with what the planner makes of it.
fn planned_condition(
    session: &Session,
    expr: &ast::Expr,
    schema: &DFSchema,
) -> Result<(String, Expr)> {
    refuse_queries(expr, "check constraint")?;
    let mut expr = without_named_types(session, expr);
    // The catalogs show a check in parentheses, which dumps put into parentheses again.
    while let ast::Expr::Nested(inner) = expr {
        expr = *inner;
    }
    let text = expr.to_string();
    let planned = defined_expr(&session.state(None), &text, schema)?;
    if planned.get_type(schema)? != DataType::Boolean {
        let found = type_name(&planned.get_type(schema)?);
        let message = format!("argument of CHECK must be type boolean, not type {found}");
        return Err(Error::invalid("42804", message, None));
    }
    Ok((text, planned))
}

/// Fails for a query within what a definition says of its columns.
fn refuse_queries(expr: &ast::Expr, what: &str) -> Result<()> {
    match holds_query(expr) {
        true => {
            let message = format!("cannot use subquery in {what}");
            Err(Error::invalid("0A000", message, None))
        }
        false => Ok(()),
    }
}

/// The text of a default; `None` for NULL.
pub(super) fn checked_default(
    session: &Arc<Session>,
    shape: &TableShape,
    idx: usize,
    expr: &ast::Expr,
) -> Result<Option<String>> {
    let column = &shape.columns()[idx];
    if shape.generated_of(column).is_some() {
        let name = column.name();
        let message =
            format!("both default and generation expression specified for column \"{name}\"");
        return Err(Error::invalid("42601", message, None));
    }
    refuse_queries(expr, "DEFAULT expression")?;
    let expr = default_of_sequences(session, &without_named_types(session, expr))?;
    let text = expr.to_string();
    if text.eq_ignore_ascii_case("null") {
        return Ok(None);
    }
    let none = DFSchema::empty();
    let planned = defined_value(&session.state(None), &text, column, &none);
    let planned = planned.map_err(|error| match error {
        Error::Query(error) if !text.contains('$') => {
            let message = format!(
                "cannot use {text} as a default: {}",
                error.strip_backtrace()
            );
            Error::invalid(
                "0A000",
                message,
                Some("A default is a constant expression."),
            )
        }
        error => error,
    })?;
    check_definition(&planned, column, &none)?;
    let is_literal = is_written_out(&planned);
    let value = assigned(planned, column, &none)?;
    // What does not fit is told now, not with the first row. Texts of moments may mean the day of the row.
    let is_read = || {
        let data_type = column.data_type();
        let is_clock = matches!(data_type, DataType::Time64(_) | DataType::Interval(_));
        is_clock || !marks_of(column).is_empty()
    };
    if is_literal && (column.data_type().is_numeric() || is_read()) {
        let value = session.state(None).create_physical_expr(value, &none)?;
        let options = RecordBatchOptions::new().with_row_count(Some(1));
        let row = RecordBatch::try_new_with_options(Arc::new(Schema::empty()), vec![], &options);
        value.evaluate(&row.map_err(DataFusionError::from)?)?;
    }
    Ok(Some(text))
}

/// Whether an expression is a literal, also as a value of a type.
fn is_written_out(expr: &Expr) -> bool {
    match expr {
        Expr::Literal(..) => true,
        Expr::Cast(cast) => matches!(cast.expr.as_ref(), Expr::Literal(..)),
        _ => false,
    }
}

fn checked_generation(
    session: &Arc<Session>,
    shape: &TableShape,
    idx: usize,
    expr: &ast::Expr,
) -> Result<String> {
    let column = &shape.columns()[idx];
    let name = column.name();
    refuse_queries(expr, "column generation expression")?;
    let schema = DFSchema::try_from(shape.schema())?;
    let text = without_named_types(session, expr).to_string();
    let planned = defined_value(&session.state(None), &text, column, &schema)?;
    let invalid = |message: String| Err(Error::invalid("42P17", message, None));
    if planned.is_volatile() {
        return invalid("generation expression is not immutable".to_owned());
    }
    let using = |used: &str| {
        invalid(format!(
            "cannot use generated column \"{used}\" in column generation expression"
        ))
    };
    let used: BTreeSet<_> = planned.column_refs().into_iter().collect();
    for used in used {
        let used = shape.position(used.name()).map(|idx| &shape.columns()[idx]);
        let Some(used) = used else { continue };
        if used.name() == name || shape.generated_of(used).is_some() {
            return using(used.name());
        }
    }
    // A column before it may use this one, which was not generated then.
    for other in shape.columns() {
        let Some(other) = shape.generated_of(other) else {
            continue;
        };
        let other = defined_expr(&session.state(None), &other, &schema)?;
        if other.column_refs().iter().any(|used| used.name() == name) {
            return using(name);
        }
    }
    check_definition(&planned, column, &schema)?;
    planned.cast_to(column.data_type(), &schema)?;
    Ok(text)
}

/// Divides the files by some columns.
pub(super) fn set_partitions(
    shape: &mut TableShape,
    columns: &[Word],
    relation: &str,
) -> Result<()> {
    for column in columns {
        if shape.position(&column.value).is_none() {
            return Err(undefined_column(&column.value, relation));
        }
        if shape.partition_columns.contains(&column.value) {
            let message = format!(
                "column \"{}\" appears twice in PARTITIONED BY",
                column.value
            );
            return Err(Error::invalid("42701", message, None));
        }
        if column.value.chars().any(char::is_control) {
            let message = format!("column {:?} cannot divide the table's files", column.value);
            let hint = "Its name, which has control characters, cannot be that of a folder.";
            return Err(Error::invalid("42602", message, Some(hint)));
        }
        shape.partition_columns.push(column.value.clone());
    }
    if !columns.is_empty() && shape.partition_columns.len() >= shape.columns().len() {
        let message = "a table needs a column beside those of PARTITIONED BY";
        return Err(Error::invalid("42P16", message, None));
    }
    Ok(())
}

/// A definition of the columns of a query, with the types that those were declared with: as in PostgreSQL, none is NOT NULL.
pub(super) fn query_shape(
    schema: &Schema,
    declared: &[Option<DeclaredType>],
) -> Result<TableShape> {
    let mut shape = TableShape::new(stored_schema(schema)?.as_ref());
    for idx in 0..shape.columns().len() {
        shape.set_nullable(idx, true);
        if let Some(Some(declared)) = declared.get(idx) {
            shape.set_declared(idx, *declared);
        }
    }
    Ok(shape)
}
