//! Reading a request's body: whole, within the limit, and decompressed where a client compressed it.

use std::io::Read;
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, header};
use http_body_util::{BodyExt, LengthLimitError, Limited};
use hyper::body::{Body, Incoming};

/// How much of an unwanted body is read, and for how long.
const DISCARD_LIMIT: usize = 32 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// Why a body could not be read.
#[derive(Debug, thiserror::Error)]
pub enum BodyError {
    /// Larger than the setting allows.
    #[error("the request body is larger than {limit} bytes; raise fleetgate.max_request_bytes if that is meant")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// A `content-encoding` that is not understood.
    #[error("the request's content-encoding {0:?} is not understood; send it plain, gzip or zstd")]
    UnknownEncoding(String),
    /// The compressed bytes are damaged.
    #[error("the request body is no valid {encoding}: {source}")]
    Damaged {
        /// The encoding that was announced.
        encoding: &'static str,
        /// What the decoder says.
        source: std::io::Error,
    },
    /// The client went away in mid-body.
    #[error("the connection ended before the request body did: {0}")]
    Cut(hyper::Error),
}

/// Reads a body whole. A `content-encoding` is undone and its header removed (Codex compresses with zstd, some builds of
/// Claude Code with gzip): the model's name stands inside.
///
/// # Errors
/// When it is too large, damaged, or ends early.
pub async fn read(headers: &mut HeaderMap, body: Incoming, limit: usize) -> Result<Bytes, BodyError> {
    if body.size_hint().lower() > limit as u64 {
        discard(headers, body).await;
        return Err(BodyError::TooLarge { limit });
    }
    let bytes = match Limited::new(body, limit).collect().await {
        Ok(collected) => collected.to_bytes(),
        Err(error) if error.is::<LengthLimitError>() => return Err(BodyError::TooLarge { limit }),
        Err(error) => match error.downcast::<hyper::Error>() {
            Ok(error) => return Err(BodyError::Cut(*error)),
            Err(_) => return Err(BodyError::TooLarge { limit }),
        },
    };
    let Some(encoding) = headers.remove(header::CONTENT_ENCODING) else { return Ok(bytes) };
    match encoding.as_bytes().to_ascii_lowercase().as_slice() {
        b"identity" => Ok(bytes),
        b"gzip" => decode("gzip", flate2::read::MultiGzDecoder::new(&bytes[..]), limit),
        b"zstd" => {
            let damaged = |source| BodyError::Damaged { encoding: "zstd", source };
            decode("zstd", zstd::stream::read::Decoder::new(&bytes[..]).map_err(damaged)?, limit)
        }
        other => Err(BodyError::UnknownEncoding(String::from_utf8_lossy(other).into_owned())),
    }
}

/// Reads a body that nobody wants and throws it away, within bounds: answered while it still sends, a client meets a reset
/// connection and may never see the refusal. Who waits for "100 Continue" has sent nothing and is not told to.
pub async fn discard(headers: &HeaderMap, mut body: Incoming) {
    if headers.contains_key(header::EXPECT) {
        return;
    }
    let reading = async {
        let mut size = 0;
        while let Some(Ok(frame)) = body.frame().await {
            size += frame.data_ref().map_or(0, Bytes::len);
            if size > DISCARD_LIMIT {
                break;
            }
        }
    };
    let _enough = tokio::time::timeout(DISCARD_TIME, reading).await;
}

/// The limit holds for the decompressed size too: a few kilobytes can unpack to gigabytes.
fn decode(encoding: &'static str, reader: impl Read, limit: usize) -> Result<Bytes, BodyError> {
    let mut plain = Vec::new();
    let taken = reader.take(limit as u64 + 1).read_to_end(&mut plain);
    match taken {
        Err(source) => Err(BodyError::Damaged { encoding, source }),
        Ok(length) if length > limit => Err(BodyError::TooLarge { limit }),
        Ok(_) => Ok(Bytes::from(plain)),
    }
}
