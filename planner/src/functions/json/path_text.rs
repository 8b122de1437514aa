//! The text of a path of SQL/JSON.
//!
//! In: `$.items[*] ? (@.price > 9 && @.name starts with "a").id`; out: its steps. What is not read is 42601, as a path that
//! PostgreSQL does not know.

use datafusion::error::{DataFusionError, Result};

use super::value::Json;
use crate::functions::call::failure;

/// A path, or a predicate in its place: `$.a > 1`.
pub(super) enum Path {
    Values(Operand),
    Truth(Predicate),
}

pub(super) enum Operand {
    Literal(Json),
    Root(Vec<Step>),
    Here(Vec<Step>),
    Variable(String, Vec<Step>),
}

pub(super) enum Step {
    Member(String),
    /// `.*`
    Members,
    /// `[*]`
    Elements,
    /// `[0, 2 to last]`
    Places(Vec<(Index, Index)>),
    /// `.**`
    Anywhere,
    Filter(Predicate),
    Size,
    Type,
    Number(Method),
}

/// What makes a number of a number.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Method {
    Abs,
    Floor,
    Ceiling,
    /// Of texts, too.
    Double,
}

/// A place from the front, or back from the last.
#[derive(Clone, Copy)]
pub(super) enum Index {
    Front(i64),
    Last(i64),
}

pub(super) enum Predicate {
    And(Vec<Predicate>),
    Or(Vec<Predicate>),
    Not(Box<Predicate>),
    /// `(…) is unknown`
    Unknown(Box<Predicate>),
    Exists(Operand),
    Compare(Operand, Compare, Operand),
    StartsWith(Operand, Operand),
    Like(Operand, String),
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Compare {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// How deep predicates stand in one another.
const MAX_DEPTH: usize = 64;

/// Reads a path.
pub(super) fn read(text: &str) -> Result<Path> {
    let mut reader = Reader {
        rest: text,
        depth: 0,
    };
    if reader.word("strict") {
        let message = "strict paths of jsonb are not supported";
        return Err(failure("0A000", message));
    }
    let _ = reader.word("lax");
    let start = reader.rest;
    let operand = reader.operand();
    if let Ok(operand) = operand
        && reader.is_at_end()
    {
        return Ok(Path::Values(operand));
    }
    (reader.rest, reader.depth) = (start, 0);
    let predicate = reader.predicate()?;
    match reader.is_at_end() {
        true => Ok(Path::Truth(predicate)),
        false => Err(reader.wrong()),
    }
}

struct Reader<'a> {
    rest: &'a str,
    depth: usize,
}

impl Reader<'_> {
    fn wrong(&self) -> DataFusionError {
        let message = match self.rest.trim_start().chars().next() {
            Some(_) => format!(
                "syntax error at or near \"{}\" of jsonpath input",
                self.rest.trim()
            ),
            None => "syntax error at end of jsonpath input".to_owned(),
        };
        failure("42601", message)
    }

    fn is_at_end(&mut self) -> bool {
        self.rest = self.rest.trim_start();
        self.rest.is_empty()
    }

    /// Takes a sign if it comes next.
    fn sign(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start();
        match rest.strip_prefix(sign) {
            Some(rest) => {
                self.rest = rest;
                true
            }
            None => false,
        }
    }

    fn expect(&mut self, sign: &str) -> Result<()> {
        match self.sign(sign) {
            true => Ok(()),
            false => Err(self.wrong()),
        }
    }

    /// Takes a word if it comes next.
    fn word(&mut self, word: &str) -> bool {
        let before = self.rest;
        let is_next = self.sign(word) && !self.rest.starts_with(is_of_name);
        if !is_next {
            self.rest = before;
        }
        is_next
    }

    fn name(&mut self) -> Result<String> {
        let rest = self.rest.trim_start();
        if rest.starts_with('"') {
            return self.quoted();
        }
        let end = rest.find(|c| !is_of_name(c)).unwrap_or(rest.len());
        if end == 0 {
            return Err(self.wrong());
        }
        let (name, rest) = rest.split_at(end);
        self.rest = rest;
        Ok(name.to_owned())
    }

