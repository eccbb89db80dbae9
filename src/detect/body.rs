//! The body of a post: read within bounds, or discarded in such a way that the sender still gets the answer.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use futures::{Stream, StreamExt};
use tokio::sync::{Semaphore, SemaphorePermit};

/// Maximum size of a body in bytes; a message of Alertmanager is far smaller.
pub const MAX_BODY: usize = 4 * 1024 * 1024;
/// Maximum number of bytes of a refused body that are discarded before the connection is closed.
const MAX_DISCARDED: usize = 64 * 1024 * 1024;
/// How long a sender may take for a body.
const TIMEOUT: Duration = Duration::from_secs(20);

/// Unit in which room for bodies is reserved, in bytes.
const UNIT: usize = 1024;
/// Maximum size of a body that needs no reservation. As many as are taken at once fit.
const SMALL: usize = 64 * 1024;
/// Maximum size of all other bodies in memory: of 32 that are as large as they may be.
const MAX_BODIES: usize = 32 * MAX_BODY;

/// The memory for bodies. Small posts never wait; large ones wait for each other.
#[derive(Debug)]
pub struct Room {
    units: Semaphore,
}

impl Default for Room {
    fn default() -> Room {
        Room { units: Semaphore::new(MAX_BODIES / UNIT) }
    }
}

impl Room {
    /// Reserves room for a body until the permit is dropped; a small one needs none.
    ///
    /// # Errors
    /// When there is none for as long as a sender may take.
    pub async fn reserve(&self, size: usize) -> Result<Option<SemaphorePermit<'_>>, Untaken> {
        if size <= SMALL {
            return Ok(None);
        }
        let units = u32::try_from(size.div_ceil(UNIT)).map_err(|_| Untaken::TooLarge)?;
        let reserved = tokio::time::timeout(TIMEOUT, self.units.acquire_many(units)).await;
        reserved.ok().and_then(Result::ok).map(Some).ok_or(Untaken::TooMany)
    }
}

/// Why a body is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Untaken {
    /// It is larger than [`MAX_BODY`].
    TooLarge,
    /// It took longer than 20 seconds.
    TooSlow,
    /// There was no room for it for 20 seconds.
    TooMany,
    /// The connection broke, or the chunks are invalid.
    Broken,
}

/// A body that is being received.
pub struct Incoming {
    chunks: BodyDataStream,
    announced: Option<usize>,
    /// Whether the sender will send nothing more.
    quiet: bool,
}

impl Incoming {
    /// A body of which nothing is read yet.
    pub fn new(headers: &HeaderMap, body: Body) -> Incoming {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        // A sender with `Expect: 100-continue`, such as curl, sends nothing before the server reads.
        let quiet = headers.contains_key(header::EXPECT);
        Incoming { chunks: body.into_data_stream(), announced, quiet }
    }

    /// The size of the body that must be reckoned with, in bytes.
    pub fn size(&self) -> usize {
        self.announced.map_or(MAX_BODY, |length| length.min(MAX_BODY))
    }

    /// Reads the whole body.
    ///
    /// # Errors
    /// When it is too large, too slow or broken. A body whose announced length is too large is not read at all.
    pub async fn read(&mut self) -> Result<Vec<u8>, Untaken> {
        if self.announced.is_some_and(|length| length > MAX_BODY) {
            return Err(Untaken::TooLarge);
        }
        let whole = tokio::time::timeout(TIMEOUT, collect(&mut self.chunks, MAX_BODY)).await;
        // Reading has told the sender to send. After a timeout it is not waited for again.
        self.quiet = whole.is_err();
        whole.unwrap_or(Err(Untaken::TooSlow))
    }

    /// Receives and discards the rest. Most senders read the answer only after they have sent everything; closing the
    /// connection before that would lose the answer.
    pub async fn discard(mut self) {
        if self.quiet {
            return;
        }
        let rest = async {
            let mut length = 0;
            while let Some(Ok(chunk)) = self.chunks.next().await {
                length += chunk.len();
                if length > MAX_DISCARDED {
                    return;
                }
            }
        };
        // The answer follows in any case.
        let _late = tokio::time::timeout(TIMEOUT, rest).await;
    }
}

async fn collect<B: AsRef<[u8]>, E>(
    chunks: &mut (impl Stream<Item = Result<B, E>> + Unpin),
    limit: usize,
) -> Result<Vec<u8>, Untaken> {
    let mut whole = Vec::new();
    while let Some(chunk) = chunks.next().await {
        let chunk = chunk.map_err(|_| Untaken::Broken)?;
        if whole.len() + chunk.as_ref().len() > limit {
            return Err(Untaken::TooLarge);
        }
        whole.extend_from_slice(chunk.as_ref());
    }
    Ok(whole)
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn collected(chunks: &[Result<&str, ()>]) -> Result<String, Untaken> {
        let mut chunks = futures::stream::iter(chunks.to_vec());
        collect(&mut chunks, 4).await.map(|whole| String::from_utf8(whole).unwrap())
    }

    #[tokio::test]
    async fn chunks_are_put_together_up_to_the_limit() {
        assert_eq!(collected(&[Ok("ab"), Ok("cd")]).await.as_deref(), Ok("abcd"));
        assert_eq!(collected(&[Ok("ab"), Ok("cde")]).await, Err(Untaken::TooLarge));
        assert_eq!(collected(&[Ok("ab"), Err(())]).await, Err(Untaken::Broken));
    }

    #[tokio::test]
    async fn small_bodies_have_room_beside_large_ones() {
        let room = Room::default();
        let mut held = Vec::new();
        for size in std::iter::repeat_n(MAX_BODY, 32).chain(std::iter::repeat_n(2_000, 200)) {
            held.push(room.reserve(size).await.unwrap());
        }
        let waits = tokio::time::timeout(Duration::from_millis(5), room.reserve(MAX_BODY)).await;
        assert!(waits.is_err(), "another large one waits");
    }

    #[tokio::test]
    async fn an_announced_length_beyond_the_limit_is_not_read() {
        let announced = |length: usize| {
            let headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, length.into())]);
            Incoming::new(&headers, Body::from("ab"))
        };
        assert_eq!(announced(MAX_BODY + 1).read().await, Err(Untaken::TooLarge));
        assert_eq!(announced(2).read().await, Ok(b"ab".to_vec()));
    }
}
