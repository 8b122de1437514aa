//! What a Delta table promises of its rows: columns with defaults and generated values, partitions, checks, properties.
//!
//! A definition flows in and becomes the metadata and protocol actions of a commit; those of a version flow out as the
//! same definition. Everything is kept where the format has a place for it, so that other engines read it. Expressions
//! are SQL texts here: nothing parses them.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use datafusion::arrow::datatypes::{DataType, Field, FieldRef, Schema, SchemaRef};
use deltalake::kernel::engine::arrow_conversion::TryIntoKernel as _;
use deltalake::kernel::{Action, EagerSnapshot, Metadata, Protocol, StructType, new_metadata};
use serde_json::{Value, json};

use crate::error::{ColumnFailure, Error, Result};
use crate::tables::enum_mark::{self, EnumTypes};
use crate::tables::json_mark::JsonKind;
use crate::tables::keys::KEY_PREFIX;
use crate::tables::references::REFERENCE_PREFIX;
use crate::tables::time_columns::{log_marks_of, shown_columns, stored_columns};
use crate::tables::type_names::type_name;

/// Where columns keep the text of their default.
const DEFAULT_KEY: &str = "CURRENT_DEFAULT";
/// Where columns keep the text of the expression that makes their values.
const GENERATED_KEY: &str = "delta.generationExpression";
/// Where identity columns keep their kind and the name of their numbers.
const IDENTITY_KEY: &str = "auspex.identity";
/// What the names of properties with checks start with.
const CHECK_PREFIX: &str = "delta.constraints.";
/// The property of tables that keep the changes of their rows.
pub(crate) const CHANGE_DATA_FEED: &str = "delta.enableChangeDataFeed";
const APPEND_ONLY: &str = "delta.appendOnly";

/// How an identity column is declared.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum IdentityKind {
    /// Statements may give no values of their own.
    Always,
    /// They may.
    ByDefault,
    /// As `SERIAL`: to clients a column whose default takes a sequence's numbers.
    Serial,
}

/// An identity column: what is left out gets a number that no other row has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Identity {
    /// How it is declared.
    pub kind: IdentityKind,
    /// The name of the numbers, which a rename of the column keeps.
    pub sequence: String,
    /// The first number, at which they begin anew.
    pub start: i64,
    /// The first number since they were last changed.
    pub origin: i64,
    /// From each number to the next.
    pub increment: i64,
}

impl Identity {
    /// Whether statements may give no values of their own.
    pub fn is_always(&self) -> bool {
        self.kind == IdentityKind::Always
    }

    /// Whether clients are to see a default in its place.
    pub fn is_serial(&self) -> bool {
        self.kind == IdentityKind::Serial
    }

    /// The least and the greatest number for a column of a type: those of the type, of the sign of the steps unless they
    /// begin elsewhere. `None`: the type is none of whole numbers.
    pub fn bounds(&self, data_type: &DataType) -> Option<(i64, i64)> {
        let (least, greatest) = match data_type {
            DataType::Int16 => (i64::from(i16::MIN), i64::from(i16::MAX)),
            DataType::Int32 => (i64::from(i32::MIN), i64::from(i32::MAX)),
            DataType::Int64 => (i64::MIN, i64::MAX),
            _ => return None,
        };
        Some(match self.increment > 0 {
            true => (self.start.min(self.origin).min(1), greatest),
            false => (least, self.start.max(self.origin).max(-1)),
        })
    }

    /// The number of the row that is the `count`th to get one, from 1. Error: `IdentityExhausted`.
    pub fn number(&self, count: i64) -> Result<i64> {
        let steps = count.checked_sub(1);
        let far = steps.and_then(|steps| steps.checked_mul(self.increment));
        let number = far.and_then(|far| self.origin.checked_add(far));
        number.ok_or_else(|| Error::IdentityExhausted {
            column: self.sequence.clone(),
        })
    }
}

/// The definition of a table as one version of its log has it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TableShape {
    /// The columns in order; their metadata holds defaults and generated values.
    schema: SchemaRef,
    /// The columns whose values divide the files, in order.
    pub partition_columns: Vec<String>,
    properties: BTreeMap<String, String>,
}

impl TableShape {
    /// A table with these columns and nothing else.
    pub fn new(schema: &Schema) -> Self {
        Self {
            schema: Arc::new(Schema::new(schema.fields().clone())),
            partition_columns: vec![],
            properties: BTreeMap::new(),
        }
    }

