//! Calls of functions, and the words of the standard that are such.
//!
//! In: a call; out: it with its arguments as PostgreSQL's function takes them, and the type of what it gives. `None` for a
//! function that is not known here.

use datafusion::sql::sqlparser::ast::{
    Expr, Function, FunctionArg, FunctionArgExpr, FunctionArguments, TrimWhereField,
};

use super::super::functions::quoted;
use super::typed::{
    BOOLEAN, BPCHAR, DATE, DOUBLE, INTEGER, NUMERIC, TEXT, TIMESTAMP, TIMESTAMP_TZ, Typed,
    common_type, rank,
};
use super::{Columns, listed, operators};

/// Takes and gives a number.
const NUMBER: &str = "number";
/// Takes an array.
const ARRAY: &str = "array";

/// Names of functions, what they take, and what they give. Of those of a name, the first that fits is meant.
const FUNCTIONS: &[(&str, &[&str], &str)] = &[
    ("abs", &[NUMBER], NUMBER),
    ("array_length", &[ARRAY, INTEGER], INTEGER),
    ("btrim", &[TEXT], TEXT),
    ("btrim", &[TEXT, TEXT], TEXT),
    ("cardinality", &[ARRAY], INTEGER),
    ("char_length", &[BPCHAR], INTEGER),
    ("char_length", &[TEXT], INTEGER),
    ("character_length", &[TEXT], INTEGER),
    ("clock_timestamp", &[], TIMESTAMP_TZ),
    ("gen_random_uuid", &[], "uuid"),
    ("initcap", &[TEXT], TEXT),
    ("json_typeof", &["json"], TEXT),
    ("jsonb_array_length", &["jsonb"], INTEGER),
    ("jsonb_typeof", &["jsonb"], TEXT),
    ("left", &[TEXT, INTEGER], TEXT),
    ("length", &[BPCHAR], INTEGER),
    ("length", &["bytea"], INTEGER),
    ("length", &[TEXT], INTEGER),
    ("lower", &[TEXT], TEXT),
    ("ltrim", &[TEXT], TEXT),
    ("md5", &[TEXT], TEXT),
    ("now", &[], TIMESTAMP_TZ),
    ("octet_length", &["bytea"], INTEGER),
    ("octet_length", &[TEXT], INTEGER),
    ("random", &[], DOUBLE),
    ("replace", &[TEXT, TEXT, TEXT], TEXT),
    ("reverse", &[TEXT], TEXT),
    ("right", &[TEXT, INTEGER], TEXT),
    ("round", &[NUMERIC, INTEGER], NUMERIC),
    ("rtrim", &[TEXT], TEXT),
    ("split_part", &[TEXT, TEXT, INTEGER], TEXT),
    ("starts_with", &[TEXT, TEXT], BOOLEAN),
    ("statement_timestamp", &[], TIMESTAMP_TZ),
    ("strpos", &[TEXT, TEXT], INTEGER),
    ("substr", &[TEXT, INTEGER], TEXT),
    ("substr", &[TEXT, INTEGER, INTEGER], TEXT),
    ("timezone", &[TEXT, TIMESTAMP_TZ], TIMESTAMP),
    ("to_char", &[TIMESTAMP_TZ, TEXT], TEXT),
    ("transaction_timestamp", &[], TIMESTAMP_TZ),
    ("upper", &[TEXT], TEXT),
];

/// Functions of as many values as there are.
const OF_MANY: &[(&str, &str)] = &[
    ("concat", TEXT),
    ("num_nonnulls", INTEGER),
    ("num_nulls", INTEGER),
];

/// Words of the standard that are written without brackets.
const WORDS: &[(&str, &str)] = &[
    ("CURRENT_CATALOG", "name"),
    ("CURRENT_DATE", DATE),
    ("CURRENT_ROLE", "name"),
    ("CURRENT_TIMESTAMP", TIMESTAMP_TZ),
    ("CURRENT_USER", "name"),
    ("LOCALTIME", "time without time zone"),
    ("LOCALTIMESTAMP", TIMESTAMP),
    ("SESSION_USER", "name"),
];

