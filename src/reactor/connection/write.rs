//! Writing until everything is taken or the kernel takes no more.

use std::io::{self, ErrorKind, IoSlice, Write};

use log::trace;

use crate::Token;

/// Writes `bytes` until all is taken or the kernel takes no more; how much it took.
pub(super) fn write(stream: &mut impl Write, token: Token, bytes: &[u8]) -> io::Result<usize> {
    until_taken(token, bytes.len(), |taken| stream.write(&bytes[taken..]))
}

/// As [`write`], `parts` in order; how much was taken, and how much there was.
pub(super) fn write_parts(
    stream: &mut impl Write,
    token: Token,
    parts: [&[u8]; 4],
) -> io::Result<(usize, usize)> {
    let mut with_bytes = parts.iter().filter(|part| !part.is_empty());
    if let (Some(only), None) = (with_bytes.next(), with_bytes.next()) {
        // Nearly always. The kernel takes one piece with less ado than a list of one.
        return Ok((write(stream, token, only)?, only.len()));
    }
    let all = parts.iter().map(|part| part.len()).sum();
    let taken = until_taken(token, all, |taken| stream.write_vectored(&behind(taken, parts)))?;
    Ok((taken, all))
}

/// Calls `write` with how much is `taken` until that is `all`, or until it would block.
///
/// Stopping only on `WouldBlock`, never on a short write, makes sure that a writable event will follow.
#[inline(always)]
fn until_taken(
    token: Token,
    all: usize,
    mut write: impl FnMut(usize) -> io::Result<usize>,
) -> io::Result<usize> {
    let mut taken = 0;
    while taken < all {
        match write(taken) {
            Ok(0) => return Err(ErrorKind::WriteZero.into()),
            Ok(bytes) => {
                trace!("{token}: wrote {bytes} B of {}", all - taken);
                taken += bytes;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                trace!("{token}: write would block with {} B left", all - taken);
                break;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(taken)
}

/// What of `parts` is behind the first `taken` bytes; slices that are done with are empty.
fn behind(mut taken: usize, parts: [&[u8]; 4]) -> [IoSlice<'_>; 4] {
    parts.map(|part| {
        let skipped = taken.min(part.len());
        taken -= skipped;
        IoSlice::new(&part[skipped..])
    })
}
