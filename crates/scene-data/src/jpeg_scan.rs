//! Whether the scans of a JPEG hold the whole photograph.
//!
//! Decoders are made to show something: where a scan is cut off or damaged they fill the rest with
//! gray or with shifted blocks and say nothing. Here the codes of every scan are counted, without
//! making pixels: each must hold the blocks that the photograph has, no fewer and no more. What
//! lies behind the photograph's end (phones put films there) is not looked at.

use crate::jpeg_bits::{Bits, Damage, Huffman};

/// Checks every scan (ITU-T T.81, sequential and progressive with Huffman codes).
///
/// Forms of JPEG that nothing here decodes pass: they are the decoder's to refuse.
///
/// # Errors
///
/// What is missing or broken, in a few words.
pub(crate) fn check(bytes: &[u8]) -> Result<(), String> {
    let mut walk = Walk::default();
    let mut at = 2; // Behind the mark of the start.
    while let Some((marker, body)) = next_marker(bytes, at) {
        match marker {
            END_OF_IMAGE => return walk.ends(true),
            0x01 | 0xd0..=0xd8 => {
                at = body; // Marks without content.
                continue;
            }
            _ => {}
        }
        let Some(length) = bytes.get(body..body + 2) else { break };
        let end = body + usize::from(u16::from_be_bytes([length[0], length[1]]));
        let Some(content) = bytes.get(body + 2..end) else { break };
        at = end;
        match marker {
            0xc0..=0xc2 => walk.frame = Frame::parse(content, marker == 0xc2),
            0xdb => walk.quanta(content).ok_or("a table of its steps is broken")?,
            0xc4 => walk.tables(content).ok_or("a table of its codes is broken")?,
            // Arithmetic codes, lossless and hierarchical forms.
            0xc3 | 0xc5..=0xcf => return Ok(()),
            0xdd => {
                let interval = content.get(..2).ok_or("its restart interval is broken")?;
                walk.interval = usize::from(u16::from_be_bytes([interval[0], interval[1]]));
            }
            START_OF_SCAN => {
                let Some(mut frame) = walk.frame.take() else { return Ok(()) };
                let scan = Scan::parse(content, &frame).ok_or("the head of a scan is broken")?;
                at += walk.scan(&bytes[at..], &mut frame, &scan)?;
                walk.frame = Some(frame);
            }
            _ => {}
        }
    }
    walk.ends(false)
}

const START_OF_SCAN: u8 = 0xda;
const END_OF_IMAGE: u8 = 0xd9;

/// The next mark from `at` on, and where its content begins.
fn next_marker(bytes: &[u8], mut at: usize) -> Option<(u8, usize)> {
    loop {
        at += bytes.get(at..)?.iter().position(|&byte| byte == 0xff)? + 1;
        match *bytes.get(at)? {
            0 => {}
            0xff => {} // Filling.
            marker => return Some((marker, at + 1)),
        }
    }
}

/// What the file has said so far.
#[derive(Default)]
struct Walk {
    frame: Option<Frame>,
    dc: [Option<Huffman>; 4],
    ac: [Option<Huffman>; 4],
    /// What the steps of the 64 coefficients are worth.
    quanta: [Option<[u32; 64]>; 4],
    /// Units between two restart marks; 0 for none.
    interval: usize,
}

struct Frame {
    progressive: bool,
    /// In pixels.
    size: [usize; 2],
    /// The largest sampling factors, across and down.
    most: [usize; 2],
    components: Vec<Component>,
}

struct Component {
    id: u8,
    /// Sampling factors, across and down.
    factors: [usize; 2],
    /// Which of the tables of steps is its own.
    quanta: usize,
    /// The first coefficient of the block before.
    before: i32,
    /// Blocks of a row, filled up to whole units.
    stride: usize,
    scanned: bool,
    /// For each coefficient, how many bits of it later scans are to add.
    to_come: [u32; 64],
    /// Of every block, which coefficients are not 0; progressive files only.
    nonzero: Vec<u64>,
}