    fn quoted(&mut self) -> Result<String> {
        let rest = self.rest.trim_start();
        let mut is_escaped = false;
        let end = rest.char_indices().skip(1).find(|(_, c)| {
            let is_end = *c == '"' && !is_escaped;
            is_escaped = *c == '\\' && !is_escaped;
            is_end
        });
        let Some((end, _)) = end.filter(|_| rest.starts_with('"')) else {
            return Err(self.wrong());
        };
        let (text, rest) = rest.split_at(end + 1);
        self.rest = rest;
        match Json::read(text)? {
            Json::Text(text) => Ok(text),
            _ => Err(self.wrong()),
        }
    }

    fn operand(&mut self) -> Result<Operand> {
        let rest = self.rest.trim_start();
        if rest.starts_with('"') {
            return self.quoted().map(|text| Operand::Literal(Json::Text(text)));
        }
        if self.sign("@") {
            return self.steps().map(Operand::Here);
        }
        if self.sign("$") {
            return match self.rest.starts_with(|c: char| is_of_name(c) || c == '"') {
                true => {
                    let name = self.name()?;
                    Ok(Operand::Variable(name, self.steps()?))
                }
                false => self.steps().map(Operand::Root),
            };
        }
        for (word, value) in [
            ("true", Json::Bool(true)),
            ("false", Json::Bool(false)),
            ("null", Json::Null),
        ] {
            if self.word(word) {
                return Ok(Operand::Literal(value));
            }
        }
        let is_of_number = |c: char| c.is_ascii_digit() || "+-.eE".contains(c);
        let end = rest.find(|c| !is_of_number(c)).unwrap_or(rest.len());
        let (digits, behind) = rest.split_at(end);
        match Json::read(digits) {
            Ok(number @ Json::Number(_)) => {
                self.rest = behind;
                Ok(Operand::Literal(number))
            }
            _ => Err(self.wrong()),
        }
    }

    fn steps(&mut self) -> Result<Vec<Step>> {
        let mut steps = Vec::new();
        loop {
            if self.sign(".**") {
                steps.push(Step::Anywhere);
            } else if self.sign(".*") {
                steps.push(Step::Members);
            } else if self.sign(".") {
                let is_quoted = self.rest.trim_start().starts_with('"');
                let name = self.name()?;
                steps.push(match !is_quoted && self.sign("(") {
                    true => self.method(&name)?,
                    false => Step::Member(name),
                });
            } else if self.sign("[") {
                steps.push(self.places()?);
            } else if self.sign("?") {
                self.expect("(")?;
                let predicate = self.predicate()?;
                self.expect(")")?;
                steps.push(Step::Filter(predicate));
            } else {
                return Ok(steps);
            }
        }
    }

    fn method(&mut self, name: &str) -> Result<Step> {
        self.expect(")")?;
        match name {
            "size" => Ok(Step::Size),
            "type" => Ok(Step::Type),
            "abs" => Ok(Step::Number(Method::Abs)),
            "floor" => Ok(Step::Number(Method::Floor)),
            "ceiling" => Ok(Step::Number(Method::Ceiling)),
            "double" => Ok(Step::Number(Method::Double)),
            _ => {
                let message = format!("jsonpath method .{name}() is not supported");
                Err(failure("0A000", message))
            }
        }
    }

    fn places(&mut self) -> Result<Step> {
        if self.sign("*") {
            self.expect("]")?;
            return Ok(Step::Elements);
        }
        let mut places = Vec::new();
        loop {
            let from = self.index()?;
            let to = match self.word("to") {
                true => self.index()?,
                false => from,
            };
            places.push((from, to));
            if self.sign("]") {
                return Ok(Step::Places(places));
            }
            self.expect(",")?;
        }
    }

