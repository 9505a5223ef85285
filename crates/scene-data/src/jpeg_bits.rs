//! The codes of a JPEG's scans, read for their number and not for their pixels.

/// Why the codes do not go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Damage {
    /// The data end before the block does.
    End,
    /// What is there is no code, or says what cannot be.
    Code,
}

/// Bits that are looked up at once; longer codes are rare.
const LOOKED_UP: u32 = 9;

/// The largest number of bits that a difference of 8-bit photographs takes.
const MOST_BITS: u32 = 11;

/// No coefficient of 8-bit pixels is beyond 1024, in encoders that sharpen white edges 1272; add
/// what is lost by rounding.
const LARGEST: u32 = 1280;

/// A table of Huffman codes.
pub(crate) struct Huffman {
    /// Length and symbol by the next bits; length 0 where the code is longer.
    short: Vec<(u8, u8)>,
    /// For each length the first code beyond it, moved up to 16 bits, and what leads from a code to
    /// its symbol's place.
    long: [(u32, i32); 17],
    symbols: Vec<u8>,
}

impl Huffman {
    /// From the numbers of codes of 1 to 16 bits and their symbols in order; `None` if there are
    /// more codes of a length than it has.
    pub(crate) fn new(counts: &[u8], symbols: &[u8]) -> Option<Self> {
        let mut short = vec![(0, 0); 1 << LOOKED_UP];
        let mut long = [(0, 0); 17];
        let (mut code, mut place) = (0u32, 0usize);
        for (length, &count) in (1u32..).zip(counts) {
            let count = usize::from(count);
            long[length as usize].1 = place as i32 - code as i32;
            for &symbol in symbols.get(place..place + count)? {
                if code >> length != 0 {
                    return None;
                }
                if length <= LOOKED_UP {
                    let first = (code << (LOOKED_UP - length)) as usize;
                    short[first..first + (1 << (LOOKED_UP - length))].fill((length as u8, symbol));
                }
                code += 1;
            }
            place += count;
            long[length as usize].0 = code << (16 - length);
            code <<= 1;
        }
        Some(Self { short, long, symbols: symbols.to_vec() })
    }
}

/// The bits of a run of codes.
pub(crate) struct Bits<'a> {
    rest: &'a [u8],
    /// The next bits, from the highest on; zeros follow the last.
    word: u64,
    /// How many of them are filled in.
    filled: u32,
    /// Bits that are there and not yet read.
    left: usize,
}