    pub(crate) fn of(snapshot: &EagerSnapshot) -> Self {
        let properties = snapshot.metadata().configuration().iter();
        Self {
            schema: shown_columns(&snapshot.arrow_schema()),
            partition_columns: snapshot.metadata().partition_columns().to_vec(),
            properties: properties.map(|(k, v)| (k.clone(), v.clone())).collect(),
        }
    }

    /// The same with the enums of its columns as they are now.
    pub(crate) fn with_types(self, types: &EnumTypes) -> Self {
        Self {
            schema: types.of_now(&self.schema),
            ..self
        }
    }

    /// The columns as rows have them, with the marks of their types.
    pub fn schema(&self) -> SchemaRef {
        super::delta_files::without_notes(&self.schema)
    }

    /// The columns as rows have them, without marks.
    pub(crate) fn row_schema(&self) -> SchemaRef {
        super::delta_files::without_metadata(&self.schema)
    }

    /// The columns.
    pub fn columns(&self) -> &[FieldRef] {
        self.schema.fields()
    }

    /// The place of a column, whose name is compared to the letter.
    pub fn position(&self, column: &str) -> Option<usize> {
        self.schema.index_of(column).ok()
    }

    /// The text of a column's default.
    pub fn default_of(&self, column: &Field) -> Option<String> {
        column.metadata().get(DEFAULT_KEY).cloned()
    }

    /// The text of the expression that makes a column's values.
    pub fn generated_of(&self, column: &Field) -> Option<String> {
        column.metadata().get(GENERATED_KEY).cloned()
    }

    /// How the numbers of an identity column are given.
    pub fn identity_of(&self, column: &Field) -> Option<Identity> {
        let (kind, sequence) = column.metadata().get(IDENTITY_KEY)?.split_once(':')?;
        // `always`, or with a start and steps of its own `always,10,5`, or going on elsewhere `always,10,5,42`.
        let mut parts = kind.split(',');
        let kind = match parts.next()? {
            "always" => IdentityKind::Always,
            "serial" => IdentityKind::Serial,
            _ => IdentityKind::ByDefault,
        };
        let mut number = || parts.next().and_then(|digits| digits.parse().ok());
        let start = number().unwrap_or(1);
        Some(Identity {
            kind,
            sequence: sequence.to_owned(),
            start,
            increment: number().unwrap_or(1),
            origin: number().unwrap_or(start),
        })
    }

    /// Makes a column an identity column.
    pub fn set_identity(&mut self, idx: usize, identity: &Identity) {
        let kind = match identity.kind {
            IdentityKind::Always => "always",
            IdentityKind::ByDefault => "default",
            IdentityKind::Serial => "serial",
        };
        let steps = match (identity.start, identity.increment, identity.origin) {
            (1, 1, 1) => String::new(),
            (start, increment, origin) if origin == start => format!(",{start},{increment}"),
            (start, increment, origin) => format!(",{start},{increment},{origin}"),
        };
        let note = format!("{kind}{steps}:{}", identity.sequence);
        self.set_note(idx, IDENTITY_KEY, Some(&note));
    }

    /// Makes an identity column one like any other.
    pub fn drop_identity(&mut self, idx: usize) {
        self.set_note(idx, IDENTITY_KEY, None);
    }

    /// Gives an identity column numbers that begin anew, under a name that none had; whether it is one.
    pub fn restart_identity(&mut self, idx: usize) -> bool {
        let column = Arc::clone(&self.schema.fields()[idx]);
        let Some(identity) = self.identity_of(&column) else {
            return false;
        };
        let sequence = format!("{}.{}", column.name(), uuid::Uuid::new_v4());
        let anew = Identity {
            sequence,
            origin: identity.start,
            ..identity
        };
        self.set_identity(idx, &anew);
        true
    }

    /// Lets the numbers of all identity columns begin anew; whether there are such columns.
    pub(crate) fn restart_identities(&mut self) -> bool {
        let mut is_changed = false;
        for idx in 0..self.schema.fields().len() {
            is_changed |= self.restart_identity(idx);
        }
        is_changed
    }

    /// The checks by name, with their texts.
    pub fn checks(&self) -> BTreeMap<String, String> {
        let check = |(key, text): (&String, &String)| {
            Some((key.strip_prefix(CHECK_PREFIX)?.to_owned(), text.clone()))
        };
        self.properties.iter().filter_map(check).collect()
    }

    /// All properties, those that hold constraints too.
    pub(crate) fn all_properties(&self) -> &BTreeMap<String, String> {
        &self.properties
    }

