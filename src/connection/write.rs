//! Writing until everything is taken or the kernel takes no more.

use std::io::{self, ErrorKind, IoSlice, Write};

use log::trace;

use crate::Token;

/// Writes `parts` in order until all is taken or the kernel takes no more: how much it took, and how much there was.
///
/// Stopping only on `WouldBlock`, never on a short write, makes sure that a writable event will follow.
pub(super) fn write(
    stream: &mut impl Write,
    token: Token,
    parts: [&[u8]; 4],
) -> io::Result<(usize, usize)> {
    let all = parts.iter().map(|part| part.len()).sum();
    let mut taken = 0;
    while taken < all {
        let written = match parts {
            // Nearly always what is fresh is all there is.
            [[], [], [], only] => stream.write(&only[taken..]),
            _ => stream.write_vectored(&behind(taken, parts)),
        };
        match written {
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
    Ok((taken, all))
}

/// What of `parts` is behind the first `taken` bytes; slices that are done with are empty.
fn behind(mut taken: usize, parts: [&[u8]; 4]) -> [IoSlice<'_>; 4] {
    parts.map(|part| {
        let skipped = taken.min(part.len());
        taken -= skipped;
        IoSlice::new(&part[skipped..])
    })
}