impl Frame {
    /// `None` for a frame that no decoder here takes.
    fn parse(content: &[u8], progressive: bool) -> Option<Self> {
        let &[8, h0, h1, w0, w1, count, ref parts @ ..] = content else { return None };
        let size = [u16::from_be_bytes([w0, w1]), u16::from_be_bytes([h0, h1])].map(usize::from);
        let parts: Vec<&[u8]> = parts.chunks_exact(3).take(count.into()).collect();
        let factors = |part: &&[u8]| [usize::from(part[1] >> 4), usize::from(part[1] & 15)];
        let most = |axis: usize| parts.iter().map(|part| factors(part)[axis]).max();
        let most = [most(0)?, most(1)?];
        if parts.len() != usize::from(count) || parts.iter().any(|p| factors(p).contains(&0)) {
            return None;
        }
        let units = [0, 1].map(|axis| size[axis].div_ceil(8 * most[axis]));
        let component = |part: &&[u8]| {
            let [across, down] = factors(part);
            let stride = units[0] * across;
            let blocks = if progressive { stride * units[1] * down } else { 0 };
            let nonzero = vec![0; blocks];
            let (id, factors, quanta) = (part[0], [across, down], part[2].into());
            let (before, scanned, to_come) = (0, false, [0; 64]);
            Component { id, factors, quanta, before, stride, scanned, to_come, nonzero }
        };
        let components = parts.iter().map(component).collect();
        (!size.contains(&0)).then_some(Self { progressive, size, most, components })
    }

    /// Units of a scan, across and down: of one component alone a unit is a block.
    fn units(&self, scan: &Scan) -> [usize; 2] {
        let alone =
            (scan.parts.len() == 1).then(|| self.components[scan.parts[0].component].factors);
        [0, 1].map(|axis| match alone {
            Some(of) => (self.size[axis] * of[axis]).div_ceil(self.most[axis]).div_ceil(8),
            None => self.size[axis].div_ceil(8 * self.most[axis]),
        })
    }
}

/// What a scan adds to the photograph.
struct Scan {
    parts: Vec<Part>,
    /// The first and the last coefficient.
    band: [usize; 2],
    /// Whether it adds a bit to what an earlier scan gave.
    refines: bool,
    /// Bits that later scans add.
    later: u32,
}

struct Part {
    component: usize,
    dc: usize,
    ac: usize,
}

impl Scan {
    fn parse(content: &[u8], frame: &Frame) -> Option<Self> {
        let (&count, rest) = content.split_first()?;
        let (parts, rest) = rest.split_at_checked(2 * usize::from(count))?;
        let part = |two: &[u8]| {
            let component = frame.components.iter().position(|c| c.id == two[0])?;
            Some(Part { component, dc: usize::from(two[1] >> 4), ac: usize::from(two[1] & 15) })
        };
        let parts = parts.chunks_exact(2).map(part).collect::<Option<Vec<_>>>()?;
        let &[first, last, precision] = rest.get(..3)? else { return None };
        let band = [usize::from(first), usize::from(last)];
        let is_sound = !parts.is_empty()
            && (!frame.progressive || band[0] <= band[1] && band[1] < 64)
            && (!frame.progressive || band[0] == 0 || parts.len() == 1)
            && precision & 15 < 14;
        let (refines, later) = (precision >> 4 != 0, u32::from(precision & 15));
        is_sound.then_some(Self { parts, band, refines, later })
    }
}

impl Walk {
    /// Reads the tables of codes; `None` if one is broken.
    fn tables(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((&place, rest)) = content.split_first() {
            let (counts, rest) = rest.split_at_checked(16)?;
            let codes = counts.iter().map(|&n| usize::from(n)).sum();
            let (symbols, rest) = rest.split_at_checked(codes)?;
            let tables = if place >> 4 == 0 { &mut self.dc } else { &mut self.ac };
            *tables.get_mut(usize::from(place & 15))? = Some(Huffman::new(counts, symbols)?);
            content = rest;
        }
        Some(())
    }

    /// Reads the tables of steps; `None` if one is broken.
    fn quanta(&mut self, mut content: &[u8]) -> Option<()> {
        while let Some((&place, rest)) = content.split_first() {
            let bytes = if place >> 4 == 0 { 1 } else { 2 };
            let (steps, rest) = rest.split_at_checked(64 * bytes)?;
            let step = |at: usize| {
                let step = &steps[at * bytes..(at + 1) * bytes];
                step.iter().fold(0, |high, &low| high << 8 | u32::from(low))
            };
            *self.quanta.get_mut(usize::from(place & 15))? = Some(std::array::from_fn(step));
            content = rest;
        }
        Some(())
    }

