//! Parameters whose types the client declared: each gets a cast, as PostgreSQL types them before it plans.
//!
//! In: a statement and declared types; out: the statement with a cast around each such parameter. Without it the planner
//! would give a parameter the type of what stands beside it: an interval that of a time stamp, a fraction that of an
//! integer, and json and uuids that of a text.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::ControlFlow;

use auspex_sql::{ParsedStatement, Statement};
use auspex_storage::marks_of;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::sql::parser::Statement as SqlStatement;
use datafusion::sql::sqlparser::ast::{
    self, ArrayElemTypeDef, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr, FunctionArguments,
    Ident, ObjectName, ObjectNamePart, SetExpr, TableFactor, Value, Visit, VisitMut, Visitor,
    VisitorMut,
};
use datafusion::sql::sqlparser::tokenizer::Span;

use super::column_rules::{cast_type, column_type};
use crate::functions::TYPE_KEY;

/// The statement with typed parameters; `None`: there are none to type.
pub(crate) fn typed_values(
    parsed: &ParsedStatement,
    types: &[Option<FieldRef>],
) -> Option<ParsedStatement> {
    if types.iter().all(Option::is_none) {
        return None;
    }
    let mut statement = parsed.sql()?.clone();
    let is_numeric = |field: &FieldRef| matches!(field.data_type(), DataType::Decimal128(..));
    let mut typer = Typer {
        types,
        uses: match types.iter().flatten().any(is_numeric) {
            true => Uses::of(&statement),
            false => Uses::default(),
        },
        changed: false,
    };
    let _ = VisitMut::visit(&mut statement, &mut typer);
    typer.changed.then(|| ParsedStatement {
        statement: Statement::Sql(Box::new(SqlStatement::Statement(Box::new(statement)))),
        ..parsed.clone()
    })
}

struct Typer<'a> {
    types: &'a [Option<FieldRef>],
    /// Those of a statement that has numerics.
    uses: Uses,
    changed: bool,
}

impl Typer<'_> {
    /// The type that the client declared for an expression that is a parameter.
    fn declared(&self, expr: &Expr) -> Option<&FieldRef> {
        self.types.get(place(expr)?)?.as_ref()
    }

    /// Takes the cast off a numeric that fills a column and does nothing else: it takes the digits of that column. One that stands
    /// elsewhere, too, has the same value in all places.
    fn bare_numeric(&self, expr: &mut Expr) {
        if let Expr::Cast {
            expr: inner,
            data_type: ast::DataType::Numeric(_),
            ..
        } = expr
            && is_declared(inner)
            && place(inner).is_some_and(|place| self.uses.is_single(place))
        {
            *expr = inner.as_ref().clone();
        }
    }
}

/// The place of a parameter, counted from 0.
fn place(expr: &Expr) -> Option<usize> {
    let Expr::Value(value) = expr else {
        return None;
    };
    let Value::Placeholder(name) = &value.value else {
        return None;
    };
    let number: usize = name.strip_prefix('$')?.parse().ok()?;
    number.checked_sub(1)
}

/// The parameters that do nothing but fill columns, whose types they have: their numerics are rounded, as by any assignment. A declared
/// one that fills several has a type of its own.
pub(crate) fn stored_parameters(
    parsed: &ParsedStatement,
    types: &[Option<FieldRef>],
) -> BTreeSet<usize> {
    let uses = parsed.sql().map(Uses::of).unwrap_or_default();
    let is_declared = |place: usize| types.get(place).is_some_and(Option::is_some);
    let stored = uses.0.iter();
    let stored = stored.filter(|(place, (n_uses, n_stored))| {
        n_uses == n_stored && (uses.is_single(**place) || !is_declared(**place))
    });
    stored.map(|(place, _)| *place).collect()
}

/// How often each parameter stands in a statement, and how often it alone is what a column takes.
#[derive(Default)]
struct Uses(BTreeMap<usize, (usize, usize)>);