impl<'a> Bits<'a> {
    pub(crate) fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes, word: 0, filled: 0, left: 8 * bytes.len() }
    }

    /// Bits that are there and not yet read.
    pub(crate) fn left(&self) -> usize {
        self.left
    }

    /// Whether more is left than what fills up a byte, or bytes of nothing.
    pub(crate) fn has_left(&self) -> bool {
        let of_nothing = |bytes: &[u8]| bytes.iter().all(|byte| matches!(byte, 0 | 0xff));
        // Whole bytes of those taken already begin behind what fills up theirs.
        let taken = (self.word << (self.left % 8)).to_be_bytes();
        let whole = (self.left / 8).saturating_sub(self.rest.len()).min(taken.len());
        !(of_nothing(&taken[..whole]) && of_nothing(self.rest))
    }

    /// Passes over one bit.
    pub(crate) fn skip_bit(&mut self) -> Result<(), Damage> {
        self.fill();
        self.skip(1)
    }

    /// Passes over bits that are filled in.
    fn skip(&mut self, count: u32) -> Result<(), Damage> {
        self.left = self.left.checked_sub(count as usize).ok_or(Damage::End)?;
        self.word <<= count;
        self.filled -= count;
        Ok(())
    }

    /// Reads bits as a number, at most 16 behind a symbol.
    fn number(&mut self, count: u32) -> Result<u32, Damage> {
        let number = (self.word >> 32) as u32;
        self.skip(count)?;
        Ok(if count == 0 { 0 } else { number >> (32 - count) })
    }

    fn fill(&mut self) {
        while self.filled <= 32 {
            match self.rest {
                &[a, b, c, d, ref rest @ ..] => {
                    let four = u64::from(u32::from_be_bytes([a, b, c, d]));
                    self.word |= four << (32 - self.filled);
                    (self.rest, self.filled) = (rest, self.filled + 32);
                }
                &[byte, ref rest @ ..] => {
                    self.word |= u64::from(byte) << (56 - self.filled);
                    (self.rest, self.filled) = (rest, self.filled + 8);
                }
                [] => self.filled = 64, // Zeros, which `left` does not count.
            }
        }
    }

    /// Reads a code; 16 bits behind it are filled in.
    fn symbol(&mut self, table: &Huffman) -> Result<u32, Damage> {
        self.fill();
        let (length, symbol) = table.short[(self.word >> (64 - LOOKED_UP)) as usize];
        if length > 0 {
            self.skip(length.into())?;
            return Ok(symbol.into());
        }
        let next = (self.word >> 48) as u32;
        for length in LOOKED_UP + 1..=16 {
            let (beyond, offset) = table.long[length as usize];
            if next < beyond {
                self.skip(length)?;
                let place = (next >> (16 - length)) as i32 + offset;
                let symbol = usize::try_from(place).ok().and_then(|at| table.symbols.get(at));
                return symbol.map(|&symbol| symbol.into()).ok_or(Damage::Code);
            }
        }
        Err(if self.left < 16 { Damage::End } else { Damage::Code })
    }

    /// A signed number of `size` bits.
    fn value(&mut self, size: u32) -> Result<i32, Damage> {
        let number = self.number(size)? as i32;
        let is_negative = size > 0 && number >> (size - 1) == 0;
        Ok(if is_negative { number + 1 - (1 << size) } else { number })
    }

    /// The first coefficient of a block, where a scan begins with it: what is added to that of the
    /// block before, which is at `before`. A step is worth `quantum`.
    pub(crate) fn dc(
        &mut self,
        table: &Huffman,
        before: &mut i32,
        quantum: u32,
    ) -> Result<(), Damage> {
        let size = self.symbol(table)?;
        if size > MOST_BITS {
            return Err(Damage::Code);
        }
        *before += self.value(size)?;
        is_possible(*before, quantum)
    }

    /// The other coefficients of a block in a sequential file.
    pub(crate) fn ac(&mut self, ac: &Huffman, quanta: &[u32; 64]) -> Result<(), Damage> {
        let mut at = 1;
        while at < 64 {
            let symbol = self.symbol(ac)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            match (run, size) {
                (0, 0) => break,
                (15, 0) => at += 16,
                _ => at += run as usize + 1,
            }
            // Only the two above have no size.
            if at > 64 || size >= MOST_BITS || size == 0 && run != 15 {
                return Err(Damage::Code);
            }
            is_possible(self.value(size)?, quanta[at - 1])?;
        }
        Ok(())
    }

    /// Coefficients `first` to `last` of a block in a progressive file, seen for the first time:
    /// a step of each is worth `quantum`. `skipped` counts blocks to come that have none.
    pub(crate) fn ac_first(
        &mut self,
        table: &Huffman,
        quantum: impl Fn(usize) -> u32,
        [first, last]: [usize; 2],
        nonzero: &mut u64,
        skipped: &mut u32,
    ) -> Result<(), Damage> {
        if *skipped > 0 {
            *skipped -= 1;
            return Ok(());
        }
        let mut at = first;
        while at <= last {
            let symbol = self.symbol(table)?;
            let (run, size) = (symbol >> 4, symbol & 15);
            if size == 0 && run < 15 {
                *skipped = (1 << run) - 1 + self.number(run)?;
                break;
            }
            at += run as usize;
            if at > last || size >= MOST_BITS {
                return Err(Damage::Code);
            }
            if size > 0 {
                *nonzero |= 1 << at;
                is_possible(self.value(size)?, quantum(at))?;
            }
            at += 1;
        }
        Ok(())
    }

    /// The same, seen again: a bit more of each that is not 0, and those that become so.
    pub(crate) fn ac_refined(
        &mut self,
        table: &Huffman,
        [first, last]: [usize; 2],
        nonzero: &mut u64,
        skipped: &mut u32,
    ) -> Result<(), Damage> {
        let mut at = first;
        while *skipped == 0 && at <= last {
            let symbol = self.symbol(table)?;
            let (mut zeros, size) = (symbol >> 4, symbol & 15);
            if size == 0 && zeros < 15 {
                *skipped = (1 << zeros) + self.number(zeros)?;
                break;
            }
            if size > 1 {
                return Err(Damage::Code);
            }
            self.skip(size)?;
            while at <= last {
                if *nonzero >> at & 1 == 1 {
                    self.skip_bit()?;
                } else if zeros == 0 {
                    break;
                } else {
                    zeros -= 1;
                }
                at += 1;
            }
            if size == 1 {
                if at > last {
                    return Err(Damage::Code);
                }
                *nonzero |= 1 << at;
            }
            at += 1;
        }
        if *skipped > 0 {
            *skipped -= 1;
            for _ in (at..=last).filter(|at| *nonzero >> at & 1 == 1) {
                self.skip_bit()?;
            }
        }
        Ok(())
    }
}

/// Whether pixels of 8 bits can give such a coefficient.
fn is_possible(value: i32, quantum: u32) -> Result<(), Damage> {
    let worth = value.unsigned_abs().saturating_sub(1).saturating_mul(quantum);
    if worth > LARGEST { Err(Damage::Code) } else { Ok(()) }
}
