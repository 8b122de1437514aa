//! Hashes as PostgreSQL's pgcrypto has them: `digest` and `hmac`.
//!
//! In: texts or bytes, a key, and the name of an algorithm; out: the bytes of the hash. Algorithms that the planner's own
//! `digest` has beside these are left to it.

use std::sync::Arc;

use datafusion::arrow::array::{ArrayRef, AsArray as _, BinaryArray};
use datafusion::arrow::datatypes::{DataType, Field};
use datafusion::common::ScalarValue;
use datafusion::config::ConfigOptions;
use datafusion::error::Result;
use datafusion::logical_expr::{ColumnarValue, ScalarFunctionArgs};
use hmac::digest::{Digest, KeyInit};
use hmac::{Hmac, Mac};
use md5::Md5;
use sha1::Sha1;
use sha2::{Sha224, Sha256, Sha384, Sha512};

use super::call::{Call, Function, failure, function_of, no_function};

/// What an algorithm computes.
struct Algorithm {
    name: &'static str,
    hash: fn(&[u8]) -> Vec<u8>,
    /// The same of data with a key, if the key can be one.
    keyed: fn(&[u8], &[u8]) -> Option<Vec<u8>>,
}

/// Those of pgcrypto.
static ALGORITHMS: [Algorithm; 6] = [
    Algorithm {
        name: "md5",
        hash: hash::<Md5>,
        keyed: keyed::<Hmac<Md5>>,
    },
    Algorithm {
        name: "sha1",
        hash: hash::<Sha1>,
        keyed: keyed::<Hmac<Sha1>>,
    },
    Algorithm {
        name: "sha224",
        hash: hash::<Sha224>,
        keyed: keyed::<Hmac<Sha224>>,
    },
    Algorithm {
        name: "sha256",
        hash: hash::<Sha256>,
        keyed: keyed::<Hmac<Sha256>>,
    },
    Algorithm {
        name: "sha384",
        hash: hash::<Sha384>,
        keyed: keyed::<Hmac<Sha384>>,
    },
    Algorithm {
        name: "sha512",
        hash: hash::<Sha512>,
        keyed: keyed::<Hmac<Sha512>>,
    },
];

/// Those that the planner's function has alone.
const OF_PLANNER: [&str; 3] = ["blake2b", "blake2s", "blake3"];

/// The functions of this family.
pub(super) fn functions() -> Vec<Function> {
    vec![
        function_of("digest", &[2], |types| returns("digest", types), digest),
        function_of("hmac", &[3], |types| returns("hmac", types), hmac),
    ]
}

/// Bytes, of texts and bytes alone.
fn returns(name: &str, types: &[DataType]) -> Result<DataType> {
    let is_taken = |known: &DataType| known.is_string() || known.is_binary() || known.is_null();
    match types.iter().all(is_taken) {
        true => Ok(DataType::Binary),
        false => Err(no_function(name, types)),
    }
}

fn hash<D: Digest>(data: &[u8]) -> Vec<u8> {
    D::digest(data).to_vec()
}

fn keyed<M: Mac + KeyInit>(key: &[u8], data: &[u8]) -> Option<Vec<u8>> {
    let mut mac = <M as Mac>::new_from_slice(key).ok()?;
    mac.update(data);
    Some(mac.finalize().into_bytes().to_vec())
}

fn named(name: &str) -> Result<&'static Algorithm> {
    let mut known = ALGORITHMS.iter();
    let found = known.find(|algorithm| name.eq_ignore_ascii_case(algorithm.name));
    found.ok_or_else(|| {
        let name = name.to_lowercase();
        failure(
            "22023",
            format!("Cannot use \"{name}\": No such hash algorithm"),
        )
    })
}

/// The bytes of an argument; those of a text are its characters.
fn contents(call: &Call<'_>, idx: usize) -> Result<BinaryArray> {
    let array = call.converted(idx, &DataType::Binary)?;
    Ok(array.as_binary::<i32>().clone())
}

fn digest(call: &Call<'_>) -> Result<ArrayRef> {
    let (data, names) = (contents(call, 0)?, call.texts(1)?);
    let first = names.iter().flatten().next();
    if let Some(name) = first.filter(|name| OF_PLANNER.contains(name)) {
        return by_planner(data, name);
    }
    let hashed = data
        .iter()
        .zip(&names)
        .map(|(data, name)| -> Result<Option<Vec<u8>>> {
            let (Some(data), Some(name)) = (data, name) else {
                return Ok(None);
            };
            Ok(Some((named(name)?.hash)(data)))
        });
    Ok(Arc::new(hashed.collect::<Result<BinaryArray>>()?))
}

/// By the planner's function, which takes one algorithm for all rows.
fn by_planner(data: BinaryArray, name: &str) -> Result<ArrayRef> {
    let function = datafusion::functions::crypto::digest();
    let n_rows = datafusion::arrow::array::Array::len(&data);
    let field = |name: &str, data_type| Arc::new(Field::new(name, data_type, true));
    let hashed = function.invoke_with_args(ScalarFunctionArgs {
        args: vec![
            ColumnarValue::Array(Arc::new(data)),
            ColumnarValue::Scalar(ScalarValue::from(name)),
        ],
        arg_fields: vec![
            field("data", DataType::Binary),
            field("name", DataType::Utf8),
        ],
        number_rows: n_rows,
        return_field: field("value", DataType::Binary),
        config_options: Arc::new(ConfigOptions::default()),
    })?;
    hashed.into_array(n_rows)
}

fn hmac(call: &Call<'_>) -> Result<ArrayRef> {
    let (data, keys, names) = (contents(call, 0)?, contents(call, 1)?, call.texts(2)?);
    let rows = data.iter().zip(&keys).zip(&names);
    let hashed = rows.map(|((data, key), name)| -> Result<Option<Vec<u8>>> {
        let (Some(data), Some(key), Some(name)) = (data, key, name) else {
            return Ok(None);
        };
        Ok((named(name)?.keyed)(key, data))
    });
    Ok(Arc::new(hashed.collect::<Result<BinaryArray>>()?))
}
