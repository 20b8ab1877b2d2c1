//! The plot: a panel of bars for each of the figures that matter most.

use std::fmt::Write;

use crate::peers::VESTIBULE;
use crate::report::results::{FLOOR, Results};

/// Figures with the headings of their panels, and decimals.
const PANELS: [(&str, &str, usize); 12] = [
    ("rsa-2048", "new connection, RSA-2048: CPU µs", 0),
    ("rsa-3072", "new connection, RSA-3072: CPU µs", 0),
    ("mtls", "new connection, mTLS: CPU µs", 0),
    ("resumed", "resumed connection: CPU µs", 0),
    ("request", "small request: CPU µs", 1),
    ("storm-p99", "p99 µs in a handshake storm", 0),
    ("down", "down: CPU s per GiB", 2),
    ("up", "up: CPU s per GiB", 2),
    ("listening", "start to listening: ms", 1),
    ("idle", "idle: MiB", 1),
    ("connection-used", "per idle connection: KiB", 1),
    ("left", "5 s after 2,000 closed: MiB", 1),
];

const COLUMNS: usize = 3;
const WIDTH: f64 = 330.0;
const LABEL: f64 = 92.0;
const BAR: f64 = 150.0;
const LINE: f64 = 17.0;

/// An SVG of all panels for which there are figures.
pub(super) fn plot(results: &Results, caption: &str) -> String {
    let panels: Vec<_> = PANELS
        .iter()
        .filter(|(figure, ..)| results.peers().iter().any(|peer| results.summary(peer, figure).is_some()))
        .collect();
    let height = results.peers().len() as f64 * LINE + 44.0;
    let (wide, high) = (WIDTH * COLUMNS as f64 + 20.0, height * panels.len().div_ceil(COLUMNS) as f64 + 40.0);
    let mut svg = format!(
        "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {wide} {high}\" font-family=\"sans-serif\" font-size=\"12\">\n\
         <rect width=\"100%\" height=\"100%\" fill=\"#ffffff\"/>\n"
    );
    for (at, (figure, title, digits)) in panels.into_iter().enumerate() {
        let (x, y) = ((at % COLUMNS) as f64 * WIDTH + 10.0, (at / COLUMNS) as f64 * height + 24.0);
        svg.push_str(&panel(results, figure, title, *digits, (x, y)));
    }
    let _ = writeln!(
        svg,
        "<text x=\"10\" y=\"{}\" font-size=\"10\" fill=\"#666666\">Less is better. The thin line goes from the smallest to the largest sample. {}</text>\n</svg>",
        high - 12.0,
        escaped(caption)
    );
    svg
}

fn panel(results: &Results, figure: &str, title: &str, digits: usize, (x, y): (f64, f64)) -> String {
    let mut svg = format!("<text x=\"{x}\" y=\"{y}\" font-weight=\"bold\">{}</text>\n", escaped(title));
    let rows: Vec<_> = results.peers().iter().filter_map(|peer| Some((peer, results.summary(peer, figure)?))).collect();
    let longest = rows.iter().map(|(_, summary)| summary.max).fold(f64::MIN_POSITIVE, f64::max);
    let scale = |value: f64| value.max(0.0) / longest * BAR;
    for (at, (peer, summary)) in rows.iter().enumerate() {
        let top = y + 8.0 + at as f64 * LINE;
        let colour = match peer.as_str() {
            VESTIBULE => "#c2410c",
            FLOOR | crate::measures::sign::ROW => "#d6d3d1",
            _ => "#78716c",
        };
        let (bar, middle, text) = (x + LABEL, top + 7.0, top + 11.0);
        // Writing to a String cannot fail.
        let _ = writeln!(
            svg,
            "<text x=\"{}\" y=\"{text}\" text-anchor=\"end\">{}</text>",
            bar - 6.0,
            escaped(peer.trim_matches(['(', ')']))
        );
        let _ = writeln!(
            svg,
            "<rect x=\"{bar}\" y=\"{top}\" width=\"{:.1}\" height=\"13\" fill=\"{colour}\"/>",
            scale(summary.median)
        );
        let _ = writeln!(
            svg,
            "<line x1=\"{:.1}\" x2=\"{:.1}\" y1=\"{middle}\" y2=\"{middle}\" stroke=\"#1c1917\"/>",
            bar + scale(summary.min),
            bar + scale(summary.max)
        );
        let _ = writeln!(
            svg,
            "<text x=\"{:.1}\" y=\"{text}\">{:.digits$}</text>",
            bar + scale(summary.max) + 5.0,
            summary.median
        );
    }
    svg
}

fn escaped(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;")
}
