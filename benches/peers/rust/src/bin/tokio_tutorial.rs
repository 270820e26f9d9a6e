//! tokio-util's `LengthDelimitedCodec` as tutorials write it: one `send`, and so one write, per frame.

#![forbid(unsafe_code)]

use std::io;

use futures_util::{SinkExt, StreamExt};
use tokio::net::TcpStream;
use tokio_util::codec::{Framed, LengthDelimitedCodec};

async fn echo(stream: TcpStream) -> io::Result<()> {
    let codec = LengthDelimitedCodec::builder()
        .little_endian()
        .max_frame_length(resound_peers::FRAME_LIMIT)
        .new_codec();
    let mut frames = Framed::new(stream, codec);
    while let Some(frame) = frames.next().await {
        frames.send(frame?.freeze()).await?;
    }
    Ok(())
}

fn main() -> io::Result<()> {
    resound_peers::on_one_thread(echo)
}