    fn index(&mut self) -> Result<Index> {
        if self.word("last") {
            return match self.sign("-") {
                true => self.integer().map(Index::Last),
                false => Ok(Index::Last(0)),
            };
        }
        self.integer().map(Index::Front)
    }

    fn integer(&mut self) -> Result<i64> {
        let rest = self.rest.trim_start();
        let end = rest
            .find(|c: char| !c.is_ascii_digit())
            .unwrap_or(rest.len());
        let (digits, behind) = rest.split_at(end);
        let number = digits.parse().map_err(|_| self.wrong())?;
        self.rest = behind;
        Ok(number)
    }

    fn predicate(&mut self) -> Result<Predicate> {
        self.depth += 1;
        if self.depth > MAX_DEPTH {
            return Err(failure("54001", "jsonpath is too deep"));
        }
        let mut parts = vec![self.conjunction()?];
        while self.sign("||") {
            parts.push(self.conjunction()?);
        }
        self.depth -= 1;
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Predicate::Or(parts),
        })
    }

    fn conjunction(&mut self) -> Result<Predicate> {
        let mut parts = vec![self.condition()?];
        while self.sign("&&") {
            parts.push(self.condition()?);
        }
        Ok(match parts.len() {
            1 => parts.remove(0),
            _ => Predicate::And(parts),
        })
    }

    fn condition(&mut self) -> Result<Predicate> {
        if self.sign("!") {
            self.expect("(")?;
            let inner = self.predicate()?;
            self.expect(")")?;
            return Ok(Predicate::Not(Box::new(inner)));
        }
        if self.word("exists") {
            self.expect("(")?;
            let operand = self.operand()?;
            self.expect(")")?;
            return Ok(Predicate::Exists(operand));
        }
        if self.sign("(") {
            let inner = self.predicate()?;
            self.expect(")")?;
            return match self.word("is") {
                true if self.word("unknown") => Ok(Predicate::Unknown(Box::new(inner))),
                true => Err(self.wrong()),
                false => Ok(inner),
            };
        }
        let left = self.operand()?;
        if self.word("starts") {
            return match self.word("with") {
                true => Ok(Predicate::StartsWith(left, self.operand()?)),
                false => Err(self.wrong()),
            };
        }
        if self.word("like_regex") {
            let pattern = self.quoted()?;
            let pattern = match self.word("flag") {
                true => format!("(?{}){pattern}", self.quoted()?),
                false => pattern,
            };
            return Ok(Predicate::Like(left, pattern));
        }
        for (sign, op) in [
            ("==", Compare::Equal),
            ("!=", Compare::NotEqual),
            ("<>", Compare::NotEqual),
            ("<=", Compare::LessOrEqual),
            (">=", Compare::GreaterOrEqual),
            ("<", Compare::Less),
            (">", Compare::Greater),
        ] {
            if self.sign(sign) {
                return Ok(Predicate::Compare(left, op, self.operand()?));
            }
        }
        Err(self.wrong())
    }
}

fn is_of_name(c: char) -> bool {
    c.is_alphanumeric() || c == '_'
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_are_read_to_their_end() {
        for path in [
            "$",
            "$.a[*] ? (@ > 1 && @.b == \"x\").c",
            "lax $.\"a b\"[0, 2 to last - 1].size()",
            "$ ? (exists(@.a) || !(@.b starts with $v))",
            "$.** ? (@ like_regex \"^a\" flag \"i\")",
            "$ ? ((@.a.abs() > 1) is unknown && @.b.double() < 2)",
        ] {
            assert!(matches!(read(path), Ok(Path::Values(_))), "{path}");
        }
        assert!(matches!(read("$.a > -1.5e2"), Ok(Path::Truth(_))));
        for path in [
            "",
            "a",
            "$.",
            "$[",
            "$ ? (@ >)",
            "$ x",
            "strict $",
            "$.a.datetime()",
            "$ ? ((@ > 1) is)",
        ] {
            assert!(read(path).is_err(), "{path}");
        }
        assert!(read(&format!("$ ? {}", "(".repeat(10_000))).is_err());
    }
}
