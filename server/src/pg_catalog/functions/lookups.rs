//! What must be looked up in the warehouse: texts of views and checks, sizes of tables.
//!
//! In: a relation's or check's number, or a relation's name; out: a text or a number, NULL when there is no such
//! object. Asynchronous, since tables are opened.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use datafusion::arrow::array::{ArrayRef, AsArray};
use datafusion::arrow::compute::cast;
use datafusion::arrow::datatypes::{DataType, Int32Type};
use datafusion::common::ScalarValue;
use datafusion::error::{DataFusionError, Result};
use datafusion::logical_expr::async_udf::{AsyncScalarUDF, AsyncScalarUDFImpl};
use datafusion::logical_expr::{
    ColumnarValue, ScalarFunctionArgs, ScalarUDF, ScalarUDFImpl, Signature, TypeSignature,
    Volatility,
};

use super::super::PG_CATALOG;
use super::super::objects::Objects;
use super::super::relation_rows::check_oid;
use super::names::identifier_parts;

/// What a function looks up.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Wanted {
    ViewText,
    CheckText,
    Bytes,
}

/// The functions, over a session's catalog.
pub(super) fn functions(objects: &Objects) -> Vec<ScalarUDF> {
    let names = [
        ("pg_get_viewdef", Wanted::ViewText),
        ("pg_get_constraintdef", Wanted::CheckText),
        ("pg_relation_size", Wanted::Bytes),
        ("pg_table_size", Wanted::Bytes),
        ("pg_total_relation_size", Wanted::Bytes),
    ];
    let function = |(name, wanted)| {
        let arities = vec![TypeSignature::Any(1), TypeSignature::Any(2)];
        let lookup = Lookup {
            name,
            wanted,
            signature: Signature::one_of(arities, Volatility::Volatile),
            objects: objects.clone(),
        };
        AsyncScalarUDF::new(Arc::new(lookup)).into_scalar_udf()
    };
    names.into_iter().map(function).collect()
}

#[derive(Debug)]
struct Lookup {
    name: &'static str,
    wanted: Wanted,
    signature: Signature,
    objects: Objects,
}

// A session has one function of a name.
impl PartialEq for Lookup {
    fn eq(&self, other: &Self) -> bool {
        self.name == other.name
    }
}

impl Eq for Lookup {}

impl std::hash::Hash for Lookup {
    fn hash<H: std::hash::Hasher>(&self, state: &mut H) {
        self.name.hash(state);
    }
}

impl Lookup {
    async fn answer(&self, oid: i32, checks: &BTreeMap<i32, String>) -> Result<ScalarValue> {
        Ok(match self.wanted {
            Wanted::ViewText => {
                let relation = self.objects.by_oid(oid).await?;
                let text = relation.and_then(|relation| relation.definition);
                ScalarValue::Utf8(text)
            }
            Wanted::CheckText => ScalarValue::Utf8(checks.get(&oid).cloned()),
            Wanted::Bytes => {
                let relation = self.objects.by_oid(oid).await?;
                // A view has no files.
                let n_bytes = relation.map(|relation| match relation.kind {
                    "r" => relation.n_bytes,
                    _ => Some(0),
                });
                // Lossless: no table is so large.
                ScalarValue::Int64(n_bytes.flatten().map(|bytes| bytes as i64))
            }
        })
    }

    /// The texts of all checks by their numbers, if they are wanted: every table is opened for them.
    async fn checks(&self) -> Result<BTreeMap<i32, String>> {
        let mut texts = BTreeMap::new();
        if self.wanted == Wanted::CheckText {
            for relation in self.objects.own_relations().await? {
                for (name, text) in &relation.rules.checks {
                    let oid = check_oid(&self.objects, &relation, name);
                    texts.insert(oid, format!("CHECK (({text}))"));
                }
            }
        }
        Ok(texts)
    }

    /// The numbers of relations that are given by number or by name.
    fn numbers(&self, argument: &ArrayRef, schema: &str) -> Result<Vec<Option<i32>>> {
        if !argument.data_type().is_string() {
            let oids = cast(argument, &DataType::Int32)?;
            return Ok(oids.as_primitive::<Int32Type>().iter().collect());
        }
        let names = cast(argument, &DataType::Utf8)?;
        let number = |name: Option<&str>| {
            let Some(name) = name else { return Ok(None) };
            if let Ok(oid) = name.parse() {
                return Ok(Some(oid));
            }
            let parts = identifier_parts(name);
            let found = match parts.as_slice() {
                [.., schema, name] => self.objects.find(Some(schema), name, &[])?,
                [name] => self.objects.find(None, name, &[schema, PG_CATALOG])?,
                [] => None,
            };
            // The planner's own words, from which the SQLSTATE follows.
            found
                .map(Some)
                .ok_or_else(|| DataFusionError::Plan(format!("table '{name}' not found")))
        };
        names.as_string::<i32>().iter().map(number).collect()
    }
}

impl ScalarUDFImpl for Lookup {
    fn name(&self) -> &str {
        self.name
    }

    fn signature(&self) -> &Signature {
        &self.signature
    }

    fn return_type(&self, _: &[DataType]) -> Result<DataType> {
        Ok(match self.wanted {
            Wanted::ViewText | Wanted::CheckText => DataType::Utf8,
            Wanted::Bytes => DataType::Int64,
        })
    }

    fn invoke_with_args(&self, _: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let name = self.name;
        Err(DataFusionError::Internal(format!(
            "{name} runs asynchronously"
        )))
    }
}

#[async_trait]
impl AsyncScalarUDFImpl for Lookup {
    async fn invoke_async_with_args(&self, args: ScalarFunctionArgs) -> Result<ColumnarValue> {
        let Some(argument) = args.args.first() else {
            let name = self.name;
            let message = format!("{name} needs an object");
            return Err(DataFusionError::Internal(message));
        };
        let argument = argument.to_array(args.number_rows)?;
        let schema = &args.config_options.catalog.default_schema;
        let checks = self.checks().await?;
        let mut answers = Vec::with_capacity(args.number_rows);
        for oid in self.numbers(&argument, schema)? {
            answers.push(match oid {
                Some(oid) => self.answer(oid, &checks).await?,
                None => ScalarValue::try_from(&self.return_type(&[])?)?,
            });
        }
        if answers.is_empty() {
            answers.push(ScalarValue::try_from(&self.return_type(&[])?)?);
            let none = ScalarValue::iter_to_array(answers)?.slice(0, 0);
            return Ok(ColumnarValue::Array(none));
        }
        Ok(ColumnarValue::Array(ScalarValue::iter_to_array(answers)?))
    }
}
