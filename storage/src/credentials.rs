//! Secrets of stores: sealed for the catalog, opened for a client, and which of them counts for a URL.
//!
//! Options and a key flow in, a sealed text flows out, and the other way around. A secret is never in a message, a
//! `Debug` text or the catalog; the key comes from the environment and is kept nowhere.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use object_store::path::Path;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, NONCE_LEN, Nonce, UnboundKey};
use ring::hkdf::{HKDF_SHA256, Salt};
use ring::rand::{SecureRandom as _, SystemRandom};
use url::Url;

use crate::catalog::{
    CatalogState, CredentialDefinition, Definition, ExternalCatalogDefinition, LocationDefinition,
    ObjectKind,
};
use crate::error::{CredentialFailure, Error, Result};
use crate::locations::Locations;
use crate::stores::{ObjectUrl, StoreKind, Stores, divide_options};

/// A key shorter than this could be guessed.
const MIN_KEY_BYTES: usize = 32;
const SALT_BYTES: usize = 16;
/// Tells what the derived keys are for.
const PURPOSE: &[&[u8]] = &[b"auspex credential 1"];

/// What secrets are sealed with.
#[derive(Clone)]
pub struct CredentialKey(Arc<str>);

impl fmt::Debug for CredentialKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("CredentialKey(***)")
    }
}

impl CredentialKey {
    /// A key of any text of at least 32 bytes. Errors: `CredentialFailure::ShortKey`.
    pub fn new(text: &str) -> Result<Self> {
        match text.len() >= MIN_KEY_BYTES {
            true => Ok(Self(text.into())),
            false => Err(CredentialFailure::ShortKey.into()),
        }
    }

    /// Seals secrets; only the same key opens them, and only for the same owner.
    fn seal(&self, owner: &Owner<'_>, secrets: &BTreeMap<String, String>) -> Result<String> {
        self.seal_in(&owner.context(), secrets)
    }

    /// Seals texts for a purpose; only the same key opens them, and only for the same purpose.
    pub fn seal_in(&self, context: &str, secrets: &BTreeMap<String, String>) -> Result<String> {
        let mut random = [0; SALT_BYTES + NONCE_LEN];
        let sealing = |_| internal("sealing");
        SystemRandom::new().fill(&mut random).map_err(sealing)?;
        let (salt, nonce) = random.split_at(SALT_BYTES);
        let mut bytes = serde_json::to_vec(secrets).map_err(|_| internal("writing"))?;
        let nonce = Nonce::try_assume_unique_for_key(nonce).map_err(sealing)?;
        self.derive(salt)?
            .seal_in_place_append_tag(nonce, Aad::from(context.as_bytes()), &mut bytes)
            .map_err(sealing)?;
        Ok(hex(&random) + &hex(&bytes))
    }

    /// Opens what `seal` made. `None`: another key, another owner, or other bytes.
    fn open(&self, owner: &Owner<'_>, sealed: &str) -> Option<BTreeMap<String, String>> {
        let found = self.open_in(&owner.context(), sealed);
        found.or_else(|| self.open_in(&owner.older_context(), sealed))
    }

    /// Opens what `seal_in` made. `None`: another key, another purpose, or other bytes.
    pub fn open_in(&self, context: &str, sealed: &str) -> Option<BTreeMap<String, String>> {
        let mut bytes = unhex(sealed)?;
        let (random, bytes) = bytes.split_at_mut_checked(SALT_BYTES + NONCE_LEN)?;
        let (salt, nonce) = random.split_at(SALT_BYTES);
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let key = self.derive(salt).ok()?;
        let aad = Aad::from(context.as_bytes());
        let text = key.open_in_place(nonce, aad, bytes).ok()?;
        serde_json::from_slice(text).ok()
    }

    /// Each sealed text has a key of its own, so that no nonce is used twice with one.
    fn derive(&self, salt: &[u8]) -> Result<LessSafeKey> {
        let secret = Salt::new(HKDF_SHA256, salt).extract(self.0.as_bytes());
        let key = secret.expand(PURPOSE, &AES_256_GCM);
        Ok(LessSafeKey::new(UnboundKey::from(
            key.map_err(|_| internal("deriving a key"))?,
        )))
    }
}

