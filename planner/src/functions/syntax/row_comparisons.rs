//! Comparisons of rows: `(a, b) < (1, 2)`, `(a, b) IN ((1, 2), (3, 4))`, `(a, b) IN (SELECT x, y FROM t)`,
//! `(a, b) < ALL (SELECT x, y FROM t)`, `(a, b) = (SELECT 1, 2)`, `(a, b) BETWEEN (1, 2) AND (3, 4)`, `(a, b) IS DISTINCT FROM (1, 2)`, `(a, b) IS NULL`.
//!
//! In: an expression; out: the comparisons of its columns. Rows compare from left to right, and a NULL is unknown only where
//! the columns before it do not decide.

use datafusion::sql::sqlparser::ast::{
    BinaryOperator, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident, Query,
    SelectItem, SetExpr, TableAlias, TableAliasColumnDef, TableFactor, UnaryOperator, Value,
};

use super::elements::{has_aggregate, lambda};
use super::{call, function_name, text};

/// Longer lists are compared as structs.
const MAX_LISTED: usize = 200;

/// The comparisons that an expression stands for; `None`: it compares no rows.
pub(super) fn spelt(expr: &Expr) -> Option<Expr> {
    match expr {
        Expr::BinaryOp { left, op, right } => match subquery(right) {
            Some(query) => beside_one(&fields(left)?, op, query),
            None => compared(&row(left)?, op, &row(right)?),
        },
        Expr::Between {
            expr,
            negated,
            low,
            high,
        } => {
            let (wanted, low, high) = (row(expr)?, row(low)?, row(high)?);
            let above = compared(&wanted, &BinaryOperator::GtEq, &low)?;
            let below = compared(&wanted, &BinaryOperator::LtEq, &high)?;
            let within = binary(above, BinaryOperator::And, below);
            Some(negate(nested(within), *negated))
        }
        Expr::IsNotDistinctFrom(left, right) => alike(&row(left)?, &row(right)?),
        Expr::IsDistinctFrom(left, right) => {
            alike(&row(left)?, &row(right)?).map(|same| negate(same, true))
        }
        Expr::InList {
            expr,
            list,
            negated,
        } if list.len() <= MAX_LISTED => {
            let wanted = row(expr)?;
            let rows = list.iter().map(|listed| {
                let listed = row(listed)?;
                compared(&wanted, &BinaryOperator::Eq, &listed)
            });
            let rows: Vec<Expr> = rows.collect::<Option<_>>()?;
            Some(negate(nested(any_of(&rows)?), *negated))
        }
        Expr::InSubquery {
            expr,
            subquery,
            negated,
        } => among(&fields(expr)?, &BinaryOperator::Eq, subquery, *negated),
        Expr::AnyOp {
            left,
            compare_op,
            right,
            ..
        } => match right.as_ref() {
            Expr::Subquery(query) => among(&fields(left)?, compare_op, query, false),
            _ => None,
        },
        // It is compared so with all of them if there is none with which it is not.
        Expr::AllOp {
            left,
            compare_op,
            right,
        } => match right.as_ref() {
            Expr::Subquery(query) => among(&fields(left)?, &opposite(compare_op)?, query, true),
            _ => None,
        },
        Expr::IsNull(expr) => all_are(&fields(expr)?, true),
        Expr::IsNotNull(expr) => all_are(&fields(expr)?, false),
        _ => None,
    }
}

/// Whether all fields of a row are NULL, or none is; `None`: there are none.
pub(crate) fn all_are(fields: &[Expr], null: bool) -> Option<Expr> {
    let tests = fields
        .iter()
        .map(|field| match (self::fields(field), null) {
            // A row within a row is a value.
            (Some(_), null) => Expr::Value(Value::Boolean(!null).with_empty_span()),
            (None, true) => Expr::IsNull(Box::new(field.clone())),
            (None, false) => Expr::IsNotNull(Box::new(field.clone())),
        });
    tests
        .reduce(|before, test| binary(before, BinaryOperator::And, test))
        .map(nested)
}

