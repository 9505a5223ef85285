//! An interpreter of the pickle instructions that state dicts are written with.
//!
//! Source: CPython's `Lib/pickletools.py`, of which protocol 2 and less than half of it; what is
//! not here is an error that names it.

mod rebuild;

use std::collections::BTreeMap;

use super::object::{Global, Id, Object, Pickle};

/// Longer pickles are no state dicts: ResNet-101's has 20,000 instructions. An instruction makes one
/// object at most, so that this also limits memory.
const MAX_INSTRUCTIONS: usize = 1 << 20;

impl<'a> Pickle<'a> {
    /// Reads the pickle that begins at `at` and moves behind it.
    pub(super) fn read(bytes: &'a [u8], at: &mut usize) -> Result<Self, String> {
        let mut machine = Machine {
            bytes,
            first: *at,
            at: *at,
            objects: Vec::new(),
            stack: Vec::new(),
            marks: Vec::new(),
            memo: BTreeMap::new(),
        };
        let mut count = 0;
        while machine.step()? == Next::Instruction {
            count += 1;
            if count > MAX_INSTRUCTIONS {
                return Err(format!("a pickle of more than {MAX_INSTRUCTIONS} instructions"));
            }
        }
        let root = machine.pop()?;
        *at = machine.at;
        Ok(Self { objects: machine.objects, root })
    }
}

struct Machine<'a> {
    bytes: &'a [u8],
    /// Where the pickle begins.
    first: usize,
    at: usize,
    objects: Vec<Object<'a>>,
    stack: Vec<Id>,
    /// Heights of the stack.
    marks: Vec<usize>,
    memo: BTreeMap<u32, Id>,
}

#[derive(PartialEq, Eq)]
enum Next {
    Instruction,
    End,
}

type Done = Result<(), String>;

impl<'a> Machine<'a> {
    /// Carries out one instruction.
    fn step(&mut self) -> Result<Next, String> {
        let place = self.at - self.first;
        let [code] = self.word()?;
        match code {
            b'.' => return Ok(Next::End),
            0x80 => {
                let [version] = self.word()?;
                if version > 2 {
                    return Err(format!("a pickle of protocol {version}, expected 2"));
                }
            }
            b'(' => self.marks.push(self.stack.len()),
            b'N' => self.push(Object::Other("None")),
            0x88 => self.push(Object::Bool(true)),
            0x89 => self.push(Object::Bool(false)),
            b'K' => {
                let [value] = self.word()?;
                self.push(Object::Int(value.into()));
            }
            b'M' => {
                let value = u16::from_le_bytes(self.word()?);
                self.push(Object::Int(value.into()));
            }
            b'J' => {
                let value = i32::from_le_bytes(self.word()?);
                self.push(Object::Int(value.into()));
            }
            0x8a => self.long()?,
            b'G' => {
                self.take(8)?;
                self.push(Object::Other("a number with a fraction"));
            }
            b'X' | b'T' => {
                let size = u32::from_le_bytes(self.word()?) as usize;
                self.text(size)?;
            }
            b'U' => {
                let [size] = self.word()?;
                self.text(size.into())?;
            }
            b')' => self.push(Object::Tuple(Vec::new())),
            0x85..=0x87 => {
                let count = usize::from(code - 0x84);
                let first = self.stack.len().checked_sub(count).ok_or("an empty stack")?;
                let items = self.stack.split_off(first);
                self.push(Object::Tuple(items));
            }
            b't' => {
                let items = self.above_mark()?;
                self.push(Object::Tuple(items));
            }
            b']' => self.push(Object::List(Vec::new())),
            b'a' => {
                let item = self.pop()?;
                self.append(vec![item])?;
            }
            b'e' => {
                let items = self.above_mark()?;
                self.append(items)?;
            }
            b'}' => self.push(Object::Dict { pairs: Vec::new(), from: None }),
            b's' => {
                let value = self.pop()?;
                let key = self.pop()?;
                self.set(&[key, value])?;
            }
            b'u' => {
                let items = self.above_mark()?;
                self.set(&items)?;
            }
            b'q' | b'r' => {
                let place = self.place(code)?;
                self.memo.insert(place, *self.stack.last().ok_or("an empty stack")?);
            }
            b'h' | b'j' => {
                let place = self.place(code)?;
                let known = self.memo.get(&place).copied();
                self.stack.push(known.ok_or_else(|| format!("nothing remembered as {place}"))?);
            }
            b'c' => self.global()?,
            b'Q' => self.storage()?,
            b'R' | 0x81 => self.reduce()?,
            b'b' => self.build()?,
            _ => {
                return Err(format!(
                    "byte {place} of the pickle is the instruction {code:#04x}, which no state \
                     dict needs"
                ));
            }
        }
        Ok(Next::Instruction)
    }

