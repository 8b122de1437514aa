//! `uuid`: text of 36 characters in lower case with a mark that tells clients its type.
//!
//! In: text as PostgreSQL reads uuids; out: their one form, or 22P02.

use std::sync::Arc;

use auspex_storage::uuid_marks;
use datafusion::arrow::datatypes::{DataType, Field, FieldRef};
use datafusion::error::Result;
use datafusion::logical_expr::{
    ColumnarValue, Expr, ReturnFieldArgs, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature,
};

use super::call::{Function, failure, function};
use super::dimensions::{map_texts, texts_in_place_of};

/// The function that reads a text, or each text of an array.
pub(crate) const READ: &str = "uuid_in";

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![reader()]
}

fn reader() -> Function {
    function(READ, &[1], DataType::Utf8, |call| {
        map_texts(call.arg(0)?, &read_uuid)
    })
    .returning(|args| {
        let data_type = texts_in_place_of(args.arg_fields[0].data_type());
        Ok(Field::new(READ, data_type, true).with_metadata(uuid_marks()))
    })
}

/// A text as a column of uuids takes it.
pub(super) fn read(value: Expr) -> Expr {
    reader().build().call(vec![value])
}

pub(super) fn read_uuid(text: &str) -> Result<String> {
    uuid_text(text).ok_or_else(|| {
        let message = format!("invalid input syntax for type uuid: \"{text}\"");
        failure("22P02", message)
    })
}

/// The one form of a uuid, which may be written with upper-case digits, in braces, and with a hyphen, or none, behind
/// any four digits.
pub fn uuid_text(text: &str) -> Option<String> {
    const N_DIGITS: usize = 32;
    let text = match text.strip_prefix('{') {
        Some(inner) => inner.strip_suffix('}')?,
        None => text,
    };
    let mut out = String::with_capacity(N_DIGITS + 4);
    let (mut n_digits, mut may_part) = (0, false);
    for c in text.chars() {
        if c == '-' {
            if !may_part || n_digits == N_DIGITS {
                return None;
            }
            may_part = false;
            continue;
        }
        if !c.is_ascii_hexdigit() || n_digits == N_DIGITS {
            return None;
        }
        if [8, 12, 16, 20].contains(&n_digits) {
            out.push('-');
        }
        out.push(c.to_ascii_lowercase());
        n_digits += 1;
        may_part = n_digits % 4 == 0;
    }
    (n_digits == N_DIGITS).then_some(out)
}

/// `gen_random_uuid()`: the planner's own draw, marked.
pub(super) fn random() -> ScalarUDF {
    ScalarUDF::from(Random {
        inner: datafusion::functions::string::uuid(),
        aliases: vec!["uuid_generate_v4".to_owned()],
    })
}

#[derive(Debug, PartialEq, Eq, Hash)]
struct Random {
    inner: Arc<ScalarUDF>,
    aliases: Vec<String>,
}

impl ScalarUDFImpl for Random {
    fn name(&self) -> &str {
        "gen_random_uuid"
    }

    fn aliases(&self) -> &[String] {
        &self.aliases
    }

    fn signature(&self) -> &Signature {
        self.inner.signature()
    }

    fn return_type(&self, types: &[DataType]) -> Result<DataType> {
        self.inner.return_type(types)
    }

    fn return_field_from_args(&self, args: ReturnFieldArgs) -> Result<FieldRef> {
        let field = self.inner.return_field_from_args(args)?;
        let field = field.as_ref().clone().with_name(self.name());
        Ok(Arc::new(field.with_metadata(uuid_marks())))
    }

    fn invoke_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        self.inner.invoke_with_args(args)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn uuids_are_read_as_postgresql_reads_them() {
        let one = "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11";
        for text in [
            one,
            "A0EEBC99-9C0B-4EF8-BB6D-6BB9BD380A11",
            "{a0eebc99-9c0b4ef8-bb6d6bb9-bd380a11}",
            "a0eebc999c0b4ef8bb6d6bb9bd380a11",
            "a0ee-bc99-9c0b-4ef8-bb6d-6bb9-bd38-0a11",
        ] {
            assert_eq!(uuid_text(text).as_deref(), Some(one), "{text}");
        }
        for text in [
            "",
            "a0eebc99",
            "a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11-",
            "a0eebc99--9c0b-4ef8-bb6d-6bb9bd380a11",
            "a0eeb-c999c0b4ef8bb6d6bb9bd380a11",
            "{a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            "g0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
            " a0eebc99-9c0b-4ef8-bb6d-6bb9bd380a11",
        ] {
            assert_eq!(uuid_text(text), None, "{text}");
        }
    }
}
