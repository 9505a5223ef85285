//! What a pickle of tensors is made of.

use super::super::values::Number;

/// Where an object is in its pickle.
pub(super) type Id = usize;

/// The objects of a pickle. They refer to each other by place, so that one that is used a thousand
/// times takes its memory once.
pub(super) struct Pickle<'a> {
    pub(super) objects: Vec<Object<'a>>,
    pub(super) root: Id,
}

/// Keys and values of a dictionary.
pub(super) type Pairs<'p> = Vec<(&'p Object<'p>, &'p Object<'p>)>;

/// One value.
pub(super) enum Object<'a> {
    /// None, a number with a fraction, or an integer beyond 64 bits.
    Other(&'static str),
    Bool(bool),
    Int(i64),
    Text(&'a str),
    Tuple(Vec<Id>),
    List(Vec<Id>),
    Dict {
        /// Key and value.
        pairs: Vec<(Id, Id)>,
        /// A list of pairs that it begins with.
        from: Option<Id>,
    },
    Global(Global),
    Storage(Storage),
    Tensor(View),
}

/// The names that a pickle may ask for. None of them is called: they mark what is built here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Global {
    OrderedDict,
    /// `_rebuild_tensor_v2`, or as before 0.4 `_rebuild_tensor`.
    Tensor,
    /// `_rebuild_parameter`, or the class itself as before 0.4.
    Parameter,
    Storage(Element),
}

/// What a storage holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Element {
    Number(Number),
    /// Its name and bytes.
    Integer(&'static str, usize),
}

/// The bytes behind tensors.
#[derive(Clone, Copy)]
pub(super) struct Storage {
    pub(super) element: Element,
    /// A text.
    pub(super) key: Id,
    /// Elements.
    pub(super) count: usize,
    /// Where the part of it that is meant begins.
    pub(super) offset: usize,
}

/// A tensor as a part of a storage.
pub(super) struct View {
    /// A storage.
    pub(super) storage: Id,
    pub(super) offset: usize,
    pub(super) size: Vec<usize>,
    pub(super) stride: Vec<usize>,
}

impl<'a> Pickle<'a> {
    pub(super) fn root(&self) -> &Object<'a> {
        &self.objects[self.root]
    }

    /// Keys and values of a dictionary, in order; `None` if it is none.
    pub(super) fn pairs<'p>(&'p self, dict: &'p Object<'a>) -> Option<Pairs<'p>> {
        let Object::Dict { pairs, from } = dict else { return None };
        let mut all = Vec::new();
        if let Some(from) = from {
            let Object::List(items) = &self.objects[*from] else { return None };
            for &item in items {
                let (Object::List(pair) | Object::Tuple(pair)) = &self.objects[item] else {
                    return None;
                };
                let &[key, value] = pair.as_slice() else { return None };
                all.push((&self.objects[key], &self.objects[value]));
            }
        }
        all.extend(pairs.iter().map(|&(key, value)| (&self.objects[key], &self.objects[value])));
        Some(all)
    }

    /// The elements of a list of texts; `None` if it is none.
    pub(super) fn texts(&self, list: &Object<'a>) -> Option<Vec<&'a str>> {
        let Object::List(items) = list else { return None };
        let text = |&item: &Id| match &self.objects[item] {
            Object::Text(text) => Some(*text),
            _ => None,
        };
        items.iter().map(text).collect()
    }
}

impl Object<'_> {
    /// What it is, for messages.
    pub(super) fn kind(&self) -> String {
        match self {
            Self::Other(kind) => (*kind).to_owned(),
            Self::Bool(value) => format!("the value {value}"),
            Self::Int(value) => format!("the number {value}"),
            Self::Text(text) => format!("the text \"{}\"", shown(text)),
            Self::Tuple(_) => "a tuple".to_owned(),
            Self::List(_) => "a list".to_owned(),
            Self::Dict { .. } => "a dictionary".to_owned(),
            Self::Global(_) => "a class or function".to_owned(),
            Self::Storage(_) => "a storage".to_owned(),
            Self::Tensor(_) => "a tensor".to_owned(),
        }
    }
}

impl Element {
    /// Bytes of one.
    pub(super) fn size(self) -> usize {
        match self {
            Self::Number(number) => number.size(),
            Self::Integer(_, size) => size,
        }
    }

    /// Its name in messages.
    pub(super) fn name(self) -> &'static str {
        match self {
            Self::Number(Number::F16) => "F16",
            Self::Number(Number::Bf16) => "BF16",
            Self::Number(Number::F32) => "F32",
            Self::Number(Number::F64) => "F64",
            Self::Integer(name, _) => name,
        }
    }
}

impl Global {
    /// The object of that name.
    pub(super) fn named(module: &str, name: &str) -> Result<Self, String> {
        use Element::{Integer, Number as Of};
        Ok(match (module, name) {
            ("collections", "OrderedDict") => Self::OrderedDict,
            ("torch._utils", "_rebuild_tensor_v2" | "_rebuild_tensor") => Self::Tensor,
            ("torch._utils", "_rebuild_parameter") | ("torch.nn.parameter", "Parameter") => {
                Self::Parameter
            }
            ("torch", name) => Self::Storage(match name {
                "HalfStorage" => Of(Number::F16),
                "BFloat16Storage" => Of(Number::Bf16),
                "FloatStorage" => Of(Number::F32),
                "DoubleStorage" => Of(Number::F64),
                "LongStorage" => Integer("I64", 8),
                "IntStorage" => Integer("I32", 4),
                "ShortStorage" => Integer("I16", 2),
                "CharStorage" => Integer("I8", 1),
                "ByteStorage" => Integer("U8", 1),
                "BoolStorage" => Integer("BOOL", 1),
                _ => return Err(unknown(module, name)),
            }),
            _ => return Err(unknown(module, name)),
        })
    }
}

fn unknown(module: &str, name: &str) -> String {
    format!(
        "the pickle asks for {}.{}, and weights are tensors only: save the state dict alone",
        shown(module),
        shown(name)
    )
}

/// The beginning of a text from a file.
pub(super) fn shown(text: &str) -> String {
    const MOST: usize = 60;
    let mut start: String = text.chars().take(MOST).flat_map(char::escape_default).collect();
    if text.chars().nth(MOST).is_some() {
        start.push('…');
    }
    start
}