    /// The properties that are not constraints.
    pub fn properties(&self) -> BTreeMap<String, String> {
        let constraints = [CHECK_PREFIX, KEY_PREFIX, REFERENCE_PREFIX];
        let is_plain = |(key, _): &(&String, &String)| {
            !constraints.iter().any(|prefix| key.starts_with(prefix))
        };
        let properties = self.properties.iter().filter(is_plain);
        properties.map(|(k, v)| (k.clone(), v.clone())).collect()
    }

    /// Whether each change of rows is kept for `table_changes`.
    pub fn keeps_changes(&self) -> bool {
        self.is_on(CHANGE_DATA_FEED)
    }

    /// Whether rows may only be added.
    pub(crate) fn only_appends(&self) -> bool {
        self.is_on(APPEND_ONLY)
    }

    fn is_on(&self, property: &str) -> bool {
        let value = self.properties.get(property);
        value.is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }

    /// Sets a property.
    pub fn set_property(&mut self, name: &str, value: &str) {
        self.properties.insert(name.to_owned(), value.to_owned());
    }

    /// Removes a property; whether there was one.
    pub fn unset_property(&mut self, name: &str) -> bool {
        self.properties.remove(name).is_some()
    }

    /// Adds a check; the name must be free.
    pub fn add_check(&mut self, name: &str, text: &str) {
        self.set_property(&format!("{CHECK_PREFIX}{name}"), text);
    }

    /// Removes a check; whether there was one.
    pub fn drop_check(&mut self, name: &str) -> bool {
        self.unset_property(&format!("{CHECK_PREFIX}{name}"))
    }

    /// Sets or removes a column's default.
    pub fn set_default(&mut self, idx: usize, text: Option<&str>) {
        self.set_note(idx, DEFAULT_KEY, text);
    }

    /// Makes a column's values come from an expression, or no more.
    pub fn set_generated(&mut self, idx: usize, text: Option<&str>) {
        self.set_note(idx, GENERATED_KEY, text);
    }

    pub(crate) fn set_note(&mut self, idx: usize, key: &str, text: Option<&str>) {
        self.change(idx, |field| {
            let mut notes = field.metadata().clone();
            match text {
                Some(text) => notes.insert(key.to_owned(), text.to_owned()),
                None => notes.remove(key),
            };
            field.with_metadata(notes)
        });
    }

    /// Allows or forbids NULL in a column.
    pub fn set_nullable(&mut self, idx: usize, nullable: bool) {
        self.change(idx, |field| field.with_nullable(nullable));
    }

    /// Gives a column another name.
    pub fn rename(&mut self, idx: usize, name: &str) {
        let old = self.schema.field(idx).name().clone();
        self.change(idx, |field| field.with_name(name));
        for partition in &mut self.partition_columns {
            if *partition == old {
                name.clone_into(partition);
            }
        }
        self.rename_in_keys(&old, name);
        self.rename_in_references(&old, name);
    }

    /// Gives a column another type, that of a field of `stored_schema`.
    pub fn set_type(&mut self, idx: usize, declared: &Field) {
        self.change(idx, |field| {
            let mut notes = field.metadata().clone();
            let [name, kind] = JsonKind::KEYS;
            notes.retain(|key, _| ![name, kind, enum_mark::KEY].contains(&key.as_str()));
            notes.extend(log_marks_of(declared));
            field
                .with_data_type(declared.data_type().clone())
                .with_metadata(notes)
        });
    }

    fn change(&mut self, idx: usize, change: impl FnOnce(Field) -> Field) {
        let mut fields = self.schema.fields().to_vec();
        if let Some(field) = fields.get_mut(idx) {
            *field = Arc::new(change(field.as_ref().clone()));
        }
        self.schema = Arc::new(Schema::new(fields));
    }

    /// Adds a column behind the others. Error: `DuplicateColumn`.
    pub fn add_column(&mut self, field: Field) -> Result<()> {
        let mut fields = self.schema.fields().to_vec();
        let lower = field.name().to_lowercase();
        if fields.iter().any(|old| old.name().to_lowercase() == lower) {
            return Err(Error::DuplicateColumn {
                column: field.name().clone(),
            });
        }
        fields.push(Arc::new(field));
        self.schema = Arc::new(Schema::new(fields));
        Ok(())
    }

    /// Removes a column.
    pub fn drop_column(&mut self, idx: usize) {
        let mut fields = self.schema.fields().to_vec();
        fields.remove(idx);
        self.schema = Arc::new(Schema::new(fields));
    }

