//! The two small plots of the last minutes. What they show is also said in words beside them.

use std::fmt::Write;

use super::markup::Markup;
use crate::telemetry::Bucket;

/// The width of a bucket; the space of a plot is [`TALL`] high, and stretched to the page's width.
const WIDE: usize = 10;
const TALL: u64 = 60;

/// Where bars that go up and bars that go down meet.
const AXIS: u64 = 40;

/// How many connections there were, as an area.
pub(super) fn active(page: &mut Markup, buckets: &[Bucket]) {
    let most = buckets.iter().map(|bucket| bucket.active).max().unwrap_or_default();
    let mut path = format!("M0 {TALL}");
    let mut before = 0;
    for (index, bucket) in buckets.iter().enumerate() {
        let height = scaled(bucket.active, most, TALL - 2);
        if height != before {
            let _ = write!(path, "H{}V{}", index * WIDE, TALL - height);
            before = height;
        }
    }
    let _ = write!(path, "H{}V{TALL}z", buckets.len() * WIDE);
    begin(page);
    area(page, "active", &path);
    page.raw("</svg>");
}

/// How many came, as bars that go up, and how many were denied, as bars that go down; on the same scale.
pub(super) fn flow(page: &mut Markup, buckets: &[Bucket]) {
    let most = |of: fn(&Bucket) -> u32| buckets.iter().map(of).max().unwrap_or_default();
    let most = most(|bucket| bucket.opened).max(most(|bucket| bucket.denied).saturating_mul(2));
    let (mut opened, mut denied) = (String::new(), String::new());
    for (index, bucket) in buckets.iter().enumerate() {
        let x = index * WIDE + 1;
        if bucket.opened > 0 {
            let _ = write!(opened, "M{x} {AXIS}v-{0}h8v{0}z", scaled(bucket.opened, most, AXIS - 2));
        }
        if bucket.denied > 0 {
            let _ = write!(denied, "M{x} {AXIS}v{0}h8v-{0}z", scaled(bucket.denied, most, AXIS - 2));
        }
    }
    begin(page);
    area(page, "opened", &opened);
    area(page, "denied", &denied);
    page.raw("<path class=\"axis\" d=\"M0 ").text(AXIS).raw("H600\"/></svg>");
}

fn begin(page: &mut Markup) {
    page.raw("<svg aria-hidden=\"true\" viewBox=\"0 0 600 60\" preserveAspectRatio=\"none\">");
}

fn area(page: &mut Markup, class: &'static str, path: &str) {
    if !path.is_empty() {
        page.raw("<path class=\"").raw(class).raw("\" d=\"").text(path).raw("\"/>");
    }
}

/// `value` on a scale on which `most` is `height`; what is there is visible.
fn scaled(value: u32, most: u32, height: u64) -> u64 {
    match value {
        0 => 0,
        value => (u64::from(value) * height / u64::from(most)).max(2),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn drawn(plot: fn(&mut Markup, &[Bucket]), buckets: &[Bucket]) -> String {
        let mut page = Markup::default();
        plot(&mut page, buckets);
        page.into_string()
    }

    #[test]
    fn the_highest_reaches_the_top_and_the_smallest_is_visible() {
        let bucket = |opened, denied, active| Bucket { opened, denied, active };
        let buckets = [bucket(0, 0, 0), bucket(1000, 1, 7), bucket(1, 0, 7), bucket(0, 0, 1)];
        assert!(drawn(active, &buckets).contains("d=\"M0 60H10V2H30V52H40V60z\""), "{}", drawn(active, &buckets));
        let flow = drawn(flow, &buckets);
        assert!(flow.contains("class=\"opened\" d=\"M11 40v-38h8v38zM21 40v-2h8v2z\""), "{flow}");
        assert!(flow.contains("class=\"denied\" d=\"M11 40v2h8v-2z\""), "{flow}");
    }

    #[test]
    fn a_quiet_time_is_a_flat_line() {
        let quiet = [Bucket::default(); 60];
        assert!(drawn(active, &quiet).contains("d=\"M0 60H600V60z\""));
        assert!(!drawn(flow, &quiet).contains("opened"));
    }
}
