//! Tables in Markdown, aligned so that they can be read on a terminal as well.

use crate::measures::Figure;
use crate::peers::VESTIBULE;
use crate::peers::http::TCP_MODE;
use crate::peers::outbound::{ENVOY_HTTP, FORWARD_PROXY, HTTP};
use crate::report::results::{FLOOR, Results, Summary};

const NOTHING: &str = "–";

/// The table of some figures: a row for each peer that has any of them, then vestibule's ratios.
pub(super) fn family(results: &Results, figures: &[&Figure]) -> String {
    let mut rows =
        vec![[String::new()].into_iter().chain(figures.iter().map(|figure| figure.title.to_owned())).collect()];
    for peer in results.peers() {
        let summaries: Vec<_> = figures.iter().map(|figure| (figure, results.summary(peer, figure.id))).collect();
        if summaries.iter().any(|(_, summary)| summary.is_some()) {
            let cells = summaries
                .into_iter()
                .map(|(figure, summary)| summary.map_or(NOTHING.to_owned(), |it| cell(it, figure.digits)));
            rows.push([peer.clone()].into_iter().chain(cells).collect());
        }
    }
    for (ours, name, other) in [
        (VESTIBULE, "best peer", None),
        (VESTIBULE, "envoy", Some("envoy")),
        (VESTIBULE, TCP_MODE, Some(TCP_MODE)),
        (VESTIBULE, "the relay without TLS", Some(FLOOR)),
        (HTTP, ENVOY_HTTP, Some(ENVOY_HTTP)),
        (FORWARD_PROXY, HTTP, Some(HTTP)),
    ] {
        let ratio = |figure: &&Figure| {
            let theirs = match other {
                Some(peer) => peer,
                None => results.best_rival(figure.id, figure.lowest_wins)?.0,
            };
            results.ratio(ours, theirs, figure.id)
        };
        let ratios: Vec<_> = figures.iter().map(ratio).collect();
        if ratios.iter().any(Option::is_some) {
            let cells =
                ratios.into_iter().map(|ratio| ratio.map_or(NOTHING.to_owned(), |ratio| format!("**{ratio:.2}**")));
            rows.push([format!("{ours} / {name}")].into_iter().chain(cells).collect());
        }
    }
    markdown(&rows)
}

/// `median (min–max)`; the median alone when there is one sample only.
fn cell(summary: Summary, digits: usize) -> String {
    let Summary { median, min, max, count } = summary;
    if count == 1 {
        format!("{median:.digits$}")
    } else {
        format!("{median:.digits$} ({min:.digits$}–{max:.digits$})")
    }
}

/// A table of which the first row is the heading, and the first column the names.
pub(crate) fn markdown(rows: &[Vec<String>]) -> String {
    aligned(rows, true)
}

/// The same for text: all columns begin at the left.
pub(crate) fn of_text(rows: &[Vec<String>]) -> String {
    aligned(rows, false)
}

fn aligned(rows: &[Vec<String>], figures: bool) -> String {
    let columns = rows.first().map_or(0, Vec::len);
    let width = |column: usize| rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0).max(3);
    let widths: Vec<_> = (0..columns).map(width).collect();
    let mut text = String::new();
    for (at, row) in rows.iter().enumerate() {
        let padded = row.iter().zip(&widths).enumerate().map(|(column, (cell, &width))| {
            if column == 0 || !figures { format!(" {cell:width$} ") } else { format!(" {cell:>width$} ") }
        });
        text.push_str(&format!("|{}|\n", padded.collect::<Vec<_>>().join("|")));
        if at == 0 {
            let rule = widths.iter().enumerate().map(|(column, &width)| {
                let dashes = "-".repeat(width + 1);
                if column == 0 || !figures { format!("-{dashes}") } else { format!("{dashes}:") }
            });
            text.push_str(&format!("|{}|\n", rule.collect::<Vec<_>>().join("|")));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::markdown;

    #[test]
    fn a_table_is_aligned() {
        let rows = [vec![String::new(), "a title".to_owned()], vec!["a name".to_owned(), "1".to_owned()]];
        assert_eq!(markdown(&rows), "|        | a title |\n|--------|--------:|\n| a name |       1 |\n");
    }
}
