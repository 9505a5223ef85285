//! What is timed: the cases that the criterion suites and the comparison with PyTorch share.
//!
//! Times are taken through the public functions and `grid_ops::backward`, in `f32`.
//!
//! Not here: who is compared with whom (`cargo xtask bench`), and PyTorch's side of it
//! (`peers/side.py`).

mod backbones;
mod contexts;
mod metrics;
mod photographs;
mod resnet;
mod scans;

pub use backbones::Network;
use candle_core::{DType, Device, Tensor, Var};
pub use contexts::Module;
use grid_ops::{Activation, Conv2d, ConvTranspose2d, Corners, Pool, Rounding, backward_from};
pub use metrics::Labels;
pub use photographs::{Files, Reader};
pub use scans::{Aggregate, Peer, ScanSizes, growth};

/// One operation on one shape.
#[derive(Debug, Clone, serde::Serialize, serde::Deserialize)]
pub struct Case {
    /// As it stands in tables.
    pub name: String,
    /// How far it is run.
    pub passes: Vec<Pass>,
    /// What is done.
    #[serde(flatten)]
    pub work: Work,
}

/// An operation and its sizes; `n c h w` are the input's, `k` the channels of the output.
#[derive(Debug, Clone, Copy, serde::Serialize, serde::Deserialize)]
#[serde(tag = "op", rename_all = "snake_case")]
#[allow(missing_docs, reason = "the sizes speak for themselves")]
pub enum Work {
    /// [`grid_ops::conv2d`] that keeps the size but for the stride.
    Conv2d {
        n: usize,
        c: usize,
        k: usize,
        h: usize,
        w: usize,
        kernel: usize,
        stride: usize,
        dilation: usize,
        groups: usize,
    },
    /// [`grid_ops::conv_transpose2d`] that doubles the size.
    ConvTranspose2d { n: usize, c: usize, k: usize, h: usize, w: usize },
    /// [`grid_ops::max_pool2d`] as in ResNet's stem: 3/2/1.
    MaxPool2d { n: usize, c: usize, h: usize, w: usize },
    /// [`grid_ops::avg_pool2d`]: 2/2/0.
    AvgPool2d { n: usize, c: usize, h: usize, w: usize },
    /// [`grid_ops::resize_bilinear`], centres of pixels.
    ResizeBilinear { n: usize, c: usize, h: usize, w: usize, height: usize, width: usize },
    /// [`grid_ops::upsample_nearest`].
    UpsampleNearest { n: usize, c: usize, h: usize, w: usize, height: usize, width: usize },
    /// [`grid_ops::batch_norm`] over the batch, then ReLU.
    BatchNormRelu { n: usize, c: usize, h: usize, w: usize },
    /// [`grid_ops::cross_entropy`], every seventh label ignored.
    CrossEntropy { n: usize, k: usize, h: usize, w: usize },
    /// [`grid_ops::upsampled_cross_entropy`], every seventh label ignored.
    UpsampledCrossEntropy { n: usize, k: usize, h: usize, w: usize, height: usize, width: usize },
    /// The input product and [`dense_rnn::scan`] in four directions.
    Scan(ScanSizes),
    /// [`dense_rnn::hippo_scan_features`].
    Hippo { n: usize, c: usize, d: usize, h: usize, w: usize, order: usize },
    /// [`dense_rnn::eigenvalue_normalised`] of four matrices.
    EigenvalueNormalised { d: usize },
    /// The matrix products of such a scan, all units at once.
    ScanProducts { n: usize, c: usize, d: usize, h: usize, w: usize },
    /// A whole training step of a ResNet-18 of output stride 16, or its forward part.
    Resnet18Step { n: usize, k: usize, h: usize, w: usize },
    /// Training samples of 512×512 from pairs of files, six a thread.
    Photographs { files: Files, threads: usize },
    /// One label file.
    LabelPng { reader: Reader },
    /// [`seg_metrics::ConfusionMatrix::add`] of 2048×1024 pixels.
    Confusion { k: usize, labels: Labels },
    /// [`seg_metrics::stats::compare`] of two arms.
    Bootstrap { seeds: u32, images: u32, k: u32 },
    /// The features of a backbone.
    Backbone { network: Network, n: usize, h: usize, w: usize },
    /// A context module.
    Context { module: Module, n: usize, p: usize, h: usize, w: usize },
}

/// How far an operation is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Pass {
    /// Without a graph.
    Forward,
    /// Forward and the gradients of input and weight.
    ForwardBackward,
}

impl Pass {
    /// Both, for what has gradients.
    pub const ALL: [Self; 2] = [Self::Forward, Self::ForwardBackward];
}

/// A task that can be run again and again.
pub type Task = Box<dyn FnMut() -> anyhow::Result<()>>;

