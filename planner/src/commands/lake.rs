//! `CREATE` and `DROP` of credentials, external locations and catalogs.
//!
//! In: a syntax tree; out: one catalog entry. Secrets are sealed before they come here into an entry, and the text that
//! the catalog keeps of the statement has none.

use std::collections::BTreeMap;
use std::sync::Arc;

use auspex_sql::{CreateLakeObject, DropLakeObject, LakeObject, ModelOption, OptionValue};
use auspex_storage::{
    CatalogEntry, CatalogState, Change, CredentialDefinition, Definition,
    ExternalCatalogDefinition, Grants, LocationDefinition, Locations, ObjectKind,
};

use crate::error::{Error, Result, nearest};
use crate::session::Session;
use crate::statement_run::{Notice, StatementControl};

/// The query behind `SHOW CREDENTIALS` and its siblings.
pub(crate) fn show_query(object: LakeObject) -> &'static str {
    match object {
        LakeObject::Credential => "SELECT name, type, scope, options FROM ml.credentials",
        LakeObject::Location => "SELECT name, url, credential FROM ml.external_locations",
        LakeObject::Catalog => "SELECT name, type, options FROM ml.catalogs",
    }
}

fn kind_of(object: LakeObject) -> ObjectKind {
    match object {
        LakeObject::Credential => ObjectKind::Credential,
        LakeObject::Location => ObjectKind::Location,
        LakeObject::Catalog => ObjectKind::Catalog,
    }
}

/// `CREATE CREDENTIAL`, `CREATE EXTERNAL LOCATION`, `CREATE CATALOG`.
pub(super) async fn create(
    session: &Arc<Session>,
    create: &CreateLakeObject,
    control: &StatementControl,
) -> Result<String> {
    let tag = format!("CREATE {}", create.object.words());
    let kind = kind_of(create.object);
    let name = create.name.value.as_str();
    session
        .access()
        .check_superuser(&format!("create {kind}"))?;
    let old = session.engine.catalog.state().global(kind, name).cloned();
    if old.is_some() && create.if_not_exists {
        control.notify(Notice {
            sqlstate: "42710",
            ..Notice::plain(format!("{kind} \"{name}\" already exists, skipping"))
        });
        return Ok(tag);
    }
    let definition = define(session, create)?;
    let text = shown_text(create, &definition);
    let mut entry = match old {
        Some(old) if create.or_replace => old.as_ref().clone(),
        _ => CatalogEntry::new("", name, definition.clone()),
    };
    let granted = std::mem::take(entry.granted_mut());
    entry.definition = definition;
    *entry.granted_mut() = granted;
    let role = session.identity().current();
    let commit = session.engine.catalog.commit(&text, |state| {
        check_credential(state, &entry.definition)?;
        Ok(vec![Change::Put(role.own(state, &entry)?)])
    });
    commit.await?;
    Ok(tag)
}

fn define(session: &Session, create: &CreateLakeObject) -> Result<Definition> {
    let name = create.name.value.as_str();
    let stores = session.engine.warehouse.stores();
    Ok(match create.object {
        LakeObject::Credential => {
            let options = texts(&create.options)?;
            let key = stores.credential_key()?;
            let scope = create.url.as_deref();
            Definition::Credential(CredentialDefinition::new(name, scope, options, key)?)
        }
        LakeObject::Location => {
            let url = create.url.as_deref().ok_or_else(|| missing("URL 'url'"))?;
            Definition::Location(LocationDefinition {
                url: Locations::canonical(url)?,
                credential: create.credential.as_ref().map(|word| word.value.clone()),
                grants: Grants::new(),
            })
        }
        LakeObject::Catalog => {
            let kind = create.catalog_type.as_ref();
            let kind = kind.ok_or_else(|| missing("TYPE iceberg"))?;
            if !kind.value.eq_ignore_ascii_case("iceberg") {
                return Err(Error::unsupported(format!("catalog type {}", kind.value)));
            }
            let options = texts(&create.options)?;
            let definition = ExternalCatalogDefinition::new(name, options, stores)?;
            Definition::Catalog(definition)
        }
    })
}

fn missing(clause: &str) -> Error {
    Error::invalid("42601", format!("the clause {clause} is missing"), None)
}

/// The options of a statement as texts.
fn texts(options: &[ModelOption]) -> Result<BTreeMap<String, String>> {
    let text = |option: &ModelOption| {
        let name = option.name.value.clone();
        let value = match &option.value {
            OptionValue::String(text) => text.clone(),
            // A bare word is folded, which no secret survives.
            OptionValue::Name(text) if name == "type" => text.clone(),
            OptionValue::Bool(value) => value.to_string(),
            OptionValue::Integer(value) => value.to_string(),
            _ => {
                let message = format!("option \"{name}\" must be a string, a number or a boolean");
                let hint = "Write the value in single quotes.";
                return Err(Error::invalid("22023", message, Some(hint)));
            }
        };
        Ok((name, value))
    };
    options.iter().map(text).collect()
}

