//! Every case, forward alone and, where it has gradients, with them.

use std::time::Duration;

use benches::{Pass, alone, cases};
use criterion::{Criterion, criterion_group, criterion_main};

#[global_allocator]
static ALLOCATOR: large_buffers::Allocator = large_buffers::Allocator::new();

fn operations(criterion: &mut Criterion) {
    for case in cases().into_iter().chain(alone()) {
        let mut group = criterion.benchmark_group(&case.name);
        group.sample_size(10).measurement_time(Duration::from_secs(2));
        group.warm_up_time(Duration::from_millis(500));
        for &pass in &case.passes {
            let name = match pass {
                Pass::Forward => "forward",
                Pass::ForwardBackward => "forward+backward",
            };
            let mut task = case.prepare(pass).expect("a case that can be made");
            group
                .bench_function(name, |bencher| bencher.iter(|| task().expect("a case that runs")));
        }
        group.finish();
    }
}

criterion_group!(suite, operations);
criterion_main!(suite);