/// All cases that are compared, in the order of the tables. The nine convolutions come first.
pub fn cases() -> Vec<Case> {
    let conv = |n, c, k, h, w, kernel, stride, dilation, groups| Case {
        name: match groups {
            1 => format!("conv {n}×{c}→{k} {h}×{w} {kernel}/{stride}/{dilation}"),
            _ => format!("depthwise {n}×{c} {h}×{w} {kernel}/{stride}/{dilation}"),
        },
        passes: Pass::ALL.to_vec(),
        work: Work::Conv2d { n, c, k, h, w, kernel, stride, dilation, groups },
    };
    let case = |name: &str, work| Case { name: name.to_owned(), passes: Pass::ALL.to_vec(), work };
    vec![
        conv(1, 3, 64, 360, 480, 7, 2, 1, 1),
        conv(4, 64, 64, 90, 120, 3, 1, 1, 1),
        conv(4, 128, 128, 45, 60, 3, 1, 1, 1),
        conv(4, 256, 256, 23, 30, 3, 1, 1, 1),
        conv(4, 512, 512, 23, 30, 3, 1, 2, 1),
        conv(4, 256, 64, 90, 120, 1, 1, 1, 1),
        conv(4, 64, 128, 90, 120, 3, 2, 1, 1),
        conv(4, 192, 192, 90, 120, 3, 1, 1, 192),
        conv(4, 192, 192, 90, 120, 3, 2, 1, 192),
        case(
            "transposed conv 4×64→64 45×60 4/2/1",
            Work::ConvTranspose2d { n: 4, c: 64, k: 64, h: 45, w: 60 },
        ),
        case("max pool 4×64 180×240 3/2", Work::MaxPool2d { n: 4, c: 64, h: 180, w: 240 }),
        case("mean pool 4×64 180×240 2/2", Work::AvgPool2d { n: 4, c: 64, h: 180, w: 240 }),
        case(
            "bilinear 4×64 45×60→90×120",
            Work::ResizeBilinear { n: 4, c: 64, h: 45, w: 60, height: 90, width: 120 },
        ),
        case(
            "nearest 4×64 45×60→90×120",
            Work::UpsampleNearest { n: 4, c: 64, h: 45, w: 60, height: 90, width: 120 },
        ),
        case("batch norm + ReLU 4×64 90×120", Work::BatchNormRelu { n: 4, c: 64, h: 90, w: 120 }),
        case("cross-entropy 4×11 360×480", Work::CrossEntropy { n: 4, k: 11, h: 360, w: 480 }),
        case(
            "cross-entropy of 4×150 45×60 at 360×480",
            Work::UpsampledCrossEntropy { n: 4, k: 150, h: 45, w: 60, height: 360, width: 480 },
        ),
        case("ResNet-18 step 4×3 360×480", Work::Resnet18Step { n: 4, k: 11, h: 360, w: 480 }),
    ]
    .into_iter()
    .chain(scans::cases())
    .chain(metrics::cases())
    .chain(photographs::cases())
    .chain(backbones::cases())
    .chain(contexts::cases())
    .collect()
}

/// What has no peer to be compared with.
pub fn alone() -> Vec<Case> {
    metrics::alone().into_iter().chain(photographs::alone()).chain(scans::alone()).collect()
}

