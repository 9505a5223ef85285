//! A state dict: which tensors there are, and their values once the storages are read.

use std::collections::BTreeMap;

use candle_core::Tensor;

use super::super::values::{Number, is_counter, weight};
use super::object::{Element, Object, Pairs, Pickle, Storage, View, shown};

/// Names under which programs save a state dict beside other things, the preferred ones first.
const KEYS: [&str; 10] = [
    "state_dict",
    "model_state_dict",
    "model_state",
    "model",
    "net",
    "network",
    "weights",
    "params",
    "module",
    "backbone",
];

/// The tensors of a pickle, filled storage by storage.
pub(super) struct State<'p> {
    pickle: &'p Pickle<'p>,
    storages: BTreeMap<&'p str, Wanted<'p>>,
    tensors: BTreeMap<String, Tensor>,
}

/// A storage and the tensors that are parts of it.
struct Wanted<'p> {
    element: Element,
    count: usize,
    /// Name, where the part of the storage begins that the tensor is in, and where it is there.
    parts: Vec<(&'p str, usize, &'p View)>,
}

impl<'p> State<'p> {
    /// The state dict that is the pickle's root or one of its entries, of a file of so many bytes.
    pub(super) fn new(pickle: &'p Pickle, bytes: usize) -> Result<Self, String> {
        let pairs = pickle.pairs(pickle.root()).ok_or_else(|| {
            format!("it holds {}, expected a dictionary of tensors", pickle.root().kind())
        })?;
        let pairs = opened(pickle, pairs)?;
        let mut state = Self { pickle, storages: BTreeMap::new(), tensors: BTreeMap::new() };
        let mut elements = 0usize;
        for (key, value) in pairs {
            let Object::Text(name) = key else {
                return Err(format!("a tensor's name is {}, expected a text", key.kind()));
            };
            let Object::Tensor(view) = value else {
                let (name, kind) = (shown(name), value.kind());
                return Err(format!(
                    "{name} is {kind}, expected a tensor: save the state dict alone"
                ));
            };
            let Object::Storage(storage) = &pickle.objects[view.storage] else {
                return Err(format!("{} has no storage", shown(name)));
            };
            let Object::Text(key) = &pickle.objects[storage.key] else {
                return Err(format!("{} has a storage without a name", shown(name)));
            };
            let count = checked(name, storage, view)?;
            // Tensors may share storages, but not to make much of little.
            elements = elements.saturating_add(count);
            if elements > bytes {
                return Err("its tensors have more elements than it has bytes".to_owned());
            }
            state.want(key, name, storage, view)?;
        }
        Ok(state)
    }

    fn want(
        &mut self,
        key: &'p str,
        name: &'p str,
        storage: &Storage,
        view: &'p View,
    ) -> Result<(), String> {
        let &Storage { element, count, offset, .. } = storage;
        let wanted =
            self.storages.entry(key).or_insert(Wanted { element, count, parts: Vec::new() });
        if (wanted.element, wanted.count) != (element, count) {
            return Err(format!("storage {} is described in two ways", shown(key)));
        }
        wanted.parts.push((name, offset, view));
        Ok(())
    }

    /// The storages that are not filled yet.
    pub(super) fn keys(&self) -> Vec<&'p str> {
        self.storages.keys().copied().collect()
    }

    /// Whether a tensor is in the storage `key` and it is not filled yet.
    pub(super) fn wants(&self, key: &str) -> bool {
        self.storages.contains_key(key)
    }

    /// What the storage `key` holds.
    pub(super) fn element(&self, key: &str) -> Result<Element, String> {
        if let Some(wanted) = self.storages.get(key) {
            return Ok(wanted.element);
        }
        let objects = &self.pickle.objects;
        let described = objects.iter().find_map(|object| match object {
            Object::Storage(storage) => match &objects[storage.key] {
                Object::Text(name) if *name == key => Some(storage.element),
                _ => None,
            },
            _ => None,
        });
        described.ok_or_else(|| format!("no tensor is in storage {}", shown(key)))
    }

    /// Makes the tensors that are in the storage `key` of its bytes.
    pub(super) fn fill(&mut self, key: &str, bytes: &[u8]) -> Result<(), String> {
        let Some(Wanted { element, count, parts }) = self.storages.remove(key) else {
            return Err(format!("storage {} is there twice", shown(key)));
        };
        if count.checked_mul(element.size()) != Some(bytes.len()) {
            let (key, element, found) = (shown(key), element.name(), bytes.len());
            return Err(format!(
                "storage {key} has {found} bytes, expected {count} elements of {element}"
            ));
        }
        let mut number = None;
        for (name, offset, view) in parts {
            if is_counter(name) {
                continue;
            }
            let Element::Number(of) = element else {
                let (name, element) = (shown(name), element.name());
                return Err(format!("{name} holds {element}; weights are F32, F16, BF16 or F64"));
            };
            let values: &Vec<f32> = number.get_or_insert_with(|| Number::widened(of, bytes));
            let tensor = weight(name, gathered(&values[offset..], view), &view.size)?;
            if self.tensors.insert(name.to_owned(), tensor).is_some() {
                return Err(format!("{} is there twice", shown(name)));
            }
        }
        Ok(())
    }

    /// All tensors.
    pub(super) fn finish(self) -> Result<BTreeMap<String, Tensor>, String> {
        match self.storages.keys().next() {
            None => Ok(self.tensors),
            Some(key) => Err(format!("storage {} is missing", shown(key))),
        }
    }
}

