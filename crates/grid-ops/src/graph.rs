//! Gradients that go from operation to operation without candle's sums.
//!
//! candle's `backward` makes a tensor of zeros for every gradient and adds the gradient to it. For
//! the grids of a network that is more traffic than many an operation itself. So an operation here
//! is two nodes of candle's graph: a *token*, one number that is made of the inputs, and the
//! result, which is made of the token. An operation whose input is such a result is made of that
//! result's token instead, and hands the gradient over in the token's [`Inbox`]; what candle makes
//! zeros of and adds up is one number, the count of gradients that were handed over.
//!
//! Operations of candle itself see the result as any other tensor: its gradient, summed by candle,
//! goes into the same inbox. Variables get theirs from candle, as always, unless
//! [`crate::backward`] runs the pass.
//!
//! The graph holds no more than what backward passes read ([`Reads`]), and one that
//! [`crate::backward`] runs lets go of each operation when it is through with it.

use std::collections::HashMap;
use std::sync::{Arc, LazyLock, Mutex, OnceLock, PoisonError};
use std::thread::{self, ThreadId};

use candle_core::{
    CpuStorage, CustomOp1, CustomOp2, CustomOp3, DType, Device, Layout, Shape, Tensor, TensorId,
    bail,
};

use crate::backward::{frees_graph, hand_over};
use crate::{Elements, add};

type Grads = [Option<Tensor>; 3];

/// What an operation's backward pass reads of what its forward pass saw. Of the rest, shape, number
/// type and device stay, and the numbers go with the last tensor that holds them elsewhere.
#[derive(Debug, Clone, Copy)]
pub struct Reads {
    /// The inputs, in the operation's order.
    pub inputs: [bool; 3],
    /// The result.
    pub output: bool,
}

impl Reads {
    /// Everything.
    pub const ALL: Self = Self { inputs: [true; 3], output: true };
    /// Nothing but the gradient.
    pub const NOTHING: Self = Self { inputs: [false; 3], output: false };
}

/// `op` of `x`, on the CPU; as [`Tensor::apply_op1`], but for what the module says.
///
/// # Errors
///
/// What the operation reports.
pub fn apply1(
    x: &Tensor,
    op: impl CustomOp1 + Send + Sync + 'static,
    reads: Reads,
) -> candle_core::Result<Tensor> {
    if !x.track_op() {
        return x.apply_op1_no_bwd(&op);
    }
    finish(Op::One(Box::new(op)), &[x], reads, |[x, ..], token| x.apply_op1(token))
}

/// `op` of `x` and `y`, on the CPU; as [`Tensor::apply_op2`], but for what the module says.
///
/// # Errors
///
/// What the operation reports.
pub fn apply2(
    x: &Tensor,
    y: &Tensor,
    op: impl CustomOp2 + Send + Sync + 'static,
    reads: Reads,
) -> candle_core::Result<Tensor> {
    if !(x.track_op() || y.track_op()) {
        return x.apply_op2_no_bwd(y, &op);
    }
    finish(Op::Two(Box::new(op)), &[x, y], reads, |[x, y, _], token| x.apply_op2(y, token))
}

/// `op` of `x`, `y` and `z`, on the CPU; as [`Tensor::apply_op3`], but for what the module says.
///
/// # Errors
///
/// What the operation reports.
pub fn apply3(
    x: &Tensor,
    y: &Tensor,
    z: &Tensor,
    op: impl CustomOp3 + Send + Sync + 'static,
    reads: Reads,
) -> candle_core::Result<Tensor> {
    if !(x.track_op() || y.track_op() || z.track_op()) {
        return x.apply_op3_no_bwd(y, z, &op);
    }
    finish(Op::Three(Box::new(op)), &[x, y, z], reads, |[x, y, z], token| x.apply_op3(y, z, token))
}

enum Op {
    One(Box<dyn CustomOp1 + Send + Sync>),
    Two(Box<dyn CustomOp2 + Send + Sync>),
    Three(Box<dyn CustomOp3 + Send + Sync>),
}

/// An operation in the graph.
struct Node {
    name: &'static str,
    /// What stands for each input in candle's graph, and its inbox where it is not the input.
    sources: Vec<(Tensor, Option<Arc<Inbox>>)>,
    inbox: Arc<Inbox>,
    /// Until a backward pass that frees the graph has been here.
    live: Mutex<Option<Arc<Live>>>,
}

/// An operation and what its backward pass sees.
struct Live {
    op: Op,
    /// Without their graph; in place of what is not read, one number of the same shape.
    inputs: Vec<Tensor>,
    y: Tensor,
}

