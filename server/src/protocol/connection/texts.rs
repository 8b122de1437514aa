//! The encoding of a connection's client.
//!
//! In: the setting; out: a socket that converts texts, and names of columns that the client can read. The setting may change with
//! any statement, and with the end of a block.

use std::io;
use std::sync::Arc;

use auspex_planner::ReturnedCheck;
use bytes::BytesMut;
use pgwire::api::results::FieldFormat;
use pgwire::messages::PgWireBackendMessage;

use super::{Connection, Interruption};
use crate::protocol::client_encoding::{ClientEncoding, Untranslatable};
use crate::protocol::socket::Stream;
use crate::protocol::types::{RowEncoder, TextForms, WireColumn, row_description, wire_columns_as};
use crate::sqlstate::Failure;

const SETTING: &str = "client_encoding";

impl<S: Stream> Connection<S> {
    /// From now on texts are converted as the setting has it, whose value it returns.
    pub(super) fn adopt_encoding(&mut self) -> String {
        let name = self.session.settings().get(SETTING).unwrap_or_default();
        self.socket.use_encoding(ClientEncoding::of(&name));
        name
    }

    /// The same where the client was not told of it, as behind a function that changes settings.
    pub(super) async fn follow_encoding(&mut self) -> io::Result<()> {
        let name = self.session.settings().get(SETTING);
        match self.reported.get(SETTING) == name.as_ref() {
            true => Ok(()),
            false => self.report_parameters().await,
        }
    }

    /// Tells the columns of rows. Error: a name that the client's encoding lacks.
    pub(in crate::protocol) async fn describe_rows(
        &mut self,
        columns: &Arc<[WireColumn]>,
        formats: &[FieldFormat],
    ) -> Result<(), Interruption> {
        if let Some(encoding) = self.socket.encoding() {
            check_names(encoding, columns).map_err(Failure::from)?;
        }
        let description = row_description(columns, formats);
        let message = PgWireBackendMessage::RowDescription(description);
        Ok(self.socket.feed(message).await?)
    }

    /// What must hold of rows that a change returns: the client's encoding has their characters, and those of their names. Else
    /// it would be told of a failure though the change is committed.
    pub(super) fn returned_check(&self) -> Option<ReturnedCheck> {
        let encoding = self.socket.encoding()?;
        let (nested, forms) = (self.nested(), TextForms::of(&self.session));
        Some(ReturnedCheck::new(move |rows| {
            // What cannot be sent for another reason is found when it is.
            let Ok(columns) = wire_columns_as(&rows.schema(), nested) else {
                return Ok(());
            };
            let formats = vec![FieldFormat::Text; columns.len()];
            let Ok(encoder) = RowEncoder::try_new(rows, &columns, &formats, forms) else {
                return Ok(());
            };
            let mut row = BytesMut::new();
            let checked = check_names(encoding, &columns).and_then(|()| {
                (0..encoder.n_rows()).try_for_each(|idx| {
                    row.clear();
                    encoder.put_row(idx, &mut row);
                    encoding.row(&row, encoder.columns()).map(drop)
                })
            });
            checked.map_err(|wrong| (wrong.sqlstate(), wrong.to_string()))
        }))
    }
}

/// Fails for a name that an encoding lacks.
fn check_names(encoding: ClientEncoding, columns: &[WireColumn]) -> Result<(), Untranslatable> {
    let mut names = columns.iter().map(|column| &column.name);
    names.try_for_each(|name| encoding.encode(name, &mut Vec::new()))
}