    /// Fails for what the engine cannot write.
    ///
    /// Errors: `Column` for a partition column of a type whose values have no text form, `NoTableColumns`.
    pub(crate) fn check(&self) -> Result<()> {
        let is_partition = |field: &&FieldRef| self.partition_columns.contains(field.name());
        let partitions = self.schema.fields().iter().filter(is_partition);
        for field in partitions {
            let data_type = field.data_type();
            if data_type.is_nested() || *data_type == DataType::Binary {
                return Err(Error::from(ColumnFailure::Partition {
                    column: field.name().clone(),
                    data_type: type_name(data_type),
                }));
            }
        }
        match self.schema.fields().len() > self.partition_columns.len() {
            true => Ok(()),
            false => Err(Error::NoTableColumns),
        }
    }

    /// The actions that make a table of this definition: its protocol and its metadata.
    pub(crate) fn creating(&self) -> Result<(Protocol, Metadata)> {
        self.check()?;
        let metadata = new_metadata(&self.kernel()?, &self.partition_columns, &self.properties)
            .map_err(deltalake::DeltaTableError::from)?;
        Ok((
            self.protocol(1, 2, BTreeSet::new(), BTreeSet::new())?,
            metadata,
        ))
    }

    /// The actions that turn the table of a snapshot into one of this definition.
    pub(crate) fn changing(&self, snapshot: &EagerSnapshot) -> Result<Vec<Action>> {
        self.check()?;
        let mut metadata = serde_json::to_value(snapshot.metadata()).map_err(corrupt)?;
        let schema = serde_json::to_string(&self.kernel()?).map_err(corrupt)?;
        metadata["schemaString"] = Value::String(schema);
        metadata["partitionColumns"] = json!(self.partition_columns);
        metadata["configuration"] = json!(self.properties);
        let metadata: Metadata = serde_json::from_value(metadata).map_err(corrupt)?;
        let old = snapshot.protocol();
        let names = |features: Option<&[_]>| {
            let features = features.unwrap_or_default().iter();
            features
                .map(ToString::to_string)
                .collect::<BTreeSet<String>>()
        };
        let protocol = self.protocol(
            old.min_reader_version(),
            old.min_writer_version(),
            names(old.reader_features()),
            names(old.writer_features()),
        )?;
        let mut actions = Vec::new();
        if protocol != *old {
            actions.push(Action::Protocol(protocol));
        }
        actions.push(Action::Metadata(metadata));
        Ok(actions)
    }

    fn kernel(&self) -> Result<StructType> {
        let schema = stored_columns(&self.schema);
        schema.as_ref().try_into_kernel().map_err(Error::Arrow)
    }

    /// The lowest protocol from the given one on that has what this definition uses.
    fn protocol(
        &self,
        mut reader: i32,
        mut writer: i32,
        mut reader_features: BTreeSet<String>,
        mut writer_features: BTreeSet<String>,
    ) -> Result<Protocol> {
        let mut used = BTreeSet::new();
        let fields = self.schema.fields().iter();
        let generates = fields
            .clone()
            .any(|field| self.generated_of(field).is_some());
        for (is_used, feature, version) in [
            (self.is_on(APPEND_ONLY), "appendOnly", 2),
            (!self.checks().is_empty(), "checkConstraints", 3),
            (generates, "generatedColumns", 4),
            (self.keeps_changes(), "changeDataFeed", 4),
        ] {
            if is_used {
                used.insert(feature.to_owned());
                writer = writer.max(version);
            }
        }
        let local_times = fields
            .clone()
            .any(|field| has_local_time(field.data_type()));
        if local_times || writer >= 7 {
            // Versions below 7 imply what they can; from 7 on each feature is named.
            (reader, writer) = (if local_times { 3 } else { reader }, 7);
            writer_features.extend(used);
        }
        if local_times {
            reader_features.insert("timestampNtz".into());
            writer_features.insert("timestampNtz".into());
        }
        let mut protocol = json!({ "minReaderVersion": reader, "minWriterVersion": writer });
        if writer >= 7 {
            protocol["writerFeatures"] = json!(writer_features);
        }
        if reader >= 3 {
            protocol["readerFeatures"] = json!(reader_features);
        }
        serde_json::from_value(protocol).map_err(corrupt)
    }
}

/// Whether a type holds times without a zone, which older readers take for instants.
fn has_local_time(data_type: &DataType) -> bool {
    match data_type {
        DataType::Timestamp(_, None) => true,
        DataType::List(item) | DataType::Map(item, _) => has_local_time(item.data_type()),
        DataType::Struct(fields) => fields.iter().any(|field| has_local_time(field.data_type())),
        _ => false,
    }
}

fn corrupt(error: serde_json::Error) -> Error {
    Error::Internal {
        what: format!("a table's metadata has no JSON form: {error}"),
    }
}
