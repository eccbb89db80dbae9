//! The body of a post: read within bounds, or let go in a way that lets the sender hear why.

use std::time::Duration;

use axum::body::{Body, BodyDataStream};
use axum::http::{HeaderMap, header};
use futures::{Stream, StreamExt};

/// Largest body that is read; a message of Alertmanager is far smaller.
pub const LIMIT: usize = 4 * 1024 * 1024;
/// How much of a refused body is let go by before the connection is simply closed.
const LET_GO: usize = 64 * 1024 * 1024;
/// How long a sender may take for a body.
const PATIENCE: Duration = Duration::from_secs(20);

/// Why a body is not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Untaken {
    /// It is larger than [`LIMIT`].
    TooLarge,
    /// It took longer than the sender has.
    TooSlow,
    /// It ended before its end, or its chunks make no sense.
    Broken,
}

/// A body on its way.
pub struct Incoming {
    chunks: BodyDataStream,
    announced: Option<usize>,
    /// Whether nothing comes that is worth waiting for.
    quiet: bool,
}

impl Incoming {
    /// Nothing of it is read yet.
    pub fn new(headers: &HeaderMap, body: Body) -> Incoming {
        let announced =
            headers.get(header::CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok());
        // Who expects our word first, as curl does, sends nothing before it.
        let quiet = headers.contains_key(header::EXPECT);
        Incoming { chunks: body.into_data_stream(), announced, quiet }
    }

    /// The whole body.
    ///
    /// # Errors
    /// When it is too large, which is known without reading if its length was announced, too slow or broken.
    pub async fn read(&mut self) -> Result<Vec<u8>, Untaken> {
        if self.announced.is_some_and(|length| length > LIMIT) {
            return Err(Untaken::TooLarge);
        }
        let whole = tokio::time::timeout(PATIENCE, collect(&mut self.chunks, LIMIT)).await;
        // Reading is our word, and who is too slow is not waited for again.
        self.quiet = whole.is_err();
        whole.unwrap_or(Err(Untaken::TooSlow))
    }

    /// Takes what is still coming and forgets it: most senders read the answer only once they have sent all, and
    /// closing before that resets the connection and loses the answer.
    pub async fn let_go(mut self) {
        if self.quiet {
            return;
        }
        let rest = async {
            let mut length = 0;
            while let Some(Ok(chunk)) = self.chunks.next().await {
                length += chunk.len();
                if length > LET_GO {
                    return;
                }
            }
        };
        // Late or not, the answer follows.
        let _late = tokio::time::timeout(PATIENCE, rest).await;
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
    async fn an_announced_length_beyond_the_limit_is_not_read() {
        let announced = |length: usize| {
            let headers = HeaderMap::from_iter([(header::CONTENT_LENGTH, length.into())]);
            Incoming::new(&headers, Body::from("ab"))
        };
        assert_eq!(announced(LIMIT + 1).read().await, Err(Untaken::TooLarge));
        assert_eq!(announced(2).read().await, Ok(b"ab".to_vec()));
    }
}
