//! The page's colours against each other, by WCAG 2.2.

/// Relative luminance of sRGB from 0 to 255.
fn luminance(rgb: [f64; 3]) -> f64 {
    let linear = rgb.map(|value| {
        let value = value / 255.0;
        if value <= 0.04045 { value / 12.92 } else { ((value + 0.055) / 1.055).powf(2.4) }
    });
    0.2126 * linear[0] + 0.7152 * linear[1] + 0.0722 * linear[2]
}

fn contrast(a: [f64; 3], b: [f64; 3]) -> f64 {
    let (a, b) = (luminance(a), luminance(b));
    (a.max(b) + 0.05) / (a.min(b) + 0.05)
}

/// The value of a custom property, as `#rrggbb` or as three numbers.
fn colour(theme: &str, name: &str) -> [f64; 3] {
    let (_, value) = theme.split_once(&format!("--{name}: ")).unwrap();
    let value = value.split(';').next().unwrap();
    let channel = |nth: usize| match value.strip_prefix('#') {
        Some(hex) => f64::from(u8::from_str_radix(&hex[2 * nth..][..2], 16).unwrap()),
        None => value.split(' ').nth(nth).unwrap().parse().unwrap(),
    };
    [0, 1, 2].map(channel)
}

#[test]
fn text_and_lines_stand_out_in_both_themes() {
    assert!((contrast([0.0; 3], [255.0; 3]) - 21.0).abs() < 1e-9);
    let css = include_str!("../../src/report/page.css");
    let (light, rest) = css.split_once("@media (prefers-color-scheme: dark)").unwrap();
    let dark = rest.split("}\n}").next().unwrap();
    for theme in [light, dark] {
        let paper = colour(theme, "paper");
        for text in ["ink", "quiet", "accent"] {
            for ground in ["paper", "code"] {
                let ratio = contrast(colour(theme, text), colour(theme, ground));
                assert!(ratio >= 4.5, "{text} on {ground}: {ratio:.2}");
            }
        }
        for line in ["accent", "other", "bar", "strong-rule"] {
            let ratio = contrast(colour(theme, line), paper);
            assert!(ratio >= 3.0, "{line}: {ratio:.2}");
        }
        // A cell of a confusion matrix at its fullest, as the style sheet mixes it.
        assert!(css.contains("calc(var(--share, 0) * .75)"));
        let heat = colour(theme, "heat");
        let full = [0, 1, 2].map(|c| 0.75 * heat[c] + 0.25 * paper[c]);
        let ratio = contrast(colour(theme, "ink"), full);
        assert!(ratio >= 4.5, "numbers on a full cell: {ratio:.2}");
    }
}