/// The columns of a row of several.
fn row(expr: &Expr) -> Option<Vec<Expr>> {
    fields(expr).filter(|columns| columns.len() > 1)
}

/// The fields of a row.
pub(crate) fn fields(expr: &Expr) -> Option<Vec<Expr>> {
    let fields = match expr {
        Expr::Tuple(columns) => columns.clone(),
        Expr::Function(function) if function_name(function)? == "row" => {
            let FunctionArguments::List(list) = &function.args else {
                return None;
            };
            let plain = |arg: &FunctionArg| match arg {
                FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr.clone()),
                _ => None,
            };
            list.args.iter().map(plain).collect::<Option<_>>()?
        }
        _ => return None,
    };
    Some(fields)
}

fn nested(expr: Expr) -> Expr {
    Expr::Nested(Box::new(expr))
}

fn negate(expr: Expr, negated: bool) -> Expr {
    match negated {
        false => expr,
        true => nested(Expr::UnaryOp {
            op: UnaryOperator::Not,
            expr: Box::new(expr),
        }),
    }
}

fn binary(left: Expr, op: BinaryOperator, right: Expr) -> Expr {
    Expr::BinaryOp {
        left: Box::new(left),
        op,
        right: Box::new(right),
    }
}

/// `a OR b OR …`, no deeper than needed.
fn any_of(exprs: &[Expr]) -> Option<Expr> {
    match exprs {
        [] => None,
        [expr] => Some(expr.clone()),
        exprs => {
            let (left, right) = exprs.split_at(exprs.len() / 2);
            let (left, right) = (any_of(left)?, any_of(right)?);
            Some(nested(binary(left, BinaryOperator::Or, right)))
        }
    }
}

fn compared(left: &[Expr], op: &BinaryOperator, right: &[Expr]) -> Option<Expr> {
    use BinaryOperator as B;
    if left.len() != right.len() {
        return None;
    }
    let strict = match op {
        B::Eq | B::NotEq => {
            let pairs = left.iter().zip(right);
            let pairs = pairs.map(|(left, right)| binary(left.clone(), op.clone(), right.clone()));
            let joiner = match op {
                B::Eq => B::And,
                _ => B::Or,
            };
            return pairs
                .reduce(|before, pair| binary(before, joiner.clone(), pair))
                .map(nested);
        }
        B::Lt | B::LtEq => B::Lt,
        B::Gt | B::GtEq => B::Gt,
        _ => return None,
    };
    let ((left, lefts), (right, rights)) = (left.split_first()?, right.split_first()?);
    if lefts.is_empty() {
        return Some(binary(left.clone(), op.clone(), right.clone()));
    }
    let decided = binary(left.clone(), strict, right.clone());
    let equal = binary(left.clone(), B::Eq, right.clone());
    let rest = compared(lefts, op, rights)?;
    let undecided = nested(binary(equal, B::And, rest));
    Some(nested(binary(decided, B::Or, undecided)))
}

/// Whether rows have the same values, of which NULL is one.
fn alike(left: &[Expr], right: &[Expr]) -> Option<Expr> {
    if left.len() != right.len() {
        return None;
    }
    let pairs = left.iter().zip(right);
    let same = pairs.map(|(left, right)| {
        nested(binary(
            left.clone(),
            BinaryOperator::Spaceship,
            right.clone(),
        ))
    });
    same.reduce(|before, pair| binary(before, BinaryOperator::And, pair))
        .map(nested)
}

/// The relation of a subquery's rows among which one is looked for.
pub(super) const ROWS: &str = "in_rows_of";

/// The comparison that holds where another one does not.
fn opposite(op: &BinaryOperator) -> Option<BinaryOperator> {
    use BinaryOperator as B;
    Some(match op {
        B::Eq => B::NotEq,
        B::NotEq => B::Eq,
        B::Lt => B::GtEq,
        B::LtEq => B::Gt,
        B::Gt => B::LtEq,
        B::GtEq => B::Lt,
        _ => return None,
    })
}