fn internal(doing: &str) -> Error {
    Error::Internal {
        what: format!("{doing} of a credential failed"),
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn unhex(text: &str) -> Option<Vec<u8>> {
    let digits = text.as_bytes().chunks(2);
    let byte = |pair: &[u8]| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok();
    digits.map(byte).collect()
}

/// What a sealed text belongs to: with another owner, it does not open.
struct Owner<'a> {
    name: &'a str,
    kind: &'a str,
    /// The URLs that a credential counts for, or that of a catalog.
    place: Option<&'a str>,
    /// The options that are no secrets; some say where the secrets are sent.
    options: &'a BTreeMap<String, String>,
}

impl Owner<'_> {
    fn context(&self) -> String {
        serde_json::json!([self.name, self.kind, self.place, self.options]).to_string()
    }

    /// What secrets were sealed for before options counted. It has line breaks, which the other has not, so that no text
    /// that was sealed for options opens without them.
    fn older_context(&self) -> String {
        let place = self.place.unwrap_or_default();
        format!("{}\n{}\n{place}", self.name, self.kind)
    }
}

impl CredentialDefinition {
    /// Whether a URL lies where it counts.
    pub fn covers(&self, url: &Url) -> bool {
        match &self.scope {
            Some(scope) => Locations::holds(scope, url),
            None => {
                StoreKind::of_scheme(url.scheme()).is_some_and(|kind| kind.name() == self.store)
            }
        }
    }

    /// The definition of a credential named `name` for the URLs below `scope`, or for all of its type.
    ///
    /// `options` hold `type`, and what the type knows. Errors: `CredentialFailure` for an unknown option and for a scope of
    /// another type, `InvalidOption`, `InvalidLocation`.
    pub fn new(
        name: &str,
        scope: Option<&str>,
        mut options: BTreeMap<String, String>,
        key: &CredentialKey,
    ) -> Result<Self> {
        let named = options.remove("type").ok_or(Error::InvalidOption {
            option: "type".into(),
            value: String::new(),
            expected: "s3, azure or gcs",
        })?;
        let kind = StoreKind::of_type(&named)?;
        let scope = scope.map(ObjectUrl::parse).transpose()?;
        if let Some(scope) = &scope
            && StoreKind::of_scheme(scope.root().scheme()) != Some(kind)
        {
            return Err(Error::from(CredentialFailure::Scope {
                scope: scope.to_url().into(),
                kind: kind.name(),
            }));
        }
        let scope = scope.map(|scope| scope.to_url().to_string());
        let (options, secrets) = divide_options(kind, options)?;
        let owner = Owner {
            name,
            kind: kind.name(),
            place: scope.as_deref(),
            options: &options,
        };
        let sealed = key.seal(&owner, &secrets)?;
        Ok(Self {
            store: kind.name().into(),
            scope,
            options,
            sealed,
            grants: BTreeMap::new(),
        })
    }
}

/// What a catalog of others is reached with: plain options, then secret ones.
type CatalogOptions = (&'static [&'static str], &'static [&'static str]);

const REST_OPTIONS: CatalogOptions = (
    &["oauth2_server_uri", "prefix", "scope", "uri", "warehouse"],
    &["credential", "token"],
);
const SQL_OPTIONS: CatalogOptions = (&["catalog_name", "uri", "warehouse"], &[]);

