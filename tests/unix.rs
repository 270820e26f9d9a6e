//! Unix sockets, where they differ from TCP.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "in a test a panic is the report")]

use std::{
    io::{IoSlice, Read, Write},
    os::{fd::AsRawFd, unix::net::UnixStream},
};

use common::{Daemon, PATIENCE, eventually, frame};
use nix::sys::socket::{ControlMessage, MsgFlags, recv, sendmsg};

mod common;

/// Row 45 of the fault table. A read ends where bytes come with a descriptor (unix(7)), with more behind it: nobody
/// will tell of that again.
#[test]
fn what_is_behind_a_descriptor_that_was_sent_along_is_read() {
    let path = std::env::temp_dir().join(format!("resound-rights-{}", std::process::id()));
    let listen = format!("frames+unix://{}", path.display());
    let daemon = Daemon::start(&[&listen], &[]);
    for sends in 2..6 {
        let mut stream = UnixStream::connect(&path).unwrap();
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        // All of it is there before the daemon wakes up, so there is one event.
        daemon.pause();
        for index in 0..sends {
            let bytes = frame(format!("frame {index}").as_bytes());
            if index % 2 == 1 {
                stream.write_all(&bytes).unwrap();
                continue;
            }
            let descriptors = [stream.as_raw_fd()];
            let rights = [ControlMessage::ScmRights(&descriptors)];
            let bytes = [IoSlice::new(&bytes)];
            sendmsg::<()>(stream.as_raw_fd(), &bytes, &rights, MsgFlags::empty(), None).unwrap();
        }
        daemon.resume();
        // To read a reply would wake the daemon up again, and hide what it has missed.
        let all = (0..sends).map(|index| frame(format!("frame {index}").as_bytes()).len()).sum();
        let mut seen = vec![0; all];
        eventually("everything comes back to a peer that does not read", || {
            recv(stream.as_raw_fd(), &mut seen, MsgFlags::MSG_PEEK).unwrap() == all
        });
        for index in 0..sends {
            let expected = frame(format!("frame {index}").as_bytes());
            let mut back = vec![0; expected.len()];
            stream.read_exact(&mut back).unwrap();
            assert_eq!(back, expected, "of {sends}");
        }
    }
}
