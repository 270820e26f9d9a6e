//! hyper on one thread, HTTP/1.1: answers with the body of the request.

#![forbid(unsafe_code)]

use std::io;

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

/// The whole body is collected, so that the answer has a length.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, hyper::Error> {
    let body = request.into_body().collect().await?.to_bytes();
    Ok(Response::new(Full::new(body)))
}

async fn serve(stream: TcpStream) -> io::Result<()> {
    // Without it hyper writes the answer to each pipelined request by itself.
    let mut builder = http1::Builder::new();
    builder.pipeline_flush(true);
    let connection = builder.serve_connection(TokioIo::new(stream), service_fn(echo));
    connection.await.map_err(io::Error::other)
}

fn main() -> io::Result<()> {
    resound_peers::on_one_thread(serve)
}
