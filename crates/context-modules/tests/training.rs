//! Gradients, norms in training, bits, and what the modules start as.
#![allow(clippy::unwrap_used, reason = "a test may panic")]

mod common;

use backbone::{Phase, load_statistics, statistics_of};
use candle_core::{DType, Device, Module, ModuleT, Tensor, Var};
use candle_nn::{VarBuilder, VarMap, seq};
use common::{all, build, flat, trainable, weights};
use context_modules::{
    AtrousPyramid, AtrousPyramidConfig, Context, ContextConfig, Evaluation, PyramidPooling,
    PyramidPoolingConfig,
};
use testkit::{assert_close, check_gradients, tensor, var};

/// A bias of keys adds the same to all scores of a unit, so that a softmax does not see it.
fn is_unseen(name: &str) -> bool {
    ["key.bias", "phi.bias"].contains(&name)
}

#[test]
fn gradients_match_central_differences() {
    for config in all() {
        for phase in [Phase::Train, Phase::Eval] {
            let weights = weights(&config, 4, 3, DType::F64);
            let context = build(&config, 4, &weights);
            if phase == Phase::Eval && context.norms().is_empty() {
                continue;
            }
            let x = var(4, &[1, 4, 3, 4]);
            let mut inputs = vec![&x];
            inputs.extend(trainable(&weights).into_iter().map(|(_, var)| var));
            check_gradients(&inputs, || Ok(context.forward(&x, phase)?))
                .unwrap_or_else(|error| panic!("{config:?} {phase:?}: {error:#}"));
        }
    }
}

fn gradients(context: &Context, x: &Tensor) -> (Tensor, candle_core::backprop::GradStore) {
    let y = context.forward(x, Phase::Train).unwrap();
    let direction = tensor(5, y.dims()).to_dtype(y.dtype()).unwrap();
    let loss = (&y * direction).unwrap().sum_all().unwrap();
    (y, grid_ops::backward(&loss).unwrap())
}

/// But for the mean over the image in an atrous pyramid: the same at all units, it passes a 1×1 and
/// is taken out by the norm behind it where the batch is that one image; so is, of several images,
/// its bias, while the ReLU lets all of them through.
#[test]
fn every_parameter_has_a_gradient_at_one_image_a_batch() {
    for config in all() {
        let weights = weights(&config, 8, 6, DType::F64);
        let context = build(&config, 8, &weights);
        for n in [1, 2] {
            let x = tensor(7, &[n, 8, 5, 6]);
            let (_, grads) = gradients(&context, &x);
            for (name, var) in trainable(&weights) {
                let grad = flat(grads.get(var).unwrap_or_else(|| panic!("{config:?}: no {name}")));
                let largest = grad.iter().fold(0.0, |top: f64, g| top.max(g.abs()));
                let taken_out = name == "image.bias" || (n == 1 && name == "image.weight");
                if is_unseen(name) || taken_out {
                    assert!(largest < 1e-12, "{config:?}: {name} {largest}");
                } else {
                    assert!(largest > 1e-4, "{config:?}: {name} {largest}");
                }
            }
        }
    }
}

/// What attends starts as no context at all, and the first step moves it; one image is enough.
#[test]
fn modules_leave_their_start() {
    for config in all() {
        let vars = VarMap::new();
        let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
        let context = config.build(8, vb).unwrap();
        let mut all: Vec<(String, Var)> = vars.data().lock().unwrap().clone().into_iter().collect();
        all.sort_by(|(a, _), (b, _)| a.cmp(b));
        for (nth, (_, var)) in all.iter().enumerate() {
            // What is drawn is drawn anew, with a seed; constants stay.
            let values = flat(var);
            if values.iter().any(|&x| x != values[0]) {
                var.set(&tensor(nth as u64, var.dims())).unwrap();
            }
        }
        let (y, grads) = gradients(&context, &tensor(7, &[1, 8, 5, 6]));
        let starts_at_zero =
            matches!(config, ContextConfig::NonLocal(_) | ContextConfig::CrissCross(_));
        assert_eq!(flat(&y).iter().all(|&o| o == 0.0), starts_at_zero, "{config:?}");
        let moves = |(_, var): &(String, Var)| {
            grads.get(var).is_some_and(|grad| flat(grad).iter().any(|g| g.abs() > 1e-4))
        };
        assert!(all.iter().any(moves), "{config:?}");
    }
}

#[test]
fn draws_are_of_the_stated_deviation() {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F64, &Device::Cpu);
    ContextConfig::AtrousPyramid(AtrousPyramidConfig::default()).build(32, vb).unwrap();
    let vars = vars.data().lock().unwrap();
    for (name, fan) in [("point.conv", 32.0), ("dilated1.conv", 288.0), ("image", 32.0)] {
        let values = flat(&vars[&format!("{name}.weight")]);
        let squares: f64 = values.iter().map(|x| x * x).sum();
        let deviation = (squares / values.len() as f64).sqrt();
        assert!((deviation / (2.0f64 / fan).sqrt() - 1.0).abs() < 0.15, "{name}: {deviation}");
    }
}

#[test]
fn a_norm_over_a_single_value_is_an_error_in_training() {
    let of = |values: &[usize]| tensor(8, values);
    for config in all() {
        let weights = weights(&config, 4, 9, DType::F64);
        let context = build(&config, 4, &weights);
        let single = of(&[1, 4, 1, 1]);
        context.forward(&single, Phase::Eval).unwrap();
        context.forward(&of(&[2, 4, 1, 1]), Phase::Train).unwrap();
        let trained = context.forward(&single, Phase::Train);
        if context.norms().is_empty() {
            trained.unwrap();
            continue;
        }
        let error = trained.unwrap_err().to_string();
        assert!(error.contains("one value a channel"), "{error}");
        assert!(error.starts_with("output.norm: ") || error.starts_with("point.norm: "), "{error}");
        let by_candle = context.forward_t(&single, true).unwrap_err().to_string();
        assert!(by_candle.starts_with(&error), "{by_candle}");
    }
}