impl ExternalCatalogDefinition {
    /// The definition of an Iceberg catalog named `name`; `options` hold `type` and what the type knows.
    ///
    /// Errors: `CredentialFailure` for an unknown option and for secrets that cannot be sealed, `InvalidOption` for a missing or
    /// wrong one.
    pub fn new(name: &str, mut options: BTreeMap<String, String>, stores: &Stores) -> Result<Self> {
        let invalid = |option: &str, value: &str, expected| Error::InvalidOption {
            option: option.into(),
            value: value.into(),
            expected,
        };
        let named = options.remove("type").unwrap_or_default();
        let (kind, (plain, secret)) = match named.to_ascii_lowercase().as_str() {
            "rest" => ("rest", REST_OPTIONS),
            "sql" => ("sql", SQL_OPTIONS),
            _ => return Err(invalid("type", &named, "rest or sql")),
        };
        let (mut open, mut sealed) = (BTreeMap::new(), BTreeMap::new());
        for (option, value) in options {
            if plain.contains(&option.as_str()) {
                open.insert(option, value);
            } else if secret.contains(&option.as_str()) {
                sealed.insert(option, value);
            } else {
                return Err(Error::from(CredentialFailure::UnknownOption {
                    option,
                    kind,
                    known: [plain, secret].concat(),
                }));
            }
        }
        let uri = open.get("uri").map(String::as_str).unwrap_or_default();
        let expected = match kind {
            "rest" if !uri.starts_with("http://") && !uri.starts_with("https://") => {
                Some("the http or https URL of the catalog")
            }
            "sql" if !uri.starts_with("sqlite:") => Some("sqlite:///path of a database file"),
            _ => None,
        };
        if let Some(expected) = expected {
            return Err(invalid("uri", uri, expected));
        }
        let is_rest = kind == "rest";
        let shows_secret = |text: &String| match Url::parse(text) {
            Ok(url) => {
                let has_user = !url.username().is_empty() || url.password().is_some();
                has_user || is_rest && url.query().is_some()
            }
            Err(_) => is_rest,
        };
        for option in ["uri", "oauth2_server_uri"] {
            if open.get(option).is_some_and(shows_secret) {
                let expected = "a URL without user, password and parameters";
                return Err(invalid(option, "***", expected));
            }
        }
        let sealed = match sealed.is_empty() {
            true => String::new(),
            false => {
                let owner = Owner {
                    name,
                    kind,
                    place: Some(uri),
                    options: &open,
                };
                stores.credential_key()?.seal(&owner, &sealed)?
            }
        };
        Ok(Self {
            catalog: kind.into(),
            options: open,
            sealed,
            grants: BTreeMap::new(),
        })
    }

    /// All its options. Errors: `CredentialFailure::NoKey`, `Sealed`.
    pub(crate) fn open(&self, name: &str, stores: &Stores) -> Result<BTreeMap<String, String>> {
        let mut all = self.options.clone();
        if self.sealed.is_empty() {
            return Ok(all);
        }
        let owner = Owner {
            name,
            kind: &self.catalog,
            place: self.options.get("uri").map(String::as_str),
            options: &self.options,
        };
        let secrets = stores.credential_key()?.open(&owner, &self.sealed);
        all.extend(secrets.ok_or_else(|| CredentialFailure::Sealed { name: name.into() })?);
        Ok(all)
    }
}

/// A credential as the catalog has it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Credential {
    name: String,
    kind: Option<StoreKind>,
    scope: Option<ObjectUrl>,
    definition: CredentialDefinition,
}

impl Credential {
    fn new(name: &str, definition: &CredentialDefinition) -> Self {
        let scope = definition.scope.as_deref();
        Self {
            name: name.into(),
            kind: StoreKind::of_type(&definition.store).ok(),
            scope: scope.and_then(|scope| ObjectUrl::parse(scope).ok()),
            definition: definition.clone(),
        }
    }

    /// All its options. Errors: `CredentialFailure::Sealed` if the key is not the one that sealed it.
    pub(crate) fn open(&self, key: &CredentialKey) -> Result<BTreeMap<String, String>> {
        let CredentialDefinition {
            store,
            scope,
            options,
            sealed,
            ..
        } = &self.definition;
        let owner = Owner {
            name: &self.name,
            kind: store,
            place: scope.as_deref(),
            options,
        };
        let secrets = key.open(&owner, sealed);
        let mut all = secrets.ok_or_else(|| CredentialFailure::Sealed {
            name: self.name.clone(),
        })?;
        all.extend(options.clone());
        Ok(all)
    }
}

/// A credential for the paths below a prefix of a host.
#[derive(Debug)]
pub(crate) struct Grant<'a> {
    pub(crate) prefix: Path,
    pub(crate) credential: &'a Credential,
}

/// Credentials and external locations of a catalog.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Access {
    credentials: Vec<Credential>,
    locations: Vec<LocationDefinition>,
}

impl Access {
    pub(crate) fn of(state: &CatalogState) -> Self {
        let mut access = Self::default();
        for kind in [ObjectKind::Credential, ObjectKind::Location] {
            for entry in state.globals(kind) {
                match &entry.definition {
                    Definition::Credential(definition) => {
                        let credential = Credential::new(&entry.name, definition);
                        access.credentials.push(credential);
                    }
                    Definition::Location(definition) => access.locations.push(definition.clone()),
                    _ => {}
                }
            }
        }
        access
    }

    /// The URLs that administrators opened by statements.
    pub(crate) fn locations(&self) -> impl Iterator<Item = &str> {
        self.locations.iter().map(|location| location.url.as_str())
    }

