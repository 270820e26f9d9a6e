//! The frame scanner in every dialect, beside tokio-util's `LengthDelimitedCodec`.
//!
//! ```text
//! cargo bench --bench scanner              # or, in seconds: -- --quick
//! ```
//!
//! A stream has 1,000 frames, so a microsecond per stream is a nanosecond per frame; the one of 64 KiB frames
//! has 10, as many as a large read brings, and the last is what a peer with one frame in flight costs.

use std::{hint::black_box, iter, time::Duration};

use bytes::BytesMut;
use criterion::{
    BatchSize, BenchmarkGroup, Criterion, Throughput, criterion_group, criterion_main,
    measurement::WallTime,
};
use resound::frame::{Dialect, FrameError, Width};
use tokio_util::codec::{Decoder, LengthDelimitedCodec};

/// The payloads of one stream.
struct Load {
    name: &'static str,
    sizes: Vec<usize>,
}

fn loads() -> Vec<Load> {
    // Marsaglia's xorshift: the same sizes in each run, no two neighbours alike but by chance.
    let mut state = 0x2545_f491_u32;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        state as usize
    };
    let load = |name, sizes| Load { name, sizes };
    vec![
        load("64 B", vec![64; 1_000]),
        load("0 B", vec![0; 1_000]),
        load("1 to 127 B", iter::repeat_with(|| random() % 127 + 1).take(1_000).collect()),
        load("64 KiB, 10 frames", vec![64 << 10; 10]),
        load("64 B, alone", vec![64]),
    ]
}

fn stream(dialect: Dialect, load: &Load) -> Result<Vec<u8>, FrameError> {
    let mut bytes = Vec::new();
    for &size in &load.sizes {
        dialect.encode(&vec![0xa5; size], &mut bytes)?;
    }
    Ok(bytes)
}

fn scanner(criterion: &mut Criterion) {
    for load in loads() {
        let mut group = criterion.benchmark_group(load.name);
        group.throughput(Throughput::Elements(load.sizes.len() as u64));
        for width in Width::ALL {
            let dialect = Dialect::new(width);
            // A width that cannot hold this length has no such stream.
            let Ok(bytes) = stream(dialect, &load) else {
                continue;
            };
            assert_eq!(dialect.scan(&bytes).frames, load.sizes.len() as u64);
            group.bench_function(width.name(), |bencher| {
                bencher.iter(|| black_box(dialect).scan(black_box(&bytes)));
            });
        }
        if let Ok(bytes) = stream(Dialect::default(), &load) {
            tokio_util(&mut group, &bytes);
        }
        group.finish();
    }
}

fn tokio_util(group: &mut BenchmarkGroup<'_, WallTime>, bytes: &[u8]) {
    let mut codec = LengthDelimitedCodec::builder().little_endian().new_codec();
    group.bench_function("tokio-util", |bencher| {
        bencher.iter_batched_ref(
            || BytesMut::from(bytes),
            |buffer| {
                while let Ok(Some(frame)) = codec.decode(buffer) {
                    black_box(frame);
                }
            },
            BatchSize::SmallInput,
        );
    });
}

criterion_group! {
    name = benches;
    config = Criterion::default()
        .warm_up_time(Duration::from_secs(1))
        .measurement_time(Duration::from_secs(2));
    targets = scanner
}
criterion_main!(benches);
