//! Making a store for a host: its kind by the URL's scheme, its secrets from a credential or the environment.
//!
//! The root of a URL and the options of a credential flow in, a client with retries and bounded waits flows out. No
//! secret leaves this module in a message.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use object_store::aws::{AmazonS3Builder, AmazonS3ConfigKey};
use object_store::azure::{AzureConfigKey, MicrosoftAzureBuilder};
use object_store::gcp::{GoogleCloudStorageBuilder, GoogleConfigKey};
use object_store::http::HttpBuilder;
use object_store::{BackoffConfig, ClientOptions, ObjectStore, RetryConfig};
use url::Url;

use crate::error::{CredentialFailure, Error, Result};
use crate::stores::layer::Layered;
use crate::stores::read_only::ReadOnly;
use crate::stores::whole_files::WholeFiles;

/// One request, its body included.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(60);
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// From the first attempt of a request to the last.
const RETRY_TIMEOUT: Duration = Duration::from_secs(60);
const MAX_RETRIES: usize = 8;

/// The kinds of remote stores.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum StoreKind {
    S3,
    Azure,
    Gcs,
    Http,
}

/// An option of a credential.
#[derive(Debug, Clone, Copy)]
struct CredentialOption {
    name: &'static str,
    is_secret: bool,
}

const fn plain(name: &'static str) -> CredentialOption {
    CredentialOption {
        name,
        is_secret: false,
    }
}

const fn secret(name: &'static str) -> CredentialOption {
    CredentialOption {
        name,
        is_secret: true,
    }
}

const S3_OPTIONS: &[CredentialOption] = &[
    plain("allow_http"),
    plain("anonymous"),
    plain("endpoint"),
    plain("key_id"),
    plain("region"),
    secret("secret"),
    secret("session_token"),
    plain("virtual_hosted_style"),
];
const AZURE_OPTIONS: &[CredentialOption] = &[
    plain("account"),
    plain("allow_http"),
    plain("anonymous"),
    plain("client_id"),
    secret("client_secret"),
    plain("endpoint"),
    secret("key"),
    secret("sas_token"),
    plain("tenant_id"),
];
const GCS_OPTIONS: &[CredentialOption] = &[
    plain("allow_http"),
    plain("anonymous"),
    plain("endpoint"),
    secret("service_account"),
];

impl StoreKind {
    /// The kind of a URL's scheme.
    pub(crate) fn of_scheme(scheme: &str) -> Option<Self> {
        Some(match scheme {
            "s3" | "s3a" => Self::S3,
            "az" | "azure" | "abfs" | "abfss" => Self::Azure,
            "gs" => Self::Gcs,
            "http" | "https" => Self::Http,
            _ => return None,
        })
    }

    /// The kind that the option `type` of a credential names.
    pub(crate) fn of_type(name: &str) -> Result<Self> {
        Ok(match name.to_ascii_lowercase().as_str() {
            "s3" => Self::S3,
            "azure" => Self::Azure,
            "gcs" => Self::Gcs,
            _ => {
                return Err(Error::InvalidOption {
                    option: "type".into(),
                    value: name.into(),
                    expected: "s3, azure or gcs",
                });
            }
        })
    }

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::S3 => "s3",
            Self::Azure => "azure",
            Self::Gcs => "gcs",
            Self::Http => "http",
        }
    }

    fn options(self) -> &'static [CredentialOption] {
        match self {
            Self::S3 => S3_OPTIONS,
            Self::Azure => AZURE_OPTIONS,
            Self::Gcs => GCS_OPTIONS,
            Self::Http => &[],
        }
    }
}

/// Divides the options of a credential into plain and secret ones.
///
/// Errors: `UnknownOption`, `InvalidOption` for a flag that is neither true nor false, and for an endpoint that
/// `check_endpoint` refuses.
pub(crate) fn divide_options(
    kind: StoreKind,
    options: BTreeMap<String, String>,
) -> Result<(BTreeMap<String, String>, BTreeMap<String, String>)> {
    let (mut open, mut sealed) = (BTreeMap::new(), BTreeMap::new());
    if let Some(endpoint) = options.get("endpoint") {
        check_endpoint(endpoint, is_set(&options, "allow_http"))?;
    }
    for (name, value) in options {
        let known = kind.options().iter().find(|option| option.name == name);
        let Some(known) = known else {
            return Err(Error::from(CredentialFailure::UnknownOption {
                option: name,
                kind: kind.name(),
                known: kind.options().iter().map(|option| option.name).collect(),
            }));
        };
        if is_flag(known.name) {
            flag(known.name, &value)?;
        }
        match known.is_secret {
            true => sealed.insert(name, value),
            false => open.insert(name, value),
        };
    }
    Ok((open, sealed))
}