#[test]
fn statistics_move_in_training_and_are_handed_on() {
    let counts = [0, 4, 5, 0, 0];
    for (config, count) in all().into_iter().zip(counts) {
        let weights = weights(&config, 4, 10, DType::F64);
        let context = build(&config, 4, &weights);
        let x = tensor(11, &[2, 4, 5, 6]);
        let statistics = |context: &Context| statistics_of(context.norms().into_iter());
        let before = statistics(&context);
        assert_eq!(before.len(), 2 * count, "{config:?}");
        context.forward(&x, Phase::Eval).unwrap();
        context.forward(&x, Phase::TrainAgain).unwrap();
        for ((name, now), (_, before)) in statistics(&context).iter().zip(&before) {
            assert_eq!(flat(now), flat(before), "{config:?}: {name}");
        }
        context.forward_t(&x, true).unwrap();
        let after = statistics(&context);
        for ((name, now), (_, before)) in after.iter().zip(&before) {
            assert!(flat(now) != flat(before), "{config:?}: {name}");
        }
        let other = build(&config, 4, &weights);
        let after = after.into_iter().collect();
        load_statistics(other.norms().into_iter(), &after).unwrap();
        let [a, b] = [&context, &other].map(|module| flat(&module.forward_t(&x, false).unwrap()));
        assert_eq!(a, b, "{config:?}");
    }
}

#[test]
fn any_number_of_threads_gives_the_same_bits() {
    for config in all() {
        let weights = weights(&config, 16, 12, DType::F32);
        let x = Var::from_tensor(&tensor(13, &[2, 16, 13, 70]).to_dtype(DType::F32).unwrap());
        let x = x.unwrap();
        let run = |threads: usize| {
            let context = build(&config, 16, &weights);
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| {
                let (y, grads) = gradients(&context, &x);
                let bits = |t: &Tensor| -> Vec<u32> {
                    let values: Vec<f32> = t.flatten_all().unwrap().to_vec1().unwrap();
                    values.iter().map(|x| x.to_bits()).collect()
                };
                let of = |var: &Var| bits(grads.get(var).unwrap());
                let parameters = trainable(&weights).into_iter().map(|(_, var)| of(var));
                (bits(&y), of(&x), parameters.collect::<Vec<_>>())
            })
        };
        let one = run(1);
        for threads in 2..=8 {
            assert!(run(threads) == one, "{config:?}: {threads} threads differ");
        }
    }
}

#[test]
fn compositions_have_the_same_gradients() {
    for config in all() {
        let weights = weights(&config, 4, 14, DType::F64);
        let context = build(&config, 4, &weights);
        let x = var(15, &[2, 4, 5, 7]);
        let (y, grads) = gradients(&context, &x);
        let (slow_y, slow_grads) = grid_ops::composing(|| gradients(&context, &x));
        assert_close(&flat(&slow_y), &flat(&y), 1e-10);
        for (_, var) in trainable(&weights).into_iter().chain([(&String::new(), &x)]) {
            let of = |grads: &candle_core::backprop::GradStore| flat(grads.get(var).unwrap());
            assert_close(&of(&slow_grads), &of(&grads), 1e-9);
        }
    }
}

/// In candle's own containers, which know modules of one phase and of two.
#[test]
fn modules_stand_in_candles_containers() {
    let vars = VarMap::new();
    let vb = VarBuilder::from_varmap(&vars, DType::F32, &Device::Cpu);
    let pooled = PyramidPooling::new(&PyramidPoolingConfig::default(), 8, vb.pp("a")).unwrap();
    let config = AtrousPyramidConfig::at_stride(8);
    let dilated = AtrousPyramid::new(&config, 8, vb.pp("b")).unwrap();
    let both =
        seq().add(Evaluation(pooled)).add(Evaluation(dilated)).add(candle_nn::Activation::Relu);
    let x = tensor(16, &[2, 8, 6, 7]).to_dtype(DType::F32).unwrap();
    assert_eq!(both.forward(&x).unwrap().dims(), x.dims());
    let error = both.forward(&x.narrow(1, 0, 7).unwrap()).unwrap_err().to_string();
    assert!(error.contains("conv2d: expected weight: [k, c/groups, kh, kw]"), "{error}");
}

#[test]
fn products_are_counted() {
    let (n, p, h, w) = (2, 8, 5, 6);
    let units = n * h * w;
    // By all(): hidden 3; bins 1, 2, 3, 6 of two channels; three branches of 3 channels and two
    // more; 4 inner channels; 2 channels of keys.
    let expected = [
        n * (p * 3 + 3 * p),
        n * (1 + 4 + 9 + 36) * p * 2 + units * 9 * 2 * p * p,
        units * (p * 3 + 3 * 9 * p * 3 + 15 * p) + n * p * 3,
        units * (p * 12 + h * w * 8 + 4 * p),
        2 * units * (p * (2 + 2 + p) + (h + w - 1) * (2 + p)),
    ];
    for (config, expected) in all().into_iter().zip(expected) {
        let context = build(&config, p, &weights(&config, p, 17, DType::F64));
        let x = tensor(18, &[n, p, h, w]);
        let (_, macs) = grid_ops::counted_macs(|| context.forward(&x, Phase::Eval).unwrap());
        assert_eq!(macs, expected as u64, "{config:?}");
    }
}