impl Columns {
    /// A call, or what the standard writes with words.
    pub(super) fn call(&self, expr: &Expr) -> Option<Typed> {
        match expr {
            Expr::Function(function) => self.function(function),
            Expr::Extract { field, expr, .. } => {
                let field = field.to_string().to_lowercase();
                let text = format!("EXTRACT({field} FROM {})", self.shown(expr)?.plain());
                Some(Typed::new(text, NUMERIC))
            }
            Expr::Trim {
                expr,
                trim_where,
                trim_what: None,
                trim_characters: None,
            } => {
                let side = match trim_where {
                    None | Some(TrimWhereField::Both) => "BOTH",
                    Some(TrimWhereField::Leading) => "LEADING",
                    Some(TrimWhereField::Trailing) => "TRAILING",
                };
                let text = self.shown(expr)?.argument(TEXT)?;
                let text = format!("TRIM({side} FROM {})", text.plain());
                Some(Typed::new(text, TEXT))
            }
            Expr::Substring { .. } => self.substring(expr),
            Expr::Position { expr, r#in } => {
                let part = self.shown(expr)?.argument(TEXT)?;
                let whole = self.shown(r#in)?.argument(TEXT)?;
                let text = format!("POSITION(({}) IN ({}))", part.plain(), whole.plain());
                Some(Typed::new(text, INTEGER))
            }
            Expr::AtTimeZone {
                timestamp,
                time_zone,
            } => {
                let moment = self.shown(timestamp)?;
                let given = match moment.data_type.as_str() {
                    TIMESTAMP => TIMESTAMP_TZ,
                    TIMESTAMP_TZ => TIMESTAMP,
                    _ => return None,
                };
                let zone = self.shown(time_zone)?.argument(TEXT)?;
                let text = format!("({} AT TIME ZONE {})", moment.plain(), zone.plain());
                Some(Typed::new(text, given))
            }
            _ => None,
        }
    }

    fn substring(&self, expr: &Expr) -> Option<Typed> {
        let Expr::Substring {
            expr,
            substring_from: Some(from),
            substring_for,
            special,
            shorthand,
        } = expr
        else {
            return None;
        };
        let mut parts = vec![self.shown(expr)?.argument(TEXT)?];
        parts.push(self.shown(from)?.argument(INTEGER)?);
        if let Some(length) = substring_for {
            parts.push(self.shown(length)?.argument(INTEGER)?);
        }
        let text = match (*shorthand, *special, parts.as_slice()) {
            (true, ..) => format!("substr({})", listed(&parts)),
            (false, true, _) => format!("\"substring\"({})", listed(&parts)),
            (false, false, [text, from]) => {
                format!("SUBSTRING({} FROM {})", text.plain(), from.plain())
            }
            (false, false, [text, from, length]) => {
                let (text, from, length) = (text.plain(), from.plain(), length.plain());
                format!("SUBSTRING({text} FROM {from} FOR {length})")
            }
            _ => return None,
        };
        Some(Typed::new(text, TEXT))
    }

    fn function(&self, function: &Function) -> Option<Typed> {
        let has_more = function.filter.is_some()
            || function.over.is_some()
            || function.null_treatment.is_some()
            || !function.within_group.is_empty()
            || !matches!(function.parameters, FunctionArguments::None);
        let [name] = function.name.0.as_slice() else {
            return None;
        };
        let name = name.as_ident()?.value.to_lowercase();
        let list = match &function.args {
            _ if has_more => return None,
            FunctionArguments::None => return word(&name, ""),
            FunctionArguments::Subquery(_) => return None,
            FunctionArguments::List(list) => list,
        };
        if list.duplicate_treatment.is_some() || !list.clauses.is_empty() {
            return None;
        }
        let argument = |argument: &FunctionArg| match argument {
            FunctionArg::Unnamed(FunctionArgExpr::Expr(expr)) => self.shown(expr),
            _ => None,
        };
        let arguments: Vec<Typed> = list.args.iter().map(argument).collect::<Option<_>>()?;
        match name.as_str() {
            "coalesce" | "greatest" | "least" => {
                let of = common_type(&arguments)?;
                let parts = arguments.into_iter().map(|part| part.converted(&of));
                let parts: Vec<Typed> = parts.collect();
                let text = format!("{}({})", name.to_uppercase(), listed(&parts));
                Some(Typed::new(text, of))
            }
            "nullif" => {
                let [left, right] = <[Typed; 2]>::try_from(arguments).ok()?;
                let (left, right) = operators::compared(left, right)?;
                let text = format!("NULLIF({}, {})", left.text(), right.text());
                Some(Typed::new(text, left.data_type))
            }
            "current_timestamp" | "localtimestamp" => match arguments.as_slice() {
                [digits] => word(&name, &format!("({})", digits.text())),
                _ => None,
            },
            _ => called(&name, &arguments),
        }
    }
}

/// A word of the standard, which may have digits behind it.
fn word(name: &str, digits: &str) -> Option<Typed> {
    let (word, given) = WORDS
        .iter()
        .find(|(word, _)| word.eq_ignore_ascii_case(name))?;
    Some(Typed::new(format!("{word}{digits}"), *given))
}

fn called(name: &str, arguments: &[Typed]) -> Option<Typed> {
    if let Some((_, given)) = OF_MANY.iter().find(|(known, _)| *known == name) {
        return Some(Typed::new(format!("{name}({})", listed(arguments)), *given));
    }
    FUNCTIONS
        .iter()
        .filter(|(known, takes, _)| *known == name && takes.len() == arguments.len())
        .find_map(|(_, takes, given)| {
            let parts = arguments.iter().zip(takes.iter());
            let parts = parts.map(|(part, takes)| taken(part, takes));
            let parts: Vec<Typed> = parts.collect::<Option<_>>()?;
            let given = match (*given, parts.first()) {
                (NUMBER, Some(number)) => number.data_type.clone(),
                (given, _) => given.to_owned(),
            };
            let text = format!("{}({})", quoted(name), listed(&parts));
            Some(Typed::new(text, given))
        })
}

/// A part as an argument.
fn taken(part: &Typed, takes: &str) -> Option<Typed> {
    match takes {
        NUMBER => rank(&part.data_type).map(|_| part.clone()),
        ARRAY => part.data_type.ends_with("[]").then(|| part.clone()),
        // A literal is a text before it is anything else that reads texts.
        BPCHAR | "bytea" if part.data_type != takes => None,
        takes => part.clone().argument(takes),
    }
}