/// The statement as the catalog may keep it: what is sealed in the definition is `***` here.
fn shown_text(create: &CreateLakeObject, definition: &Definition) -> String {
    let quoted = |text: &str| format!("'{}'", text.replace('\'', "''"));
    let or_replace = if create.or_replace { "OR REPLACE " } else { "" };
    let name = create.name.value.replace('"', "\"\"");
    let mut text = format!("CREATE {or_replace}{} \"{name}\"", create.object.words());
    match definition {
        Definition::Credential(credential) => {
            if let Some(scope) = &credential.scope {
                text.push_str(&format!(" FOR {}", quoted(scope)));
            }
            text.push_str(&shown_options(create, &credential.options));
        }
        Definition::Catalog(catalog) => {
            text.push_str(" TYPE iceberg");
            text.push_str(&shown_options(create, &catalog.options));
        }
        Definition::Location(location) => {
            text.push_str(&format!(" URL {}", quoted(&location.url)));
            if let Some(credential) = &location.credential {
                let credential = credential.replace('"', "\"\"");
                text.push_str(&format!(" WITH (CREDENTIAL \"{credential}\")"));
            }
        }
        _ => {}
    }
    text
}

fn shown_options(create: &CreateLakeObject, plain: &BTreeMap<String, String>) -> String {
    let option = |option: &ModelOption| {
        let name = option.name.value.as_str();
        let value = match (&option.value, plain.get(name)) {
            (OptionValue::String(kind) | OptionValue::Name(kind), _) if name == "type" => kind,
            (_, Some(value)) => value,
            _ => "***",
        };
        format!("{name} = '{}'", value.replace('\'', "''"))
    };
    let options: Vec<String> = create.options.iter().map(option).collect();
    format!(" WITH ({})", options.join(", "))
}

/// The credential that a location names must exist.
fn check_credential(state: &CatalogState, definition: &Definition) -> auspex_storage::Result<()> {
    let Definition::Location(LocationDefinition {
        credential: Some(name),
        ..
    }) = definition
    else {
        return Ok(());
    };
    state.require_global(ObjectKind::Credential, name).map(drop)
}

/// `DROP CREDENTIAL`, `DROP EXTERNAL LOCATION`, `DROP CATALOG`.
pub(super) async fn drop_objects(
    session: &Arc<Session>,
    drop: &DropLakeObject,
    text: &str,
    control: &StatementControl,
) -> Result<String> {
    let kind = kind_of(drop.object);
    session.access().check_superuser(&format!("drop {kind}"))?;
    let state = session.engine.catalog.state();
    let mut changes = Vec::new();
    for name in &drop.names {
        match state.global(kind, &name.value) {
            Some(entry) => changes.push(Change::Drop {
                id: entry.id.clone(),
            }),
            None if drop.if_exists => {
                let message = format!("{kind} \"{}\" does not exist, skipping", name.value);
                control.notify(Notice::plain(message));
            }
            None => return Err(undefined(&state, drop.object, &name.value)),
        }
        if drop.object == LakeObject::Credential {
            refuse_used(&state, &name.value)?;
        }
    }
    let commit = session.engine.catalog.commit(text, |_| Ok(changes.clone()));
    commit.await?;
    Ok(format!("DROP {}", drop.object.words()))
}

/// A credential that a location names stays.
fn refuse_used(state: &CatalogState, credential: &str) -> Result<()> {
    let uses = |entry: &&Arc<CatalogEntry>| match &entry.definition {
        Definition::Location(location) => location.credential.as_deref() == Some(credential),
        _ => false,
    };
    let locations = state.globals(ObjectKind::Location).filter(uses);
    let dependents: Vec<String> = locations
        .map(|entry| format!("external location {}", entry.name))
        .collect();
    match dependents.is_empty() {
        true => Ok(()),
        false => Err(Error::invalid(
            "2BP01",
            format!(
                "cannot drop credential \"{credential}\" because {} depends on it",
                dependents.join(", ")
            ),
            Some("Drop the external location first."),
        )),
    }
}

fn undefined(state: &CatalogState, object: LakeObject, name: &str) -> Error {
    let names = state.globals(kind_of(object));
    let nearest = nearest(name, names.map(|entry| entry.name.as_str()));
    let kind = match object {
        LakeObject::Credential => "credential",
        LakeObject::Location => "external location",
        LakeObject::Catalog => "catalog",
    };
    Error::Undefined {
        kind,
        name: name.to_owned(),
        nearest,
        position: None,
    }
}
