//! `generate_series` of times and of fractions, which the planner's own does not count, and of integers, which it makes bigints.
//!
//! In: a call among columns or in FROM; out: the same with the function that counts them. In FROM those of whole numbers stay
//! as they are, unless they have parameters. A text beside times is a time, or the step's interval, and so is a parameter.

use datafusion::sql::sqlparser::ast::{
    DataType, ExactNumberInfo, Expr, FunctionArg, FunctionArgExpr, FunctionArguments, Ident,
    ObjectName, TableFactor, TableFunctionArgs, TimezoneInfo, Value,
};

use crate::functions::series::SERIES;

/// Spells a call in FROM.
pub(super) fn spell_relation(factor: &mut TableFactor) {
    stand_alone(factor);
    match factor {
        TableFactor::Table {
            name,
            args: Some(args),
            ..
        } => spell_call(name, &mut args.args, false),
        TableFactor::Function { name, args, .. } => spell_call(name, args, false),
        _ => {}
    }
}

/// `LATERAL generate_series(1, 3)`, which uses no columns before it, is a call as any other.
fn stand_alone(factor: &mut TableFactor) {
    let TableFactor::Function {
        lateral: true,
        name,
        args,
        with_ordinality,
        alias,
    } = factor
    else {
        return;
    };
    let uses_columns = |arg: &FunctionArg| match arg {
        FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => super::unnest::names_columns(expr),
        _ => true,
    };
    if !is_series(name) || args.iter().any(uses_columns) {
        return;
    }
    *factor = TableFactor::Table {
        name: name.clone(),
        alias: alias.take(),
        args: Some(TableFunctionArgs {
            args: std::mem::take(args),
            settings: None,
        }),
        with_hints: Vec::new(),
        version: None,
        with_ordinality: *with_ordinality,
        partitions: Vec::new(),
        json_path: None,
        sample: None,
        index_hints: Vec::new(),
    };
}

fn is_series(name: &ObjectName) -> bool {
    match name.0.as_slice() {
        [part] => part
            .as_ident()
            .is_some_and(|name| name.value.eq_ignore_ascii_case("generate_series")),
        _ => false,
    }
}

/// Spells a call among the columns.
pub(super) fn spell(expr: &mut Expr) {
    if let Expr::Function(function) = expr
        && let FunctionArguments::List(list) = &mut function.args
    {
        spell_call(&mut function.name, &mut list.args, true);
    }
}

/// Spells a call; one of whole numbers only if it is a value, or has parameters.
fn spell_call(name: &mut ObjectName, args: &mut [FunctionArg], is_value: bool) {
    if !is_series(name) {
        return;
    }
    fn plain(arg: &mut FunctionArg) -> Option<&mut Expr> {
        match arg {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => Some(expr),
            _ => None,
        }
    }
    let Some(mut args) = args.iter_mut().map(plain).collect::<Option<Vec<_>>>() else {
        return;
    };
    let is_ours = type_times(&mut args) || type_fractions(&mut args);
    // The planner's own series in FROM takes constants alone.
    let waits = is_value || args.iter().any(|arg| super::is_parameter(arg));
    let is_whole = !is_ours && waits && matches!(args.len(), 2 | 3);
    if is_whole && let Some(whole) = whole_type(&args) {
        let parameters = args.iter_mut().filter(|arg| is_bare_parameter(arg));
        parameters.for_each(|arg| **arg = super::cast_to(arg.clone(), whole.clone()));
    }
    if is_ours || is_whole {
        *name = ObjectName::from(vec![Ident::new(SERIES)]);
    }
}

/// The type of the parameters of a series of whole numbers: the widest that another argument has, and a bigint beside none.
/// `None`: what the others are shows when the call is planned.
fn whole_type(args: &[&mut Expr]) -> Option<DataType> {
    let others = args.iter().filter(|arg| !is_bare_parameter(arg));
    let types = others
        .map(|arg| whole_number(arg))
        .collect::<Option<Vec<_>>>()?;
    let is_small = !types.is_empty() && types.iter().all(|is_small| *is_small);
    Some(match is_small {
        true => DataType::Integer(None),
        false => DataType::BigInt(None),
    })
}

