//! Reading a request's body: whole, within the limit, and decompressed where a client compressed it.

use std::io::Read;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures_util::FutureExt;
use http::{HeaderMap, header};
use http_body_util::BodyExt;
use hyper::body::{Body, Incoming};

/// How much of an unwanted body is read, and for how long.
const DISCARD_LIMIT: usize = 32 * 1024 * 1024;
const DISCARD_TIME: Duration = Duration::from_secs(1);

/// The longest pause in a body: whoever sends nothing must not hold memory forever.
const SILENCE: Duration = Duration::from_secs(60);

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
    /// The client fell silent in mid-body.
    #[error("nothing more of the request body came for {} s", SILENCE.as_secs())]
    Silent,
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
    let bytes = collect(body, limit).await?;
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

/// Collects a body. One that came in one piece, as most do, is not copied.
async fn collect<B>(mut body: B, limit: usize) -> Result<Bytes, BodyError>
where
    B: Body<Data = Bytes, Error = hyper::Error> + Unpin,
{
    let mut first = Bytes::new();
    let mut whole = BytesMut::new();
    // Most bodies have come whole with their head, and say so: then no clock is asked.
    while !body.is_end_stream() {
        let next = match body.frame().now_or_never() {
            Some(next) => next,
            None => tokio::time::timeout(SILENCE, body.frame()).await.map_err(|_| BodyError::Silent)?,
        };
        let Some(frame) = next else { break };
        let Ok(data) = frame.map_err(BodyError::Cut)?.into_data() else { continue };
        if first.len() + whole.len() + data.len() > limit {
            return Err(BodyError::TooLarge { limit });
        }
        if first.is_empty() && whole.is_empty() {
            first = data;
            continue;
        }
        if whole.is_empty() {
            let expected = usize::try_from(body.size_hint().lower()).unwrap_or(0).min(limit);
            whole.reserve(first.len() + data.len() + expected);
            whole.extend_from_slice(&std::mem::take(&mut first));
        }
        whole.extend_from_slice(&data);
    }
    Ok(if whole.is_empty() { first } else { whole.freeze() })
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

#[cfg(test)]
mod tests {
    use std::collections::VecDeque;
    use std::pin::Pin;
    use std::task::{Context, Poll};

    use hyper::body::Frame;
    use tokio::time::Instant;

    use super::*;

    /// Gives these pieces, then ends or falls silent.
    struct Script {
        pieces: VecDeque<&'static [u8]>,
        ends: bool,
    }

    impl Body for Script {
        type Data = Bytes;
        type Error = hyper::Error;

        fn poll_frame(
            mut self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
            match self.pieces.pop_front() {
                Some(piece) => Poll::Ready(Some(Ok(Frame::data(Bytes::from_static(piece))))),
                None if self.ends => Poll::Ready(None),
                None => Poll::Pending,
            }
        }
    }

    async fn collected(pieces: &[&'static [u8]], ends: bool, limit: usize) -> Result<Bytes, BodyError> {
        collect(Script { pieces: pieces.iter().copied().collect(), ends }, limit).await
    }

    #[tokio::test]
    async fn a_body_is_whole_up_to_the_limit_whatever_its_pieces() {
        assert_eq!(collected(&[], true, 6).await.unwrap(), "");
        assert_eq!(collected(&[b"abcdef"], true, 6).await.unwrap(), "abcdef");
        assert_eq!(collected(&[b"ab", b"", b"cd", b"ef"], true, 6).await.unwrap(), "abcdef");
        assert!(matches!(collected(&[b"abcdefg"], true, 6).await, Err(BodyError::TooLarge { limit: 6 })));
        assert!(matches!(collected(&[b"abcd", b"efg"], true, 6).await, Err(BodyError::TooLarge { .. })));
    }

    #[tokio::test(start_paused = true)]
    async fn a_client_that_falls_silent_in_mid_body_is_not_waited_for_forever() {
        let began = Instant::now();
        assert!(matches!(collected(&[b"ab"], false, 6).await, Err(BodyError::Silent)));
        assert_eq!(began.elapsed().as_secs(), 60);
    }
}