/// An endpoint is shown, so that it holds no secret; one without TLS must be wished for.
fn check_endpoint(endpoint: &str, allows_http: bool) -> Result<()> {
    let (value, expected) = match Url::parse(endpoint) {
        Ok(url)
            if !url.username().is_empty() || url.password().is_some() || url.query().is_some() =>
        {
            ("***", "a URL without user, password and parameters")
        }
        Ok(url) if url.scheme() == "https" || url.scheme() == "http" && allows_http => {
            return Ok(());
        }
        Ok(url) if url.scheme() == "http" => (
            endpoint,
            "an https URL, or an http one with allow_http = true",
        ),
        _ => ("***", "an https URL"),
    };
    Err(Error::InvalidOption {
        option: "endpoint".into(),
        value: value.into(),
        expected,
    })
}

fn is_flag(name: &str) -> bool {
    matches!(name, "allow_http" | "anonymous" | "virtual_hosted_style")
}

fn flag(name: &str, value: &str) -> Result<bool> {
    match value.to_ascii_lowercase().as_str() {
        "true" | "on" | "yes" | "1" => Ok(true),
        "false" | "off" | "no" | "0" => Ok(false),
        _ => Err(Error::InvalidOption {
            option: name.into(),
            value: value.into(),
            expected: "true or false",
        }),
    }
}

/// A store for the host of `root`; `None`: with what the environment or the machine's instance has.
///
/// Errors: `StoreConfiguration`, which tells no secret.
pub(crate) fn build(
    kind: StoreKind,
    root: &Url,
    options: Option<&BTreeMap<String, String>>,
) -> Result<Arc<dyn ObjectStore>> {
    let built = match kind {
        StoreKind::S3 => s3(root, options),
        StoreKind::Azure => azure(root, options),
        StoreKind::Gcs => gcs(root, options),
        StoreKind::Http => http(root),
    };
    built.map_err(|error| Error::StoreConfiguration {
        location: root.to_string(),
        reason: without_secrets(error.to_string(), options),
    })
}

/// A library's message may quote what it could not read.
fn without_secrets(mut text: String, options: Option<&BTreeMap<String, String>>) -> String {
    for (name, value) in options.into_iter().flatten() {
        let is_secret = [S3_OPTIONS, AZURE_OPTIONS, GCS_OPTIONS]
            .concat()
            .iter()
            .any(|option| option.is_secret && option.name == name);
        if is_secret && !value.is_empty() {
            text = text.replace(value.as_str(), "***");
        }
    }
    text
}

fn client() -> ClientOptions {
    ClientOptions::new()
        .with_timeout(REQUEST_TIMEOUT)
        .with_connect_timeout(CONNECT_TIMEOUT)
}

fn retry() -> RetryConfig {
    RetryConfig {
        backoff: BackoffConfig::default(),
        max_retries: MAX_RETRIES,
        retry_timeout: RETRY_TIMEOUT,
    }
}

/// Whether an option is written and true; `divide_options` checked it.
fn is_set(options: &BTreeMap<String, String>, name: &str) -> bool {
    options
        .get(name)
        .is_some_and(|value| flag(name, value).unwrap_or(false))
}

fn s3(
    root: &Url,
    options: Option<&BTreeMap<String, String>>,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = match options {
        None => AmazonS3Builder::from_env(),
        Some(_) => AmazonS3Builder::new(),
    };
    // The client's bounds first: `allow_http` is one of its options.
    builder = builder.with_client_options(client()).with_retry(retry());
    match options {
        Some(options) => {
            for (name, key) in [
                ("key_id", AmazonS3ConfigKey::AccessKeyId),
                ("secret", AmazonS3ConfigKey::SecretAccessKey),
                ("session_token", AmazonS3ConfigKey::Token),
                ("region", AmazonS3ConfigKey::Region),
                ("endpoint", AmazonS3ConfigKey::Endpoint),
            ] {
                if let Some(value) = options.get(name) {
                    builder = builder.with_config(key, value);
                }
            }
            builder = builder
                .with_allow_http(is_set(options, "allow_http"))
                .with_skip_signature(is_set(options, "anonymous"))
                .with_virtual_hosted_style_request(is_set(options, "virtual_hosted_style"));
        }
        None => builder = builder.with_allow_http(allows_http("AWS_ALLOW_HTTP")),
    }
    Ok(Arc::new(builder.with_url(root.as_str()).build()?))
}

fn azure(
    root: &Url,
    options: Option<&BTreeMap<String, String>>,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = match options {
        None => MicrosoftAzureBuilder::from_env(),
        Some(_) => MicrosoftAzureBuilder::new(),
    };
    builder = builder.with_client_options(client()).with_retry(retry());
    match options {
        Some(options) => {
            for (name, key) in [
                ("account", AzureConfigKey::AccountName),
                ("key", AzureConfigKey::AccessKey),
                ("sas_token", AzureConfigKey::SasKey),
                ("client_id", AzureConfigKey::ClientId),
                ("client_secret", AzureConfigKey::ClientSecret),
                ("tenant_id", AzureConfigKey::AuthorityId),
                ("endpoint", AzureConfigKey::Endpoint),
            ] {
                if let Some(value) = options.get(name) {
                    builder = builder.with_config(key, value);
                }
            }
            builder = builder
                .with_allow_http(is_set(options, "allow_http"))
                .with_skip_signature(is_set(options, "anonymous"));
        }
        None => builder = builder.with_allow_http(allows_http("AZURE_ALLOW_HTTP")),
    }
    Ok(Arc::new(builder.with_url(root.as_str()).build()?))
}