/// `x` without its graph, or what stands for it if it is not `read`.
fn kept(x: &Tensor, read: bool) -> candle_core::Result<Tensor> {
    if read {
        return Ok(x.detach());
    }
    Tensor::zeros((), x.dtype(), x.device())?.broadcast_as(x.shape())
}

impl Op {
    fn name(&self) -> &'static str {
        match self {
            Self::One(op) => op.name(),
            Self::Two(op) => op.name(),
            Self::Three(op) => op.name(),
        }
    }

    fn forward(&self, inputs: &[Tensor]) -> candle_core::Result<(CpuStorage, Shape)> {
        let held: Vec<Elements<'_>> = inputs.iter().map(Elements::of).collect();
        let args: Vec<_> = held.iter().map(Elements::storage).collect::<Result<_, _>>()?;
        match (self, args.as_slice()) {
            (Self::One(op), &[(x, of_x)]) => op.cpu_fwd(x, of_x),
            (Self::Two(op), &[(x, of_x), (y, of_y)]) => op.cpu_fwd(x, of_x, y, of_y),
            (Self::Three(op), &[(x, of_x), (y, of_y), (z, of_z)]) => {
                op.cpu_fwd(x, of_x, y, of_y, z, of_z)
            }
            _ => bail!("an operation of another number of inputs"),
        }
    }
}

impl Live {
    fn backward(&self, grad: &Tensor) -> candle_core::Result<Grads> {
        let y = &self.y;
        Ok(match (&self.op, self.inputs.as_slice()) {
            (Op::One(op), [x]) => [op.bwd(x, y, grad)?, None, None],
            (Op::Two(op), [x, z]) => {
                let (d_x, d_z) = op.bwd(x, z, y, grad)?;
                [d_x, d_z, None]
            }
            (Op::Three(op), [x, z, v]) => op.bwd(x, z, v, y, grad)?.into(),
            _ => bail!("an operation of another number of inputs"),
        })
    }
}

impl Node {
    /// Hands the inputs' gradients over and returns what candle is to add up.
    fn backward(&self, arrived: &Tensor) -> candle_core::Result<Grads> {
        let grad = self.inbox.take(arrived)?;
        let live = {
            let mut live = self.live.lock().unwrap_or_else(PoisonError::into_inner);
            if frees_graph() { live.take() } else { live.clone() }
        };
        let Some(live) = live else {
            bail!("{}: a backward pass has freed this graph; run forward anew", self.name)
        };
        let grads = live.backward(&grad)?;
        drop((live, grad));
        let mut to_candle = Grads::default();
        for ((left, grad), (source, inbox)) in to_candle.iter_mut().zip(grads).zip(&self.sources) {
            *left = match (grad, inbox) {
                (Some(grad), Some(inbox)) => Some(inbox.put(&grad)?),
                (Some(grad), None) if source.is_variable() => hand_over(source, grad)?,
                (grad, None) => grad,
                (None, Some(_)) => None,
            };
        }
        Ok(to_candle)
    }
}

/// Makes token and result of an operation of `inputs`.
fn finish(
    op: Op,
    inputs: &[&Tensor],
    reads: Reads,
    make: impl FnOnce([&Tensor; 3], Token) -> candle_core::Result<Tensor>,
) -> candle_core::Result<Tensor> {
    let sources = {
        let edges = EDGES.lock().unwrap_or_else(PoisonError::into_inner);
        let source = |x: &&Tensor| match edges.get(&x.id()) {
            Some(Edge { token, inbox }) => (token.clone(), Some(Arc::clone(inbox))),
            None => ((*x).clone(), None),
        };
        inputs.iter().map(source).collect()
    };
    let inbox = Arc::default();
    let node = Arc::new(Node { name: op.name(), sources, inbox, live: Mutex::default() });
    let sources = std::array::from_fn(|i| &node.sources[i.min(node.sources.len() - 1)].0);
    let token = make(sources, Token(Arc::clone(&node)))?;
    let inputs: Vec<Tensor> = inputs.iter().map(|x| x.detach()).collect();
    let result = Mutex::new(Some(op.forward(&inputs)?));
    let registered = Arc::new(Registered(OnceLock::new()));
    let outcome = Outcome { node: Arc::clone(&node), result, registered: Arc::clone(&registered) };
    let y = token.apply_op1(outcome)?;
    let inputs = inputs.iter().zip(reads.inputs).map(|(x, read)| kept(x, read));
    let live = Live { op, inputs: inputs.collect::<Result<_, _>>()?, y: kept(&y, reads.output)? };
    *node.live.lock().unwrap_or_else(PoisonError::into_inner) = Some(Arc::new(live));
    let edge = Edge { token, inbox: Arc::clone(&node.inbox) };
    // It is set here once.
    let _ = registered.0.set(y.id());
    EDGES.lock().unwrap_or_else(PoisonError::into_inner).insert(y.id(), edge);
    Ok(y)
}

