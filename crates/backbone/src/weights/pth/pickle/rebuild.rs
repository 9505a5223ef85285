//! The instructions that would run code: here they put tensors together and nothing else.

use super::super::object::{Global, Id, Object, Storage, View};
use super::{Done, Machine};

/// The most axes of a tensor.
const MAX_RANK: usize = 8;

impl Machine<'_> {
    /// A persistent id: `("storage", class, key, device, elements)`, in the earlier form with
    /// `None` or `(key, offset, elements)` of a part of it behind that.
    pub(super) fn storage(&mut self) -> Done {
        let id = self.pop()?;
        let bad = || "a reference outside the pickle that is no storage".to_owned();
        let (kind, class, key, count, part) = match *self.tuple(id)? {
            [kind, class, key, _, count] => (kind, class, key, count, None),
            [kind, class, key, _, count, part] => (kind, class, key, count, Some(part)),
            _ => return Err(bad()),
        };
        let is_storage = matches!(self.objects[kind], Object::Text("storage"));
        let is_text = matches!(self.objects[key], Object::Text(_));
        let Object::Global(Global::Storage(element)) = self.objects[class] else {
            return Err(bad());
        };
        if !is_storage || !is_text {
            return Err(bad());
        }
        let part = part.filter(|&part| !matches!(self.objects[part], Object::Other("None")));
        let offset = match part {
            None => 0,
            Some(part) => match *self.tuple(part)? {
                [_, offset, _] => self.index(offset)?,
                _ => return Err(bad()),
            },
        };
        let storage = Storage { element, key, count: self.index(count)?, offset };
        self.push(Object::Storage(storage));
        Ok(())
    }

    /// A call of a class or function, which is told by its name and made up for here.
    pub(super) fn reduce(&mut self) -> Done {
        let (args, called) = (self.pop()?, self.pop()?);
        let Object::Global(global) = self.objects[called] else {
            return Err(format!("a call of {}", self.objects[called].kind()));
        };
        let args = self.tuple(args)?;
        match (global, args) {
            (Global::OrderedDict, []) => {
                self.push(Object::Dict { pairs: Vec::new(), from: None });
            }
            // As Python 2 wrote it.
            (Global::OrderedDict, &[list]) => {
                self.push(Object::Dict { pairs: Vec::new(), from: Some(list) });
            }
            (Global::Tensor, &[storage, offset, size, stride, ..]) => {
                if !matches!(self.objects[storage], Object::Storage(_)) {
                    return Err(format!("a tensor of {}", self.objects[storage].kind()));
                }
                let offset = self.index(offset)?;
                let (size, stride) = (self.indices(size)?, self.indices(stride)?);
                if size.len() != stride.len() {
                    return Err("a tensor with other axes than strides".to_owned());
                }
                self.push(Object::Tensor(View { storage, offset, size, stride }));
            }
            (Global::Parameter, &[tensor, ..]) => {
                if !matches!(self.objects[tensor], Object::Tensor(_)) {
                    return Err(format!("a parameter of {}", self.objects[tensor].kind()));
                }
                self.stack.push(tensor);
            }
            (Global::Storage(element), _) => {
                return Err(format!("a call of the class of storages of {}", element.name()));
            }
            (Global::OrderedDict | Global::Tensor | Global::Parameter, args) => {
                return Err(format!("a call with {} arguments that it does not take", args.len()));
            }
        }
        Ok(())
    }

    /// Attributes of an object: dictionaries' and parameters' have no effect on the weights.
    pub(super) fn build(&mut self) -> Done {
        self.pop()?;
        match self.top()? {
            Object::Dict { .. } | Object::Tensor(_) => Ok(()),
            other => Err(format!("attributes of {}", other.kind())),
        }
    }

    fn tuple(&self, id: Id) -> Result<&[Id], String> {
        match &self.objects[id] {
            Object::Tuple(items) => Ok(items),
            other => Err(format!("{} where a tuple belongs", other.kind())),
        }
    }

    fn index(&self, id: Id) -> Result<usize, String> {
        let value = match self.objects[id] {
            Object::Int(value) => usize::try_from(value).ok(),
            _ => None,
        };
        value.ok_or_else(|| format!("{} where a count belongs", self.objects[id].kind()))
    }

    fn indices(&self, id: Id) -> Result<Vec<usize>, String> {
        let items = self.tuple(id)?;
        if items.len() > MAX_RANK {
            return Err(format!("a tensor of {} axes, expected {MAX_RANK} at most", items.len()));
        }
        items.iter().map(|&item| self.index(item)).collect()
    }
}
