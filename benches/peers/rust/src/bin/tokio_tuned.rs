//! tokio-util's `LengthDelimitedCodec`, tuned: feeds every frame that is already there and flushes once.

#![forbid(unsafe_code)]

use std::io;

use bytes::Bytes;
use futures_util::{FutureExt, SinkExt, Stream, StreamExt};
use tokio::net::TcpStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// Bytes collected before the codec writes of its own accord.
const BATCH: usize = 256 << 10;

fn next_if_there<S: Stream + Unpin>(frames: &mut S) -> Option<S::Item> {
    frames.next().now_or_never().flatten()
}

async fn echo(stream: TcpStream) -> io::Result<()> {
    let codec = LengthDelimitedCodec::builder()
        .little_endian()
        .max_frame_length(resound_peers::FRAME_LIMIT)
        .new_codec();
    let mut frames = Framed::new(stream, codec);
    frames.set_backpressure_boundary(BATCH);
    while let Some(frame) = frames.next().await {
        frames.feed(frame?.freeze()).await?;
        while let Some(frame) = next_if_there(&mut frames) {
            frames.feed(frame?.freeze()).await?;
        }
        SinkExt::<Bytes>::flush(&mut frames).await?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    resound_peers::on_one_thread(echo)
}
