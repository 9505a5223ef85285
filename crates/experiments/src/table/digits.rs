//! A number as it is shown, rounded once for every form.

/// The digits of a number, with a sign where one is shown and a point.
///
/// ```
/// use experiments::table::Digits;
///
/// assert_eq!(Digits::new(1234.56, 1).grouped(" "), "1 234.6");
/// assert_eq!(Digits::signed(-0.04, 1).grouped(""), "-0.0");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Digits(String);

impl Digits {
    /// So many digits after the point.
    pub fn new(value: f64, decimals: usize) -> Self {
        Self(format!("{value:.decimals$}"))
    }

    /// The same, with a sign in any case.
    pub fn signed(value: f64, decimals: usize) -> Self {
        Self(format!("{value:+.decimals$}"))
    }

    /// A whole number.
    pub fn count(n: u64) -> Self {
        Self(n.to_string())
    }

    /// The digits, thousands set apart by `separator`.
    pub fn grouped(&self, separator: &str) -> String {
        let whole = self.0.find('.').unwrap_or(self.0.len());
        let mut text = String::new();
        for (at, digit) in self.0.char_indices() {
            let after_digit = self.0[..at].ends_with(|c: char| c.is_ascii_digit());
            if at < whole && after_digit && (whole - at).is_multiple_of(3) {
                text.push_str(separator);
            }
            text.push(digit);
        }
        text
    }
}