/// `EXISTS` of a row that it is compared with so, or of one for which that may be where there must be none.
fn among(wanted: &[Expr], op: &BinaryOperator, query: &Query, negated: bool) -> Option<Expr> {
    if wanted.iter().any(has_aggregate) {
        return among_gathered(wanted, op, query, negated);
    }
    let mut exists = Rows::of(query, wanted.len())?;
    let holds = match op {
        BinaryOperator::Eq => compared(&exists.columns, op, wanted)?,
        op => compared(wanted, op, &exists.columns)?,
    };
    let SetExpr::Select(select) = exists.query.body.as_mut() else {
        return None;
    };
    select.selection = Some(match negated {
        true => Expr::IsNotFalse(Box::new(holds)),
        false => holds,
    });
    Some(Expr::Exists {
        subquery: exists.query,
        negated,
    })
}

/// The same of a row of which aggregates are a part, that a condition of the subquery would compute of its own rows: the
/// comparison with each of them, gathered as an array.
fn among_gathered(
    wanted: &[Expr],
    op: &BinaryOperator,
    query: &Query,
    negated: bool,
) -> Option<Expr> {
    let element = || Ident::new("in_row_of");
    let rows = Rows::of(query, wanted.len())?;
    let names = (1..=wanted.len()).map(column_name);
    let fields = names.clone().zip(&rows.columns);
    let fields = fields.flat_map(|(name, column)| [text(name), column.clone()]);
    let row = call("named_struct", fields.collect());
    let gathered = rows.selecting(call("array_agg", vec![row]))?;
    let field = |name: String| call("get_field", vec![Expr::Identifier(element()), text(name)]);
    let fields: Vec<Expr> = names.map(field).collect();
    let holds = lambda(element(), compared(wanted, op, &fields)?);
    let holds = call("array_transform", vec![gathered, holds]);
    let truth = Expr::Value(Value::Boolean(true).with_empty_span());
    Some(negate(call("in_array", vec![truth, holds]), negated))
}

/// The query of a comparison with the only row of it.
fn subquery(expr: &Expr) -> Option<&Query> {
    match expr {
        Expr::Subquery(query) => Some(query),
        Expr::Nested(expr) => subquery(expr),
        _ => None,
    }
}

/// The comparison with the only row of a query, each column of which is a value of its own: without a row all are NULL.
fn beside_one(wanted: &[Expr], op: &BinaryOperator, query: &Query) -> Option<Expr> {
    let rows = Rows::of(query, wanted.len())?;
    let columns = rows.columns.iter().cloned();
    let columns = columns.map(|column| rows.selecting(column));
    compared(wanted, op, &columns.collect::<Option<Vec<Expr>>>()?)
}

/// A query over the rows of another one, and the columns of these rows.
struct Rows {
    query: Box<Query>,
    columns: Vec<Expr>,
}

impl Rows {
    fn of(query: &Query, n_columns: usize) -> Option<Rows> {
        let text = "SELECT 1 FROM q";
        let mut rows = auspex_sql::parse_query(text, auspex_sql::Dialect::Postgres).ok()?;
        let SetExpr::Select(select) = rows.body.as_mut() else {
            return None;
        };
        let column = |number| {
            let names = [ROWS.to_owned(), column_name(number)];
            Expr::CompoundIdentifier(names.map(Ident::new).to_vec())
        };
        let columns = (1..=n_columns).map(column).collect();
        select.from.first_mut()?.relation = listed(query, ROWS, n_columns);
        Some(Rows {
            query: rows,
            columns,
        })
    }

    /// The value of the query that selects this.
    fn selecting(&self, item: Expr) -> Option<Expr> {
        let mut query = self.query.clone();
        let SetExpr::Select(select) = query.body.as_mut() else {
            return None;
        };
        select.projection = vec![SelectItem::UnnamedExpr(item)];
        Some(Expr::Subquery(query))
    }
}