    fn take(&mut self, count: usize) -> Result<&'a [u8], String> {
        let taken = self.bytes.get(self.at..).and_then(|rest| rest.get(..count));
        let taken = taken.ok_or("the pickle ends in the middle: the file may be cut off")?;
        self.at += count;
        Ok(taken)
    }

    fn word<const N: usize>(&mut self) -> Result<[u8; N], String> {
        let taken = self.take(N)?;
        taken.try_into().map_err(|_| "as many bytes as asked for".to_owned())
    }

    fn line(&mut self) -> Result<&'a str, String> {
        let rest = self.bytes.get(self.at..).unwrap_or_default();
        let end = rest.iter().position(|&byte| byte == b'\n');
        let line = self.take(end.unwrap_or(rest.len() + 1))?;
        self.take(1)?;
        std::str::from_utf8(line).map_err(|_| "a name that is no text".to_owned())
    }

    fn push(&mut self, object: Object<'a>) {
        self.stack.push(self.objects.len());
        self.objects.push(object);
    }

    fn pop(&mut self) -> Result<Id, String> {
        let floor = self.marks.last().copied().unwrap_or(0);
        let is_above = self.stack.len() > floor;
        let top = if is_above { self.stack.pop() } else { None };
        top.ok_or_else(|| "an empty stack".to_owned())
    }

    /// What lies on the stack above the last mark, which is removed.
    fn above_mark(&mut self) -> Result<Vec<Id>, String> {
        let mark = self.marks.pop().ok_or("a pickle without a mark")?;
        if mark > self.stack.len() {
            return Err("a mark above the stack".to_owned());
        }
        Ok(self.stack.split_off(mark))
    }

    fn top(&mut self) -> Result<&mut Object<'a>, String> {
        let top = *self.stack.last().ok_or("an empty stack")?;
        Ok(&mut self.objects[top])
    }

    /// The number under which the instruction `code` remembers or recalls.
    fn place(&mut self, code: u8) -> Result<u32, String> {
        if matches!(code, b'r' | b'j') {
            return Ok(u32::from_le_bytes(self.word()?));
        }
        let [place] = self.word()?;
        Ok(place.into())
    }

    fn text(&mut self, size: usize) -> Done {
        let text = std::str::from_utf8(self.take(size)?);
        self.push(Object::Text(text.map_err(|_| "a text that is not UTF-8")?));
        Ok(())
    }

    /// A signed number of up to 255 bytes, the lowest first.
    fn long(&mut self) -> Done {
        let [size] = self.word()?;
        let bytes = self.take(size.into())?;
        self.push(match bytes {
            [] => Object::Int(0),
            [.., high] if bytes.len() <= 8 => {
                let filler = if high >> 7 == 0 { 0 } else { 0xff };
                let mut word = [filler; 8];
                word[..bytes.len()].copy_from_slice(bytes);
                Object::Int(i64::from_le_bytes(word))
            }
            _ => Object::Other("a large number"),
        });
        Ok(())
    }

    fn append(&mut self, mut items: Vec<Id>) -> Done {
        match self.top()? {
            Object::List(list) => list.append(&mut items),
            other => return Err(format!("an element added to {}", other.kind())),
        }
        Ok(())
    }

    fn set(&mut self, items: &[Id]) -> Done {
        match self.top()? {
            Object::Dict { pairs, .. } => {
                let (new, rest) = items.as_chunks::<2>();
                if !rest.is_empty() {
                    return Err("a key without a value".to_owned());
                }
                pairs.extend(new.iter().map(|&[key, value]| (key, value)));
            }
            other => return Err(format!("an entry set in {}", other.kind())),
        }
        Ok(())
    }

    fn global(&mut self) -> Done {
        let (module, name) = (self.line()?, self.line()?);
        let global = Global::named(module, name)?;
        self.push(Object::Global(global));
        Ok(())
    }
}
