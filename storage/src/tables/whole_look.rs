//! Files that are looked at before their reader gets them.
//!
//! What a store gave for a whole file flows in, and flows out as it was, unless a look at it finds that the file is
//! damaged: then the error names the file. Files of the machine are not taken into memory for that.

use std::io::{BufReader, Cursor, Read, Seek, SeekFrom};

use futures::StreamExt as _;
use object_store::path::Path;
use object_store::{Error as StoreError, GetResult, GetResultPayload, Result as StoreResult};

use crate::error::Error;
use crate::tables::located::Place;

/// What a file is while it is looked at.
pub(super) trait Content: Read + Seek {}

impl<T: Read + Seek> Content for T {}

/// What a store gave for a whole file, if a look at it finds no fault; it is told how many bytes the file has.
pub(super) async fn looked(
    place: &Place,
    path: &Path,
    got: GetResult,
    look: impl FnOnce(&mut dyn Content, u64) -> Result<(), String> + Send + 'static,
) -> StoreResult<GetResult> {
    let (meta, range, attributes) = (got.meta.clone(), got.range.clone(), got.attributes.clone());
    let (payload, found) = match got.payload {
        GetResultPayload::File(mut file, name) => {
            let look = move || {
                let length = file.metadata()?.len();
                let found = look(&mut BufReader::new(&file), length);
                // The reader begins where the file stands.
                file.seek(SeekFrom::Start(0))?;
                std::io::Result::Ok((GetResultPayload::File(file, name), found))
            };
            let looked = tokio::task::spawn_blocking(look).await;
            looked.map_err(failed)?.map_err(failed)?
        }
        GetResultPayload::Stream(_) => {
            let bytes = got.bytes().await?;
            let length = bytes.len() as u64;
            let content = bytes.clone();
            let look = move || look(&mut Cursor::new(content), length);
            let found = tokio::task::spawn_blocking(look).await.map_err(failed)?;
            let whole = futures::stream::once(async move { Ok(bytes) }).boxed();
            (GetResultPayload::Stream(whole), found)
        }
    };
    match found {
        Err(reason) => Err(damaged(place, path, reason)),
        Ok(()) => Ok(GetResult {
            payload,
            meta,
            range,
            attributes,
        }),
    }
}

/// The error of a file that is damaged.
pub(super) fn damaged(place: &Place, path: &Path, reason: String) -> StoreError {
    failed(Error::BadFile {
        file: place.url(path.as_ref()),
        format: place.format,
        reason,
    })
}

fn failed(error: impl std::error::Error + Send + Sync + 'static) -> StoreError {
    StoreError::Generic {
        store: "file",
        source: Box::new(error),
    }
}
