//! tokio-tungstenite on one thread: each message goes back. Feeds all that are there and flushes once.

#![forbid(unsafe_code)]

use std::io;

use futures_util::{FutureExt, SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

async fn echo(stream: TcpStream) -> io::Result<()> {
    let config = WebSocketConfig::default()
        .max_message_size(Some(resound_peers::FRAME_LIMIT))
        .max_frame_size(Some(resound_peers::FRAME_LIMIT));
    let mut messages = tokio_tungstenite::accept_async_with_config(stream, Some(config))
        .await
        .map_err(io::Error::other)?;
    while let Some(message) = messages.next().await {
        let mut next = Some(message);
        while let Some(message) = next {
            // A Close frame is answered by the library.
            if let message @ (Message::Text(_) | Message::Binary(_)) =
                message.map_err(io::Error::other)?
            {
                messages.feed(message).await.map_err(io::Error::other)?;
            }
            next = messages.next().now_or_never().flatten();
        }
        match messages.flush().await {
            Err(tokio_tungstenite::tungstenite::Error::ConnectionClosed) => return Ok(()),
            flushed => flushed.map_err(io::Error::other)?,
        }
    }
    Ok(())
}

fn main() -> io::Result<()> {
    resound_peers::on_one_thread(echo)
}
