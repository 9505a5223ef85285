//! The step of the optimizers over as many parameters as a ResNet-50 has.

use std::hint::black_box;

use candle_core::{DType, Device, Var};
use criterion::{Criterion, criterion_group, criterion_main};
use experiments::config::{OptimizerKind, TrainingConfig};
use experiments::optimizer::Optimizer;

#[global_allocator]
static ALLOCATOR: large_buffers::Allocator = large_buffers::Allocator::new();

/// 25 million parameters in tensors of a ResNet's sizes.
const SHAPE: (usize, usize, usize, usize) = (512, 512, 3, 3);
const TENSORS: usize = 11;

fn steps(criterion: &mut Criterion) {
    for (name, optimizer) in [("adamw", OptimizerKind::AdamW), ("sgd", OptimizerKind::Sgd)] {
        let var = |_| Var::randn_f64(0.0, 1.0, SHAPE, DType::F32, &Device::Cpu);
        let vars: Vec<Var> = (0..TENSORS).map(var).collect::<Result<_, _>>().expect("room");
        let named = vars.iter().enumerate().map(|(nth, var)| (format!("{nth:02}"), var.clone()));
        let config = TrainingConfig { optimizer, ..TrainingConfig::default() };
        let mut optimizer = Optimizer::new(named.collect(), &config).expect("room for the moments");
        let loss = vars.iter().map(|var| var.sqr()?.sum_all()).reduce(|a, b| a? + b?);
        let grads = loss.expect("variables").and_then(|loss| loss.backward()).expect("gradients");
        criterion.bench_function(&format!("{name} step, 26 M parameters"), |bencher| {
            bencher.iter(|| {
                optimizer.add(&grads).expect("a gradient for each");
                black_box(optimizer.step(1e-3).expect("finite"))
            });
        });
    }
}

criterion_group!(suite, steps);
criterion_main!(suite);
