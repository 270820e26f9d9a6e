//! The end of the daemon: with those who never pause, with those who never finish, and in haste.

use std::{
    io::{Read, Write},
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use common::{Daemon, eventually, frame, ping};
use rustix::process::Signal;

mod common;

#[test]
fn a_sender_that_never_pauses_is_ended_in_good_order_within_the_grace_time() {
    let mut daemon = Daemon::frames(&["--grace", "2s"]);
    let mut stream = daemon.connect();
    let mut writer = stream.try_clone().unwrap();
    // Each write ends inside a frame: it is never between two when all that came is read.
    let flood = frame(&vec![7; 8 << 20]);
    let (begin, end) = flood.split_at(flood.len() / 2);
    let end_and_begin = [end, begin].concat();
    let (runs, is_over) = (AtomicBool::new(false), AtomicBool::new(false));
    let received = thread::scope(|scope| {
        scope.spawn(|| {
            // It goes on until RST: FIN does not stop it.
            writer.write_all(begin).unwrap();
            while !is_over.load(Ordering::Relaxed) {
                if writer.write_all(&end_and_begin).is_err() {
                    break;
                }
            }
        });
        let reader = scope.spawn(|| {
            let mut buffer = vec![0; 1 << 16];
            let mut received = 0;
            loop {
                match stream.read(&mut buffer).expect("FIN comes first, then RST") {
                    0 => break,
                    count => received += count,
                }
                runs.store(true, Ordering::Relaxed);
            }
            received
        });
        eventually("the flood runs", || runs.load(Ordering::Relaxed));
        daemon.signal(Signal::TERM);
        let ended = daemon.wait();
        is_over.store(true, Ordering::Relaxed);
        assert!(ended.status.success(), "{ended:?}");
        reader.join().unwrap()
    });
    assert_eq!(received % flood.len(), 0, "it ends with a whole frame");
}

#[test]
fn one_who_never_finishes_is_cut_off_after_the_grace_time() {
    let mut daemon = Daemon::frames(&["--grace", "1s"]);
    let mut stream = daemon.connect();
    ping(&mut stream);
    stream.write_all(&frame(b"half")[..6]).unwrap();
    let start = Instant::now();
    daemon.signal(Signal::TERM);
    let ended = daemon.wait();
    assert!(start.elapsed() >= Duration::from_millis(400), "it had some of its time");
    assert!(ended.status.success(), "{ended:?}");
    assert!(ended.stdout.contains("1 cut off"), "{ended:?}");
}

#[test]
fn idle_ones_are_let_go_at_once() {
    let mut daemon = Daemon::frames(&["--grace", "1h"]);
    let mut streams: Vec<_> = (0..100).map(|_| daemon.connect()).collect();
    streams.iter_mut().for_each(ping);
    daemon.signal(Signal::TERM);
    for mut stream in streams {
        assert_eq!(stream.read(&mut [0; 8]).unwrap(), 0);
    }
    let ended = daemon.wait();
    assert!(ended.stdout.contains("100 drained"), "{ended:?}");
}

#[test]
fn those_who_wait_to_be_accepted_are_answered_too() {
    let mut daemon = Daemon::frames(&[]);
    daemon.pause();
    let hello = frame(b"hello");
    let streams: Vec<_> = (0..500)
        .map(|_| {
            let mut stream = daemon.connect();
            stream.write_all(&hello).unwrap();
            stream
        })
        .collect();
    daemon.signal(Signal::TERM);
    daemon.resume();
    for mut stream in streams {
        let mut back = Vec::new();
        stream.read_to_end(&mut back).unwrap();
        assert_eq!(back, hello);
    }
    let ended = daemon.wait();
    assert!(ended.stdout.contains("500 drained"), "{ended:?}");
}
