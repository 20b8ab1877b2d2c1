//! What stands outside of blocks: any text, but nothing that was meant to be a block and would vanish.

use super::{END, PemError, PemFault, Scan, is_line_end};

/// A line of base64 is noticed from this length on, in characters. Tools write 64 or 76.
const SHORTEST_BASE64: usize = 40;

/// Longer than any line that has no more than a mark on it, in characters.
const LONGEST_MARK: usize = 160;

/// What stands outside of blocks and is named: by line, counted from 1.
#[derive(Debug, Default)]
pub struct ExplanatoryText {
    /// Marks that belong to no block, since they stand within other text or are not quite marks.
    pub stray_marks: Vec<usize>,
    /// What is no text.
    pub binary: Vec<usize>,
}

impl ExplanatoryText {
    /// Looks at what stands from `scan` to the end of its text, which is a place outside of all blocks.
    ///
    /// # Errors
    /// [`PemError`]: what was a block, but for its marks.
    pub(super) fn scan(&mut self, mut scan: Scan<'_>) -> Result<(), PemError> {
        let is_binary = |byte: &u8| *byte < b' ' && !byte.is_ascii_whitespace();
        if let Some(at) = scan.text[scan.at..].iter().position(is_binary) {
            let mut here = scan.clone();
            here.advance(at);
            self.binary.push(here.line);
        }
        let mut lines = scan.clone();
        while scan.advance_to(END) {
            if scan.begins_line() {
                return Err(PemError { line: scan.line, fault: PemFault::NoBegin });
            }
            self.stray_marks.push(scan.line);
            scan.advance(END.len());
        }
        for line in scan.text[scan.at..].split(|byte| is_line_end(*byte)) {
            if is_base64(line) {
                return Err(PemError { line: lines.line, fault: PemFault::NoMarks });
            }
            if is_nearly_a_mark(line) {
                if line.len() > LONGEST_MARK {
                    return Err(PemError { line: lines.line, fault: PemFault::LineBreaksMissing(line.len()) });
                }
                self.stray_marks.push(lines.line);
            }
            lines.advance((line.len() + 1).min(lines.text.len() - lines.at));
        }
        Ok(())
    }

    /// A sentence for each, with its line.
    pub(super) fn sentences(&self) -> impl Iterator<Item = (usize, String)> {
        let marks = self.stray_marks.iter();
        let marks = marks.map(|line| (*line, format!("line {line}: a mark within other text is passed over")));
        let binary = self.binary.iter();
        let binary = binary.map(|line| (*line, format!("line {line}: what is not text is passed over")));
        marks.chain(binary)
    }
}

/// Whether `line` is one of the body of a block. A fingerprint in hexadecimal has small letters or capitals, and never both.
fn is_base64(line: &[u8]) -> bool {
    let line = line.trim_ascii();
    line.len() >= SHORTEST_BASE64
        && line.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'='))
        && line.iter().any(u8::is_ascii_uppercase)
        && line.iter().any(u8::is_ascii_lowercase)
}

/// Whether `line` begins with dashes of any kind and BEGIN or END in any case, but not as a mark does.
fn is_nearly_a_mark(line: &[u8]) -> bool {
    let line = String::from_utf8_lossy(line);
    // Dashes as word processors have them, minus signs, and blanks without a width.
    let is_dash = |c: char| {
        matches!(
            c,
            '-' | '_' | '=' | '\u{ad}' | '\u{2010}'..='\u{2015}' | '\u{2212}' | '\u{fe58}' | '\u{fe63}' | '\u{ff0d}'
        )
    };
    let is_blank = |c: char| c.is_whitespace() || matches!(c, '\u{200b}'..='\u{200d}' | '\u{2060}' | '\u{feff}');
    let word = line.trim_start_matches(|c: char| is_dash(c) || is_blank(c));
    let dashes = line[..line.len() - word.len()].chars().filter(|c| is_dash(*c)).count();
    let begins_with = |mark: &str| word.get(..mark.len()).is_some_and(|start| start.eq_ignore_ascii_case(mark));
    dashes >= 2 && (begins_with("BEGIN") || begins_with("END")) && !line.trim_start().as_bytes().starts_with(END)
}