/// The rows of a query as a relation of so many columns. Whether the query has as many is known when it is planned.
pub(super) fn listed(query: &Query, name: &str, n_columns: usize) -> TableFactor {
    let column = |number| TableAliasColumnDef {
        name: Ident::new(column_name(number)),
        data_type: None,
    };
    TableFactor::Derived {
        lateral: false,
        subquery: Box::new(query.clone()),
        alias: Some(TableAlias {
            explicit: true,
            name: Ident::new(name),
            columns: (1..=n_columns).map(column).collect(),
            at: None,
        }),
        sample: None,
    }
}

/// Whether a relation is one of [`listed`] rows, with which a value or a row is compared.
pub(crate) fn is_compared_with(alias: &TableAlias) -> bool {
    let first = alias.columns.first();
    first.is_some_and(|column| column.name.value == column_name(1))
}

/// What the columns of such rows are called.
fn column_name(number: usize) -> String {
    format!("in_column_{number}")
}

#[cfg(test)]
mod tests {
    use datafusion::sql::sqlparser::ast::Statement;

    fn rewritten(condition: &str) -> String {
        let text = format!("SELECT 1 FROM t WHERE {condition}");
        let query = auspex_sql::parse_query(&text, auspex_sql::Dialect::Postgres).unwrap();
        let mut statement = Statement::Query(query);
        super::super::rewrite(&mut statement, None).unwrap();
        let text = statement.to_string();
        text.split_once(" WHERE ").unwrap().1.to_owned()
    }

    #[test]
    fn rows_compare_column_by_column() {
        assert_eq!(rewritten("(a, b) = (1, c)"), "(a = 1 AND b = c)");
        assert_eq!(rewritten("(a, b) < (1, 2)"), "(a < 1 OR (a = 1 AND b < 2))");
        assert_eq!(
            rewritten("(a, b) IN ((1, 2), (3, 4))"),
            "(((a = 1 AND b = 2) OR (a = 3 AND b = 4)))"
        );
        assert_eq!(
            rewritten("(a, b) NOT BETWEEN (1, 2) AND (3, c)"),
            "(NOT ((a > 1 OR (a = 1 AND b >= 2)) AND (a < 3 OR (a = 3 AND b <= c))))"
        );
        assert_eq!(
            rewritten("ROW(a, b) IS DISTINCT FROM ROW(1, $1)"),
            "(NOT ((a <=> 1) AND (b <=> $1)))"
        );
    }

    #[test]
    fn each_column_of_the_only_row_is_a_value() {
        let one = |number: usize| {
            format!(
                "(SELECT in_rows_of.in_column_{number} FROM (SELECT x, y FROM u) AS in_rows_of (in_column_1, in_column_2))"
            )
        };
        assert_eq!(
            rewritten("(a, b) = (SELECT x, y FROM u)"),
            format!("(a = {} AND b = {})", one(1), one(2))
        );
        assert_eq!(
            rewritten("ROW(a) = (SELECT x FROM u)"),
            "(a = (SELECT in_rows_of.in_column_1 FROM (SELECT x FROM u) AS in_rows_of (in_column_1)))"
        );
    }

    #[test]
    fn a_row_is_null_if_all_its_fields_are() {
        assert_eq!(rewritten("(a, b) IS NULL"), "(a IS NULL AND b IS NULL)");
        assert_eq!(
            rewritten("ROW(a, ROW(b, c)) IS NOT NULL"),
            "(a IS NOT NULL AND true)"
        );
    }

    #[test]
    fn rows_of_a_query_are_looked_for() {
        assert_eq!(
            rewritten("(a, b) IN (SELECT x, y FROM u)"),
            "EXISTS (SELECT 1 FROM (SELECT x, y FROM u) AS in_rows_of (in_column_1, in_column_2) \
             WHERE (in_rows_of.in_column_1 = a AND in_rows_of.in_column_2 = b))"
        );
        assert_eq!(
            rewritten("(a, b) < ALL (SELECT x, y FROM u)"),
            "NOT EXISTS (SELECT 1 FROM (SELECT x, y FROM u) AS in_rows_of (in_column_1, in_column_2) \
             WHERE (a > in_rows_of.in_column_1 OR (a = in_rows_of.in_column_1 AND b >= in_rows_of.in_column_2)) IS NOT FALSE)"
        );
    }
}