impl Case {
    /// Makes inputs and returns the work itself.
    ///
    /// # Errors
    ///
    /// What the operations report.
    pub fn prepare(&self, pass: Pass) -> anyhow::Result<Task> {
        match self.work {
            Work::Conv2d { n, c, k, h, w, kernel, stride, dilation, groups } => {
                let x = var(1, &[n, c, h, w])?;
                let weight = var(2, &[k, c / groups, kernel, kernel])?;
                let padding = dilation * (kernel / 2);
                let config = Conv2d { stride, padding, dilation, groups, ..Conv2d::default() };
                let run = move |[x, weight]: &[Tensor; 2]| {
                    Ok(grid_ops::conv2d(x, weight, None, &config)?)
                };
                Ok(task([x, weight], pass, run))
            }
            Work::ConvTranspose2d { n, c, k, h, w } => {
                let (x, weight) = (var(1, &[n, c, h, w])?, var(2, &[c, k, 4, 4])?);
                let config = ConvTranspose2d { stride: 2, padding: 1, ..Default::default() };
                let run = move |[x, weight]: &[Tensor; 2]| {
                    Ok(grid_ops::conv_transpose2d(x, weight, None, &config)?)
                };
                Ok(task([x, weight], pass, run))
            }
            Work::MaxPool2d { n, c, h, w } => {
                let pool = Pool { kernel: 3, stride: 2, padding: 1, rounding: Rounding::Floor };
                let run = move |[x]: &[Tensor; 1]| Ok(grid_ops::max_pool2d(x, &pool)?);
                Ok(task([var(1, &[n, c, h, w])?], pass, run))
            }
            Work::AvgPool2d { n, c, h, w } => {
                let pool = Pool { kernel: 2, stride: 2, padding: 0, rounding: Rounding::Floor };
                let run = move |[x]: &[Tensor; 1]| Ok(grid_ops::avg_pool2d(x, &pool)?);
                Ok(task([var(1, &[n, c, h, w])?], pass, run))
            }
            Work::ResizeBilinear { n, c, h, w, height, width } => {
                let run = move |[x]: &[Tensor; 1]| {
                    Ok(grid_ops::resize_bilinear(x, height, width, Corners::Centers)?)
                };
                Ok(task([var(1, &[n, c, h, w])?], pass, run))
            }
            Work::UpsampleNearest { n, c, h, w, height, width } => {
                let run =
                    move |[x]: &[Tensor; 1]| Ok(grid_ops::upsample_nearest(x, height, width)?);
                Ok(task([var(1, &[n, c, h, w])?], pass, run))
            }
            Work::BatchNormRelu { n, c, h, w } => {
                let inputs = [var(1, &[n, c, h, w])?, var(2, &[c])?, var(3, &[c])?];
                let run = |[x, gamma, beta]: &[Tensor; 3]| {
                    Ok(grid_ops::batch_norm(x, gamma, beta, 1e-5, Activation::Relu)?.y)
                };
                Ok(task(inputs, pass, run))
            }
            Work::CrossEntropy { n, k, h, w } => {
                let labels = labels(&[n, h, w], k)?;
                let run = move |[logits]: &[Tensor; 1]| {
                    Ok(grid_ops::cross_entropy(logits, &labels, None)?)
                };
                Ok(task([var(1, &[n, k, h, w])?], pass, run))
            }
            Work::UpsampledCrossEntropy { n, k, h, w, height, width } => {
                let labels = labels(&[n, height, width], k)?;
                let run = move |[logits]: &[Tensor; 1]| {
                    Ok(grid_ops::upsampled_cross_entropy(logits, &labels, None)?)
                };
                Ok(task([var(1, &[n, k, h, w])?], pass, run))
            }
            Work::Scan(sizes) => scans::scan_task(sizes, pass),
            Work::Hippo { n, c, d, h, w, order } => scans::hippo_task([n, c, d, h, w], order, pass),
            Work::EigenvalueNormalised { d } => scans::weights_task(d, pass),
            Work::ScanProducts { n, c, d, h, w } => {
                Ok(scans::products_task((n * h * w, c, d), pass))
            }
            Work::Resnet18Step { n, k, h, w } => {
                let images = var(1, &[n, 3, h, w])?.as_detached_tensor();
                let mut step = resnet::Step::new(images, labels(&[n, h, w], k)?, k)?;
                Ok(Box::new(move || step.run(pass)))
            }
            Work::Photographs { files, threads } => photographs::task(files, threads),
            Work::LabelPng { reader } => photographs::label_task(reader),
            Work::Confusion { k, labels } => metrics::confusion_task(k, labels),
            Work::Bootstrap { seeds, images, k } => Ok(metrics::bootstrap_task(seeds, images, k)),
            Work::Backbone { network, n, h, w } => backbones::task(network, [n, h, w], pass),
            Work::Context { module, n, p, h, w } => {
                contexts::context_task(module, [n, p, h, w], pass)
            }
        }
    }
}

fn var(seed: u64, shape: &[usize]) -> anyhow::Result<Var> {
    let values = testkit::values(seed, shape.iter().product());
    let values: Vec<f32> = values.into_iter().map(|x| x as f32).collect();
    Ok(Var::from_tensor(&Tensor::from_vec(values, shape, &Device::Cpu)?.to_dtype(DType::F32)?)?)
}

/// Class indices in turn, every seventh ignored.
fn labels(shape: &[usize], classes: usize) -> anyhow::Result<Tensor> {
    let of = |i: usize| if i % 7 == 6 { grid_ops::IGNORE } else { (i % classes) as u8 };
    let labels: Vec<u8> = (0..shape.iter().product()).map(of).collect();
    Ok(Tensor::from_vec(labels, shape, &Device::Cpu)?)
}

fn task<const N: usize>(
    inputs: [Var; N],
    pass: Pass,
    run: impl Fn(&[Tensor; N]) -> anyhow::Result<Tensor> + 'static,
) -> Task {
    let tracked = inputs.map(Var::into_inner);
    let detached = tracked.each_ref().map(Tensor::detach);
    let mut ones = None;
    Box::new(move || {
        match pass {
            Pass::Forward => drop(run(&detached)?),
            Pass::ForwardBackward => {
                let y = run(&tracked)?;
                // The other side has its gradient of ones from an earlier run, too.
                let ones = match &ones {
                    Some(ones) => ones,
                    None => ones.insert(y.detach().ones_like()?),
                };
                drop(backward_from(&y, ones)?);
            }
        }
        Ok(())
    })
}