    /// Goes through the codes of a scan at the start of `bytes` and returns its length.
    fn scan(&self, bytes: &[u8], frame: &mut Frame, scan: &Scan) -> Result<usize, String> {
        let [across, down] = frame.units(scan);
        let total = across * down;
        let (mut at, mut done) = (0, 0);
        let mut codes = Vec::new();
        loop {
            let (length, marker) = segment(&bytes[at..], &mut codes);
            let units = if self.interval == 0 { total } else { self.interval };
            let mut bits = Bits::new(&codes);
            let mut skipped = 0;
            frame.components.iter_mut().for_each(|component| component.before = 0);
            for unit in done..(done + units).min(total) {
                let place = [unit % across, unit / across];
                let read = self.unit(frame, scan, place, &mut bits, &mut skipped);
                read.map_err(|damage| match damage {
                    Damage::End => format!("a scan ends after {unit} of its {total} units"),
                    Damage::Code => format!("a broken code in unit {} of {total}", unit + 1),
                })?;
            }
            // Beyond the last unit some encoders put a restart mark.
            let is_spare = done >= total && codes.is_empty();
            if skipped > 0 || !is_spare && bits.has_left() {
                return Err(format!("{} bytes of a scan are left over", bits.left() / 8));
            }
            done += units;
            at += length;
            match marker {
                Some(0xd0..=0xd7) if self.interval > 0 => at += 2,
                _ => break,
            }
        }
        if done < total {
            return Err(format!("a scan ends after {done} of its {total} units"));
        }
        for part in &scan.parts {
            let component = &mut frame.components[part.component];
            component.scanned = true;
            if frame.progressive {
                component.to_come[scan.band[0]..=scan.band[1]].fill(scan.later);
            }
        }
        Ok(at)
    }

    /// The blocks of one unit.
    fn unit(
        &self,
        frame: &mut Frame,
        scan: &Scan,
        [x, y]: [usize; 2],
        bits: &mut Bits<'_>,
        skipped: &mut u32,
    ) -> Result<(), Damage> {
        for part in &scan.parts {
            let component = &mut frame.components[part.component];
            let [across, down] = if scan.parts.len() == 1 { [1, 1] } else { component.factors };
            let of_dc = || self.dc.get(part.dc).and_then(Option::as_ref).ok_or(Damage::Code);
            let of_ac = || self.ac.get(part.ac).and_then(Option::as_ref).ok_or(Damage::Code);
            let quanta = self.quanta.get(component.quanta).and_then(Option::as_ref);
            let quanta = quanta.ok_or(Damage::Code)?;
            let quantum = |at: usize| quanta[at] << scan.later;
            let before = &mut component.before;
            for (dy, dx) in (0..down).flat_map(|dy| (0..across).map(move |dx| (dy, dx))) {
                if !frame.progressive {
                    bits.dc(of_dc()?, before, quanta[0])?;
                    bits.ac(of_ac()?, quanta)?;
                    continue;
                }
                let place = (y * down + dy) * component.stride + x * across + dx;
                let nonzero = component.nonzero.get_mut(place).ok_or(Damage::Code)?;
                match (scan.band, scan.refines) {
                    ([0, _], false) => bits.dc(of_dc()?, before, quantum(0))?,
                    ([0, _], true) => bits.skip_bit()?,
                    (band, false) => {
                        bits.ac_first(of_ac()?, quantum, band, nonzero, skipped)?;
                    }
                    (band, true) => bits.ac_refined(of_ac()?, band, nonzero, skipped)?,
                }
            }
        }
        Ok(())
    }

    /// What is missing at the end of the file, or of the photograph in it.
    fn ends(&self, marked: bool) -> Result<(), String> {
        let Some(frame) = &self.frame else { return Ok(()) };
        if frame.components.iter().any(|component| !component.scanned) {
            return Err("a scan is missing".to_owned());
        }
        let is_refined = frame.components.iter().all(|c| c.to_come.iter().all(|&bits| bits == 0));
        // Without the mark, nobody knows how many more scans there were.
        if frame.progressive && !(marked && is_refined) {
            return Err("scans that refine it are missing".to_owned());
        }
        Ok(())
    }
}

/// Takes the codes up to the next mark: their length in the file, and the mark if there is one.
fn segment(bytes: &[u8], codes: &mut Vec<u8>) -> (usize, Option<u8>) {
    codes.clear();
    let mut at = 0;
    while let Some(run) = bytes[at..].iter().position(|&byte| byte == 0xff) {
        codes.extend_from_slice(&bytes[at..at + run]);
        at += run;
        match bytes.get(at + 1) {
            Some(0) => {
                codes.push(0xff);
                at += 2;
            }
            Some(0xff) => at += 1,
            marker => return (at, marker.copied()),
        }
    }
    codes.extend_from_slice(&bytes[at..]);
    (bytes.len(), None)
}