fn gcs(
    root: &Url,
    options: Option<&BTreeMap<String, String>>,
) -> object_store::Result<Arc<dyn ObjectStore>> {
    let mut builder = match options {
        None => GoogleCloudStorageBuilder::from_env(),
        Some(_) => GoogleCloudStorageBuilder::new(),
    };
    let mut client = client();
    if let Some(options) = options {
        client = client.with_allow_http(is_set(options, "allow_http"));
        for (name, key) in [
            ("service_account", GoogleConfigKey::ServiceAccountKey),
            ("endpoint", GoogleConfigKey::BaseUrl),
        ] {
            if let Some(value) = options.get(name) {
                builder = builder.with_config(key, value);
            }
        }
        builder = builder.with_skip_signature(is_set(options, "anonymous"));
    } else {
        client = client.with_allow_http(allows_http("GOOGLE_ALLOW_HTTP"));
    }
    builder = builder.with_client_options(client).with_retry(retry());
    Ok(Arc::new(builder.with_url(root.as_str()).build()?))
}

fn http(root: &Url) -> object_store::Result<Arc<dyn ObjectStore>> {
    let store = HttpBuilder::new()
        .with_url(root.as_str())
        .with_client_options(client().with_allow_http(root.scheme() == "http"))
        .with_retry(retry())
        .build()?;
    let store = Arc::new(Layered::new(WholeFiles::over(Arc::new(store))));
    Ok(Arc::new(Layered::new(ReadOnly(store))))
}

/// The builders' own reading of this variable is lost with their default client options.
fn allows_http(variable: &str) -> bool {
    std::env::var(variable).is_ok_and(|value| flag(variable, &value).unwrap_or(false))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let owned = |(name, value): &(&str, &str)| ((*name).to_owned(), (*value).to_owned());
        pairs.iter().map(owned).collect()
    }

    #[test]
    fn every_kind_is_built_from_its_options() {
        for (kind, root, given) in [
            (
                StoreKind::S3,
                "s3://b/",
                options(&[("key_id", "k"), ("secret", "s"), ("region", "eu-west-1")]),
            ),
            (
                StoreKind::S3,
                "s3://b/",
                options(&[
                    ("anonymous", "on"),
                    ("endpoint", "http://127.0.0.1:1"),
                    ("allow_http", "true"),
                ]),
            ),
            (
                StoreKind::Azure,
                "az://c/",
                options(&[("account", "a"), ("key", "a2V5")]),
            ),
            (
                StoreKind::Azure,
                "abfss://c@acc.dfs.core.windows.net/",
                options(&[("sas_token", "sv=1&sig=x")]),
            ),
            (StoreKind::Gcs, "gs://b/", options(&[("anonymous", "true")])),
            (StoreKind::Http, "https://h/", options(&[])),
        ] {
            let root = Url::parse(root).unwrap();
            build(kind, &root, Some(&given)).unwrap();
        }
    }

    #[test]
    fn options_are_checked_and_secrets_told_apart() {
        let given = options(&[("key_id", "k"), ("secret", "s"), ("session_token", "t")]);
        let (open, sealed) = divide_options(StoreKind::S3, given).unwrap();
        assert_eq!(open, options(&[("key_id", "k")]));
        assert_eq!(sealed, options(&[("secret", "s"), ("session_token", "t")]));
        let error = divide_options(StoreKind::S3, options(&[("sercet", "x")])).unwrap_err();
        assert_eq!(error.sqlstate(), "22023");
        assert!(error.hint().unwrap().contains("secret"));
        assert!(divide_options(StoreKind::Gcs, options(&[("anonymous", "maybe")])).is_err());
        let plain = [("endpoint", "http://127.0.0.1:1"), ("allow_http", "on")];
        assert!(divide_options(StoreKind::Azure, options(&plain)).is_ok());
        let error = divide_options(StoreKind::Azure, options(&plain[..1])).unwrap_err();
        assert!(error.to_string().contains("allow_http"), "{error}");
        for endpoint in ["https://hush:hush@h/", "https://h/?sv=1&sig=hush", "hush"] {
            let error = divide_options(StoreKind::Azure, options(&[("endpoint", endpoint)]));
            let error = error.unwrap_err().to_string();
            assert!(
                error.contains("endpoint") && !error.contains("hush"),
                "{error}"
            );
        }
        assert!(StoreKind::of_type("ftp").is_err());
    }

    #[test]
    fn a_bad_secret_is_not_told() {
        let root = Url::parse("gs://b/").unwrap();
        let given = options(&[("service_account", "{\"private_key\": \"hush\"}")]);
        let error = build(StoreKind::Gcs, &root, Some(&given)).unwrap_err();
        assert!(error.to_string().contains("gs://b/"), "{error}");
        assert!(!error.to_string().contains("hush"), "{error}");
    }
}
