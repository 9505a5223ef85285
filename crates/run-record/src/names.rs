//! The known name that someone probably meant.

/// The candidate most similar to `word`, if any is similar enough to be what was meant.
///
/// ```
/// assert_eq!(run_record::nearest("epoch", ["epochs", "batch_size"]), Some("epochs"));
/// assert_eq!(run_record::nearest("zebra", ["epochs", "batch_size"]), None);
/// ```
pub fn nearest<'a>(word: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    /// Below this share of letters in place, a suggestion confuses more than it helps.
    const SIMILAR: f64 = 0.45;
    /// Longer words are no slip; to compare two takes the product of their lengths.
    const LONGEST: usize = 200;
    let wanted = word.to_lowercase();
    let mut best: Option<(f64, &str)> = None;
    if word.len() > LONGEST {
        return None;
    }
    for candidate in candidates.into_iter().filter(|candidate| candidate.len() <= LONGEST) {
        let known = candidate.to_lowercase();
        let mut score = strsim::normalized_damerau_levenshtein(&wanted, &known);
        // "attention" is a fair way to ask for "dense-attention".
        if wanted.len() >= 3 && known.contains(&wanted) {
            score = score.max(SIMILAR) + 0.1;
        }
        // Strictly greater: of equals, the first listed.
        if score >= SIMILAR && best.is_none_or(|(top, _)| score > top) {
            best = Some((score, candidate));
        }
    }
    best.map(|(_, candidate)| candidate)
}

/// Adds the nearest known name to serde's message about an unknown field or variant.
///
/// Other messages come back as they are.
///
/// ```
/// let message = "unknown field `epoch`, expected `epochs` or `batch_size`";
/// assert!(run_record::with_nearest(message).ends_with("did you mean `epochs`?"));
/// ```
pub fn with_nearest(message: &str) -> String {
    // serde: unknown field `x`, expected one of `a`, `b` (or: expected `a`).
    let is_unknown = message.starts_with("unknown field") || message.starts_with("unknown variant");
    let mut quoted = message.split('`').skip(1).step_by(2);
    let (Some(word), true) = (quoted.next(), is_unknown) else { return message.to_owned() };
    match nearest(word, quoted) {
        Some(near) => format!("{message}; did you mean `{near}`?"),
        None => message.to_owned(),
    }
}

/// The longest name of a sweep or an arm: with seed, hash and endings a file's name stays below the
/// 255 bytes that file systems allow.
const LONGEST: usize = 128;

/// Checks a name that files and folders are called after.
pub(crate) fn check_name(field: &str, name: &str) -> Result<(), String> {
    let fit = |c: char| c.is_ascii_alphanumeric() || "-_.".contains(c);
    let length = name.len();
    if length > LONGEST {
        return Err(format!(
            "{field} has {length} characters; expected at most {LONGEST}, since files are called \
             after it"
        ));
    }
    if !name.is_empty() && name.chars().all(fit) && !name.starts_with('.') {
        return Ok(());
    }
    Err(format!(
        "{field} = {name:?}: expected letters, digits, `-`, `_` or `.`, since files are called \
         after it"
    ))
}