impl Uses {
    fn of(statement: &ast::Statement) -> Uses {
        let mut uses = Uses::default();
        // The visitor never breaks off.
        let _ = Visit::visit(statement, &mut uses);
        uses
    }

    /// Whether a parameter stands in one place alone.
    fn is_single(&self, place: usize) -> bool {
        matches!(self.0.get(&place), Some((1, _)))
    }

    fn note_stored(&mut self, value: &Expr) {
        if let Some(place) = place(value) {
            self.0.entry(place).or_default().1 += 1;
        }
    }
}

impl Visitor for Uses {
    type Break = ();

    fn pre_visit_expr(&mut self, expr: &Expr) -> ControlFlow<()> {
        if let Some(place) = place(expr) {
            self.0.entry(place).or_default().0 += 1;
        }
        ControlFlow::Continue(())
    }

    fn pre_visit_statement(&mut self, statement: &ast::Statement) -> ControlFlow<()> {
        match statement {
            ast::Statement::Insert(insert) => {
                let body = insert.source.as_ref().map(|query| query.body.as_ref());
                if let Some(SetExpr::Values(values)) = body {
                    let cells = values.rows.iter().flat_map(|row| &row.content);
                    cells.for_each(|cell| self.note_stored(cell));
                }
            }
            ast::Statement::Update(update) => {
                let values = update.assignments.iter().map(|set| &set.value);
                values.for_each(|value| self.note_stored(value));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

impl VisitorMut for Typer<'_> {
    type Break = ();

    fn post_visit_expr(&mut self, expr: &mut Expr) -> ControlFlow<()> {
        let data_type = self.declared(expr).and_then(|field| declared_type(field));
        if let (Some(data_type), Expr::Value(value)) = (data_type, &*expr) {
            self.changed = true;
            *expr = Expr::Cast {
                kind: ast::CastKind::Cast,
                // Without a place in the text, by which `is_declared` knows that nobody wrote this cast.
                expr: Box::new(Expr::Value(value.value.clone().with_empty_span())),
                data_type,
                array: false,
                format: None,
            };
        }
        bare_array(expr);
        plain_numeric(expr);
        // Functions of models take names, which are looked up before anything is cast.
        if let Expr::Function(function) = expr
            && is_of_models(&function.name)
            && let FunctionArguments::List(list) = &mut function.args
        {
            list.args.iter_mut().for_each(bare_argument);
        }
        ControlFlow::Continue(())
    }

    fn post_visit_table_factor(&mut self, factor: &mut TableFactor) -> ControlFlow<()> {
        match factor {
            TableFactor::Table {
                name,
                args: Some(args),
                ..
            } if is_of_models(name) => args.args.iter_mut().for_each(bare_argument),
            TableFactor::Function { name, args, .. } if is_of_models(name) => {
                args.iter_mut().for_each(bare_argument);
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }

    fn post_visit_statement(&mut self, statement: &mut ast::Statement) -> ControlFlow<()> {
        // A numeric has no scale of its own: on its way into a column it takes that of the column.
        match statement {
            ast::Statement::Insert(insert) => {
                let body = insert.source.as_mut().map(|query| query.body.as_mut());
                if let Some(SetExpr::Values(values)) = body {
                    let cells = values.rows.iter_mut().flat_map(|row| &mut row.content);
                    cells.for_each(|cell| self.bare_numeric(cell));
                }
            }
            ast::Statement::Update(update) => {
                let values = update.assignments.iter_mut().map(|set| &mut set.value);
                values.for_each(|value| self.bare_numeric(value));
            }
            _ => {}
        }
        ControlFlow::Continue(())
    }
}

/// The type of a parameter that the client declared as a numeric, which tells no digits.
pub(super) const DECLARED_NUMERIC: DataType = DataType::Decimal128(38, 10);

/// Whether a cast is one of those that stand for a declared type. Without a cast around it, this is a numeric that a column takes.
pub(crate) fn is_declared(inner: &Expr) -> bool {
    matches!(inner, Expr::Value(value)
        if matches!(value.value, Value::Placeholder(_)) && value.span == Span::empty())
}

/// Whether a name is one of `ml.` or `ai.`.
fn is_of_models(name: &ObjectName) -> bool {
    let first = name.0.first().and_then(ObjectNamePart::as_ident);
    let in_schema =
        |schema: &str| schema.eq_ignore_ascii_case("ml") || schema.eq_ignore_ascii_case("ai");
    name.0.len() > 1 && first.is_some_and(|first| in_schema(&first.value))
}

fn bare_argument(argument: &mut FunctionArg) {
    if let FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) = argument
        && let Expr::Cast { expr: inner, .. } = &*expr
        && is_declared(inner)
    {
        *expr = inner.as_ref().clone();
    }
}

/// `$1::int[][]` is no cast of an array of one dimension, as which clients declare all arrays.
fn bare_array(expr: &mut Expr) {
    let Expr::Cast {
        expr: inner,
        data_type: ast::DataType::Array(ArrayElemTypeDef::SquareBracket(item, _)),
        ..
    } = expr
    else {
        return;
    };
    if matches!(item.as_ref(), ast::DataType::Array(_))
        && let Expr::Cast {
            expr: parameter, ..
        } = inner.as_ref()
        && is_declared(parameter)
    {
        *inner = parameter.clone();
    }
}

/// `$1::numeric` has all digits of a parameter that was declared with more than such a type has here.
fn plain_numeric(expr: &mut Expr) {
    let Expr::Cast {
        expr: inner,
        data_type,
        ..
    } = expr
    else {
        return;
    };
    if let Expr::Cast {
        expr: parameter,
        data_type: declared,
        ..
    } = inner.as_ref()
        && is_declared(parameter)
        && numeric_of(data_type) == Some(&ExactNumberInfo::None)
        && numeric_of(declared).is_some()
        && is_array(data_type) == is_array(declared)
    {
        *data_type = declared.clone();
    }
}

fn is_array(data_type: &ast::DataType) -> bool {
    matches!(data_type, ast::DataType::Array(_))
}

/// The digits of a numeric, or of the elements of an array of them.
fn numeric_of(data_type: &ast::DataType) -> Option<&ExactNumberInfo> {
    match data_type {
        ast::DataType::Numeric(info) | ast::DataType::Decimal(info) | ast::DataType::Dec(info) => {
            Some(info)
        }
        ast::DataType::Array(ArrayElemTypeDef::SquareBracket(element, _)) => numeric_of(element),
        _ => None,
    }
}

/// The SQL of the type that a field declares, also where Arrow has texts for it, and with the digits of numerics.
fn declared_type(field: &Field) -> Option<ast::DataType> {
    if !marks_of(field).is_empty() {
        return column_type(field);
    }
    // A type that names objects of the catalogs; jsonb that was cast has the same key.
    let name = field.metadata().get(TYPE_KEY);
    match name.filter(|name| name.starts_with("reg")) {
        Some(name) => {
            let name = ObjectName::from(vec![Ident::new(name)]);
            Some(ast::DataType::Custom(name, Vec::new()))
        }
        None => exact_type(field.data_type()),
    }
}

fn exact_type(data_type: &DataType) -> Option<ast::DataType> {
    match data_type {
        // Those of a numeric that tells none.
        DataType::Decimal128(38, 10) => sql_type(data_type),
        DataType::Decimal128(precision, scale) => {
            let (precision, scale) = (u64::from(*precision), i64::from(*scale));
            let info = ExactNumberInfo::PrecisionAndScale(precision, scale);
            Some(ast::DataType::Numeric(info))
        }
        DataType::List(item) => {
            let item = Box::new(exact_type(item.data_type())?);
            let element = ArrayElemTypeDef::SquareBracket(item, None);
            Some(ast::DataType::Array(element))
        }
        known => sql_type(known),
    }
}

/// The SQL of a declared type.
pub(crate) fn sql_type(data_type: &DataType) -> Option<ast::DataType> {
    Some(match data_type {
        DataType::Decimal128(..) => ast::DataType::Numeric(ExactNumberInfo::None),
        DataType::List(item) => {
            let item = Box::new(sql_type(item.data_type())?);
            ast::DataType::Array(ArrayElemTypeDef::SquareBracket(item, None))
        }
        known => return cast_type(known),
    })
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;
    use std::sync::Arc;

    use auspex_storage::{JsonKind, uuid_marks};

    use super::*;

    fn parsed(text: &str) -> ParsedStatement {
        let parsed = auspex_sql::parse(text, auspex_sql::Dialect::Postgres);
        parsed.unwrap().pop().unwrap()
    }

    fn typed(text: &str, declared: Field) -> String {
        let typed = typed_values(&parsed(text), &[Some(Arc::new(declared))]);
        match typed.unwrap().statement {
            Statement::Sql(statement) => statement.to_string(),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn texts_to_arrow_are_cast_to_what_they_are() {
        let text = |marks| Field::new("value", DataType::Utf8, true).with_metadata(marks);
        let jsonb = text(JsonKind::Jsonb.marks());
        assert_eq!(
            typed("SELECT $1", jsonb.clone()),
            "SELECT CAST($1 AS JSONB)"
        );
        let list = jsonb.with_data_type(DataType::new_list(DataType::Utf8, true));
        assert_eq!(typed("SELECT $1", list), "SELECT CAST($1 AS JSONB[])");
        let uuid = text(uuid_marks());
        assert_eq!(typed("SELECT $1", uuid), "SELECT CAST($1 AS UUID)");
        let name = HashMap::from([(TYPE_KEY.to_owned(), "regclass".to_owned())]);
        let expected = "SELECT CAST($1 AS regclass)";
        assert_eq!(typed("SELECT $1", text(name)), expected);
    }

    #[test]
    fn numerics_have_the_digits_that_are_declared() {
        let numeric = |scale| Field::new("value", DataType::Decimal128(38, scale), true);
        let text = "SELECT $1::numeric, $1";
        let plain = "SELECT CAST($1 AS NUMERIC)::NUMERIC, CAST($1 AS NUMERIC)";
        assert_eq!(typed(text, numeric(10)), plain);
        let exact = "SELECT CAST($1 AS NUMERIC(38,18))::NUMERIC(38,18), CAST($1 AS NUMERIC(38,18))";
        assert_eq!(typed(text, numeric(18)), exact);
        let insert = "INSERT INTO t VALUES ($1)";
        assert_eq!(typed(insert, numeric(18)), insert);
        let twice = "UPDATE t SET a = CAST($1 AS NUMERIC) WHERE b < CAST($1 AS NUMERIC)";
        let update = "UPDATE t SET a = $1 WHERE b < $1";
        assert_eq!(typed(update, numeric(10)), twice);
    }

    #[test]
    fn what_does_nothing_but_fill_columns_is_stored() {
        let numeric = Field::new("value", DataType::Decimal128(38, 10), true);
        let declared = [None, None, None, Some(Arc::new(numeric))];
        let stored = |text: &str| Vec::from_iter(stored_parameters(&parsed(text), &declared));
        assert_eq!(
            stored("INSERT INTO t VALUES ($1, $2), ($3, $2 + 1)"),
            [0, 2]
        );
        assert_eq!(stored("UPDATE t SET a = $1, b = $2 WHERE c = $2"), [0]);
        assert_eq!(stored("INSERT INTO t VALUES ($1, $1, $4, $3)"), [0, 2, 3]);
        assert_eq!(stored("INSERT INTO t VALUES ($1, $4, $4)"), [0]);
        assert_eq!(stored("SELECT $1"), Vec::<usize>::new());
    }
}