/// Whether a whole number is an integer rather than a bigint; `None`: it says nothing of its type.
fn whole_number(expr: &Expr) -> Option<bool> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) => {
                let number: i64 = digits.parse().ok()?;
                Some(i32::try_from(number).is_ok())
            }
            _ => None,
        },
        Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => whole_number(expr),
        expr => match declared(expr)? {
            DataType::SmallInt(_)
            | DataType::Integer(_)
            | DataType::Int(_)
            | DataType::Int2(_)
            | DataType::Int4(_) => Some(true),
            DataType::BigInt(_) | DataType::Int8(_) => Some(false),
            _ => None,
        },
    }
}

/// Gives the arguments of a series of times their types; false if it is none.
fn type_times(args: &mut [&mut Expr]) -> bool {
    let [start, stop, step] = args else {
        return false;
    };
    let is_text = super::literal(step).is_some_and(|text| text.trim().parse::<f64>().is_err());
    let is_interval = match &**step {
        Expr::Interval(_) => true,
        step => matches!(declared(step), Some(DataType::Interval { .. })),
    };
    let is_open_step = is_bare_parameter(step) && (is_moment(start) || is_moment(stop));
    if is_text || is_open_step {
        let interval = DataType::Interval {
            fields: None,
            precision: None,
        };
        **step = super::cast_to(step.clone(), interval);
    } else if !is_interval {
        return false;
    }
    let (first, last) = (typed_like(start, stop), typed_like(stop, start));
    (**start, **stop) = (first, last);
    true
}

/// Whether an expression says itself that it is a date or a time stamp.
fn is_moment(expr: &Expr) -> bool {
    const CLOCKS: [&str; 4] = ["now", "current_timestamp", "current_date", "localtimestamp"];
    match expr {
        Expr::Function(function) => {
            super::function_name(function).is_some_and(|name| CLOCKS.contains(&name.as_str()))
        }
        expr => matches!(
            declared(expr),
            Some(DataType::Date | DataType::Timestamp(..))
        ),
    }
}

/// An end of a series of times: a text and a parameter are what the other end says that it is, or a time stamp with a zone.
fn typed_like(end: &Expr, other: &Expr) -> Expr {
    let is_open = |end: &Expr| super::literal(end).is_some() || is_bare_parameter(end);
    if !is_open(end) {
        return end.clone();
    }
    let moment = DataType::Timestamp(None, TimezoneInfo::Tz);
    match declared(other) {
        Some(found @ DataType::Timestamp(..)) => super::cast_to(end.clone(), found.clone()),
        Some(_) => super::cast_to(end.clone(), moment),
        None if is_open(other) => super::cast_to(end.clone(), moment),
        // What a column is shows when the function is called.
        None => end.clone(),
    }
}

fn is_bare_parameter(expr: &Expr) -> bool {
    matches!(expr, Expr::Value(value) if matches!(value.value, Value::Placeholder(_)))
}

/// Makes the numbers of a series exact, if it has fractions; false if it has none.
fn type_fractions(args: &mut [&mut Expr]) -> bool {
    let is_exact = |arg: &&mut Expr| {
        matches!(
            declared(arg),
            Some(DataType::Numeric(_) | DataType::Decimal(_) | DataType::Dec(_))
        )
    };
    let n_digits = |arg: &&mut Expr| fraction(arg);
    let most = args.iter().filter_map(n_digits).max();
    if args.len() < 2 || (most.is_none() && !args.iter().any(is_exact)) {
        return false;
    }
    for arg in args.iter_mut().filter(|arg| fraction(arg).is_some()) {
        let digits = i64::try_from(most.unwrap_or(0)).unwrap_or(0);
        let exact = DataType::Numeric(ExactNumberInfo::PrecisionAndScale(38, digits));
        **arg = super::cast_to(arg.clone(), exact);
    }
    true
}

/// How many digits a number that is written out has behind its point; `None` of what is no such number.
fn fraction(expr: &Expr) -> Option<usize> {
    match expr {
        Expr::Value(value) => match &value.value {
            Value::Number(digits, _) if !digits.contains(['e', 'E']) => {
                digits.split_once('.').map(|(_, fraction)| fraction.len())
            }
            _ => None,
        },
        Expr::UnaryOp { expr, .. } | Expr::Nested(expr) => fraction(expr),
        _ => None,
    }
}

/// The type that an expression says itself that it has.
fn declared(expr: &Expr) -> Option<&DataType> {
    match expr {
        Expr::TypedString(typed) => Some(&typed.data_type),
        Expr::Cast { data_type, .. } => Some(data_type),
        Expr::Nested(expr) => declared(expr),
        _ => None,
    }
}