/// What stands for a result in the operations that it goes into.
struct Edge {
    token: Tensor,
    inbox: Arc<Inbox>,
}

/// The edges of all results that live.
static EDGES: LazyLock<Mutex<HashMap<TensorId, Edge>>> = LazyLock::new(Mutex::default);

/// A result's entry in [`EDGES`], which goes with it.
struct Registered(OnceLock<TensorId>);

impl Drop for Registered {
    fn drop(&mut self) {
        let Some(id) = self.0.get() else { return };
        let edge = EDGES.lock().unwrap_or_else(PoisonError::into_inner).remove(id);
        // Only now that others may take the lock: its token may be the last of a whole graph.
        drop(edge);
    }
}

/// Gradients that wait for their operation, of each thread that runs a backward pass.
#[derive(Default)]
struct Inbox(Mutex<HashMap<ThreadId, Arrived>>);

/// The sum of gradients, and how many they are.
struct Arrived {
    sum: Tensor,
    count: f32,
}

impl Inbox {
    /// Adds a gradient, and returns the one that candle is to count.
    fn put(&self, grad: &Tensor) -> candle_core::Result<Tensor> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = all.remove(&thread::current().id());
        let arrived = match before {
            Some(Arrived { sum, count }) => {
                Arrived { sum: add::sum(&sum, grad)?, count: count + 1.0 }
            }
            None => Arrived { sum: grad.detach(), count: 1.0 },
        };
        all.insert(thread::current().id(), arrived);
        Tensor::ones(1, DType::F32, &Device::Cpu)
    }

    /// Empties it, given the sum of candle's counts.
    fn take(&self, counted: &Tensor) -> candle_core::Result<Tensor> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let expected = counted.to_vec1::<f32>()?;
        match all.remove(&thread::current().id()) {
            Some(Arrived { sum, count }) if expected == [count] => Ok(sum),
            _ => bail!("gradients are left of a backward pass that failed; run forward anew"),
        }
    }
}

/// The node that takes the result's place.
struct Token(Arc<Node>);

/// One number, whatever it is.
pub(crate) fn number() -> candle_core::Result<(CpuStorage, Shape)> {
    Ok((CpuStorage::F32(vec![0.0]), Shape::from(1)))
}

impl CustomOp1 for Token {
    fn name(&self) -> &'static str {
        "token"
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        number()
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        let [d_x, ..] = self.0.backward(grad)?;
        Ok(d_x)
    }
}

impl CustomOp2 for Token {
    fn name(&self) -> &'static str {
        "token"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        number()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>)> {
        let [d_x, d_y, _] = self.0.backward(grad)?;
        Ok((d_x, d_y))
    }
}

impl CustomOp3 for Token {
    fn name(&self) -> &'static str {
        "token"
    }

    fn cpu_fwd(
        &self,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
        _: &CpuStorage,
        _: &Layout,
    ) -> candle_core::Result<(CpuStorage, Shape)> {
        number()
    }

    fn bwd(
        &self,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        _: &Tensor,
        grad: &Tensor,
    ) -> candle_core::Result<(Option<Tensor>, Option<Tensor>, Option<Tensor>)> {
        Ok(self.0.backward(grad)?.into())
    }
}

/// The node whose value is the result.
struct Outcome {
    node: Arc<Node>,
    /// Until candle has it.
    result: Mutex<Option<(CpuStorage, Shape)>>,
    #[allow(dead_code, reason = "dropped with the result")]
    registered: Arc<Registered>,
}

impl CustomOp1 for Outcome {
    fn name(&self) -> &'static str {
        self.node.name
    }

    fn cpu_fwd(&self, _: &CpuStorage, _: &Layout) -> candle_core::Result<(CpuStorage, Shape)> {
        match self.result.lock().unwrap_or_else(PoisonError::into_inner).take() {
            Some(result) => Ok(result),
            None => bail!("{}: run twice", self.node.name),
        }
    }

    fn bwd(&self, _: &Tensor, _: &Tensor, grad: &Tensor) -> candle_core::Result<Option<Tensor>> {
        self.node.inbox.put(grad).map(Some)
    }
}