/// The pairs of a state dict: these, or where none of them is a tensor those of the one entry that
/// is a dictionary of tensors; of several, that of the first known name.
fn opened<'p>(pickle: &'p Pickle<'p>, pairs: Pairs<'p>) -> Result<Pairs<'p>, String> {
    let is_tensor = |(_, value): &(_, &Object)| matches!(value, Object::Tensor(_));
    if pairs.iter().any(is_tensor) {
        return Ok(pairs);
    }
    let mut dicts: Vec<(&str, Pairs<'p>)> = Vec::new();
    for (key, value) in &pairs {
        if let (Object::Text(name), Some(inner)) = (key, pickle.pairs(value))
            && !inner.is_empty()
            && inner.iter().all(is_tensor)
        {
            dicts.push((name, inner));
        }
    }
    let at = match dicts.len() {
        0 => return Ok(pairs),
        1 => 0,
        _ => {
            let known = |key: &&str| dicts.iter().position(|(name, _)| name == key);
            KEYS.iter().find_map(known).ok_or_else(|| {
                let names: Vec<String> = dicts.iter().map(|(name, _)| shown(name)).collect();
                format!(
                    "several of its entries are state dicts: {}; save the one that is meant alone",
                    names.join(", ")
                )
            })?
        }
    };
    Ok(dicts.swap_remove(at).1)
}

/// The number of elements of a tensor that lies within its storage.
fn checked(name: &str, storage: &Storage, view: &View) -> Result<usize, String> {
    let count = view.size.iter().try_fold(1usize, |count, &size| count.checked_mul(size));
    let reach = |(&size, &stride): (&usize, &usize)| size.saturating_sub(1).checked_mul(stride);
    let mut last = storage.offset.checked_add(view.offset);
    for axis in view.size.iter().zip(&view.stride) {
        last = last.zip(reach(axis)).and_then(|(last, reach)| last.checked_add(reach));
    }
    let fits = last.is_some_and(|last| last < storage.count);
    match count {
        Some(0) => Err(format!("{} has no elements", shown(name))),
        Some(count) if fits => Ok(count),
        _ => Err(format!(
            "{} of shape {:?} reaches beyond the {} elements of its storage",
            shown(name),
            view.size,
            storage.count
        )),
    }
}

/// The elements of a tensor in the order of its axes. It lies within `values`.
fn gathered(values: &[f32], view: &View) -> Vec<f32> {
    let count: usize = view.size.iter().product();
    let mut dense = 1;
    let is_dense = view.size.iter().zip(&view.stride).rev().all(|(&size, &stride)| {
        let fits = size == 1 || stride == dense;
        dense *= size;
        fits
    });
    if is_dense {
        return values[view.offset..][..count].to_vec();
    }
    let mut out = Vec::with_capacity(count);
    let mut index = vec![0; view.size.len()];
    let mut at = view.offset;
    for _ in 0..count {
        out.push(values[at]);
        for axis in (0..index.len()).rev() {
            index[axis] += 1;
            at += view.stride[axis];
            if index[axis] < view.size[axis] {
                break;
            }
            at -= index[axis] * view.stride[axis];
            index[axis] = 0;
        }
    }
    out
}
