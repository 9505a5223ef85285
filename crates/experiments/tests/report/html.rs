//! Just enough of HTML to check a page by: its tags and the text between them.

/// A tag or text, in the page's order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Token {
    Open { name: String, attributes: Vec<(String, String)> },
    Close(String),
    Text(String),
}

/// Elements that are never closed.
const VOID: [&str; 4] = ["meta", "img", "col", "br"];

/// Reads a page that closes what it opens, and panics at one that does not.
pub(crate) fn tokens(page: &str) -> Vec<Token> {
    let mut rest = page.strip_prefix("<!DOCTYPE html>").unwrap();
    let (mut tokens, mut open) = (Vec::new(), Vec::new());
    while let Some(at) = rest.find('<') {
        if !rest[..at].trim().is_empty() {
            tokens.push(Token::Text(unescaped(&rest[..at])));
        }
        let end = at + rest[at..].find('>').unwrap();
        let tag = &rest[at + 1..end];
        rest = &rest[end + 1..];
        if let Some(name) = tag.strip_prefix('/') {
            assert_eq!(open.pop().as_deref(), Some(name), "closed without having been opened");
            tokens.push(Token::Close(name.to_owned()));
            continue;
        }
        let name: String = tag.chars().take_while(|c| c.is_ascii_alphanumeric()).collect();
        tokens.push(Token::Open { attributes: attributes(&tag[name.len()..]), name: name.clone() });
        if !VOID.contains(&name.as_str()) {
            open.push(name);
        }
    }
    assert!(open.is_empty(), "not closed: {open:?}");
    tokens
}

/// `name="value"` and bare names.
fn attributes(mut text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    while !text.trim().is_empty() {
        let (name, after) = text.split_once("=\"").unwrap();
        let (value, after) = after.split_once('"').unwrap();
        let name = name.trim().to_owned();
        assert!(name.chars().all(|c| c.is_ascii_alphanumeric() || c == '-'), "{name}");
        found.push((name, unescaped(value)));
        text = after;
    }
    found
}

fn unescaped(text: &str) -> String {
    let entities = [("&lt;", "<"), ("&gt;", ">"), ("&quot;", "\""), ("&amp;", "&")];
    entities.iter().fold(text.to_owned(), |text, (entity, c)| text.replace(entity, c))
}

impl Token {
    /// Whether it opens an element of that name.
    pub(crate) fn opens(&self, element: &str) -> bool {
        matches!(self, Self::Open { name, .. } if name == element)
    }

    /// The value of an attribute.
    pub(crate) fn attribute(&self, wanted: &str) -> Option<&str> {
        let Self::Open { attributes, .. } = self else { return None };
        let found = attributes.iter().find(|(name, _)| name == wanted);
        found.map(|(_, value)| value.as_str())
    }
}

/// The text from a token to the end of the element that it opens.
pub(crate) fn text_of(tokens: &[Token]) -> String {
    let Some(Token::Open { name: outer, .. }) = tokens.first() else { return String::new() };
    let (mut depth, mut text) = (0, String::new());
    for token in tokens {
        match token {
            Token::Open { name, .. } if name == outer => depth += 1,
            Token::Close(name) if name == outer => depth -= 1,
            Token::Text(more) => text.push_str(more),
            _ => {}
        }
        if depth == 0 {
            break;
        }
    }
    text
}
