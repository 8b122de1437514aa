//! What a REST catalog answered instead of a table, in words for a client.
//!
//! An error of the library flows in, a failure with its status, the service's own message and no secret flows out. The library
//! keeps status and message in the text of its errors alone.

use std::error::Error as StdError;

use serde_json::Value;

use crate::error::{CatalogFailure, Error};

/// What a client is told of an error of the catalog `name`; `secrets` are texts that are not shown.
pub(super) fn failure(name: &str, error: &iceberg::Error, secrets: &[String]) -> Error {
    // A refusal of a location comes out as it went in.
    if let Some(found) = Error::found_in(error) {
        return found;
    }
    let text = error.to_string();
    let status = value(&text, "status: ").or_else(|| value(&text, "code: "));
    let mut reason = match (status, message(&text)) {
        (Some(status), Some(said)) => format!("the catalog answered {status}: {said}"),
        (Some(status), None) => format!("the catalog answered {status}: {}", error.message()),
        (None, _) => match deepest(error) {
            Some(cause) => format!("{}: {cause}", error.message()),
            None => error.message().to_owned(),
        },
    };
    for secret in secrets.iter().filter(|secret| !secret.is_empty()) {
        reason = reason.replace(secret, "***");
    }
    let name = name.to_owned();
    Error::Catalog(match status {
        Some(status) if status.starts_with("401") || status.starts_with("403") => {
            CatalogFailure::Denied { name, reason }
        }
        _ => CatalogFailure::Failed { name, reason },
    })
}

/// A value of an error's context, as `Display` writes it: `key: value, key: value }`.
fn value<'a>(text: &'a str, key: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(key)?;
    let end = rest.find([',', '}'])?;
    let value = rest[..end].trim();
    let is_status = value.get(..3).is_some_and(|n| n.parse::<u16>().is_ok());
    is_status.then_some(value)
}

/// What the service itself said: `{"error": {"message": "..."}}`.
fn message(text: &str) -> Option<String> {
    let (_, body) = text.split_once("json: ")?;
    let mut values = serde_json::Deserializer::from_str(body).into_iter::<Value>();
    let answer = values.next()?.ok()?;
    Some(answer["error"]["message"].as_str()?.to_owned())
}

/// The innermost cause, which says what hindered a request.
fn deepest(error: &iceberg::Error) -> Option<String> {
    let mut next = error.source()?;
    while let Some(source) = next.source() {
        next = source;
    }
    Some(next.to_string())
}

#[cfg(test)]
mod tests {
    use iceberg::ErrorKind;

    use super::*;

    fn told(error: iceberg::Error) -> (&'static str, String) {
        let error = failure("lake", &error, &["hush".into(), String::new()]);
        assert!(error.to_string().contains("\"lake\""), "{error}");
        (error.sqlstate(), error.detail().unwrap())
    }

    fn unexpected(status: &str, body: &str) -> iceberg::Error {
        iceberg::Error::new(ErrorKind::Unexpected, "Received response")
            .with_context("status", status)
            .with_context("headers", "{\"content-length\": \"90\"}")
            .with_context("json", body)
    }

    #[test]
    fn the_status_decides() {
        let body = r#"{"error": {"message": "no hush here", "type": "X", "code": 401}}"#;
        assert_eq!(
            told(unexpected("401 Unauthorized", body)),
            (
                "42501",
                "the catalog answered 401 Unauthorized: no *** here.".into()
            )
        );
        let (sqlstate, detail) = told(unexpected("503 Service Unavailable", "<html>"));
        assert_eq!(sqlstate, "58030");
        assert!(detail.contains("503 Service Unavailable"), "{detail}");
        // The answer to a request for a token has no status, but a code.
        let error = iceberg::Error::new(ErrorKind::DataInvalid, "no such client")
            .with_context("type", "NotAuthorizedException")
            .with_context("code", "401");
        let (sqlstate, detail) = told(error);
        assert_eq!(sqlstate, "42501");
        assert!(detail.contains("no such client"), "{detail}");
    }

    #[test]
    fn a_lost_connection_tells_its_cause() {
        let cause = std::io::Error::from(std::io::ErrorKind::ConnectionRefused);
        let error = iceberg::Error::new(ErrorKind::Unexpected, "Failed to execute http request");
        let (sqlstate, detail) = told(error.with_source(cause));
        assert_eq!(sqlstate, "58030");
        assert!(detail.contains("connection refused"), "{detail}");
    }
}