    /// The credentials that count on a host: those that locations name first, then by their own scopes.
    pub(crate) fn grants_on(&self, root: &Url, kind: StoreKind) -> Vec<Grant<'_>> {
        let mut grants = Vec::new();
        for location in &self.locations {
            let place = ObjectUrl::parse(&location.url).ok();
            let named = location.credential.as_ref();
            let credential =
                named.and_then(|name| self.credentials.iter().find(|c| c.name == *name));
            if let (Some(place), Some(credential)) = (place, credential)
                && place.root() == root
                && credential.kind == Some(kind)
            {
                let prefix = place.path().clone();
                grants.push(Grant { prefix, credential });
            }
        }
        for credential in &self.credentials {
            let prefix = match (&credential.scope, &credential.definition.scope) {
                (Some(scope), _) if scope.root() == root => scope.path().clone(),
                (None, None) if credential.kind == Some(kind) => Path::default(),
                _ => continue,
            };
            grants.push(Grant { prefix, credential });
        }
        grants
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key() -> CredentialKey {
        CredentialKey::new("0123456789abcdef0123456789abcdef").unwrap()
    }

    fn s3(scope: Option<&str>) -> Result<CredentialDefinition> {
        let options = [("type", "s3"), ("key_id", "AK"), ("secret", "hush-hush")];
        let options = options.map(|(name, value)| (name.to_owned(), value.to_owned()));
        CredentialDefinition::new("c", scope, options.into(), &key())
    }

    #[test]
    fn a_secret_comes_back_with_its_key_only() {
        let definition = s3(Some("s3://b/x")).unwrap();
        assert!(!format!("{definition:?} {:?}", key()).contains("hush"));
        assert_eq!(definition.options["key_id"], "AK");
        let credential = Credential::new("c", &definition);
        assert_eq!(credential.open(&key()).unwrap()["secret"], "hush-hush");
        let other = CredentialKey::new("fedcba9876543210fedcba9876543210").unwrap();
        let error = credential.open(&other).unwrap_err();
        assert_eq!(error.sqlstate(), "55000");
        assert!(error.hint().unwrap().contains("AUSPEX_CREDENTIAL_KEY"));
        // Whoever can write the catalog cannot send a secret to another place.
        let mut moved = definition.clone();
        moved.scope = Some("s3://evil/x".into());
        assert!(Credential::new("c", &moved).open(&key()).is_err());
        assert!(Credential::new("d", &definition).open(&key()).is_err());
        let mut diverted = definition.clone();
        let endpoint = "https://evil".to_owned();
        diverted.options.insert("endpoint".into(), endpoint);
        assert!(Credential::new("c", &diverted).open(&key()).is_err());
        let mut torn = definition;
        torn.sealed.truncate(40);
        assert!(Credential::new("c", &torn).open(&key()).is_err());
        torn.sealed = "é".repeat(60);
        assert!(Credential::new("c", &torn).open(&key()).is_err());
    }

    #[test]
    fn secrets_that_were_sealed_without_options_open() {
        let definition = s3(Some("s3://b/x")).unwrap();
        let owner = Owner {
            name: "c",
            kind: "s3",
            place: Some("s3://b/x"),
            options: &definition.options,
        };
        // As a server of before sealed them.
        let secrets = BTreeMap::from([("secret".to_owned(), "hush-hush".to_owned())]);
        let sealed = key().seal_in(&owner.older_context(), &secrets).unwrap();
        let older = CredentialDefinition {
            sealed,
            ..definition
        };
        let opened = Credential::new("c", &older).open(&key()).unwrap();
        assert_eq!(opened["secret"], "hush-hush");
    }

    #[test]
    fn equal_secrets_are_sealed_differently() {
        assert_ne!(s3(None).unwrap().sealed, s3(None).unwrap().sealed);
    }

    #[test]
    fn scopes_and_keys_are_checked() {
        assert_eq!(s3(Some("gs://b/")).unwrap_err().sqlstate(), "22023");
        assert_eq!(s3(Some("no url")).unwrap_err().sqlstate(), "22023");
        let error = CredentialKey::new("short").unwrap_err();
        assert_eq!(error.sqlstate(), "22023");
        assert!(!error.to_string().contains("\"short\""));
        let none = CredentialDefinition::new("c", None, BTreeMap::new(), &key()).unwrap_err();
        assert!(none.to_string().contains("\"type\""));
    }
}
