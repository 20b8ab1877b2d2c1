//! One signal by name and number, and how signals are rewritten on their way to the app. Pure.

use std::fmt;
use std::str::FromStr;

use rustix::process::Signal as Kernel;
use rustix_libc_wrappers::process::SignalExt;
use strum::{IntoStaticStr, VariantArray};

use crate::diagnostics;
use crate::diagnostics::Problem;
use crate::diagnostics::redact::quote;

/// A signal (signal(7)): its name without `SIG`, or its number on this machine.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Signal(Kernel);

/// Every signal that has a name of its own.
const NAMED: [(Kernel, &str); 31] = [
    (Kernel::TERM, "TERM"),
    (Kernel::INT, "INT"),
    (Kernel::HUP, "HUP"),
    (Kernel::QUIT, "QUIT"),
    (Kernel::USR1, "USR1"),
    (Kernel::USR2, "USR2"),
    (Kernel::ALARM, "ALRM"),
    (Kernel::WINCH, "WINCH"),
    (Kernel::TSTP, "TSTP"),
    (Kernel::TTIN, "TTIN"),
    (Kernel::TTOU, "TTOU"),
    // After the signals that stop: of a stop and a CONT that arrive together, CONT has the last word.
    (Kernel::CONT, "CONT"),
    (Kernel::STKFLT, "STKFLT"),
    (Kernel::URG, "URG"),
    (Kernel::XCPU, "XCPU"),
    (Kernel::XFSZ, "XFSZ"),
    (Kernel::VTALARM, "VTALRM"),
    (Kernel::PROF, "PROF"),
    (Kernel::IO, "IO"),
    (Kernel::POWER, "PWR"),
    (Kernel::ILL, "ILL"),
    (Kernel::TRAP, "TRAP"),
    (Kernel::ABORT, "ABRT"),
    (Kernel::BUS, "BUS"),
    (Kernel::FPE, "FPE"),
    (Kernel::KILL, "KILL"),
    (Kernel::SEGV, "SEGV"),
    (Kernel::PIPE, "PIPE"),
    (Kernel::CHILD, "CHLD"),
    (Kernel::STOP, "STOP"),
    (Kernel::SYS, "SYS"),
];

impl Signal {
    /// Asks to stop.
    pub const TERM: Self = Self(Kernel::TERM);
    /// Asks to stop, from the keyboard (Ctrl-C).
    pub const INT: Self = Self(Kernel::INT);
    /// The terminal has gone, or "read your configuration again".
    pub const HUP: Self = Self(Kernel::HUP);
    /// Ends at once, with a core dump.
    pub const QUIT: Self = Self(Kernel::QUIT);
    /// Whatever a program means by it; by default the end.
    pub const USR1: Self = Self(Kernel::USR1);
    /// The same.
    pub const USR2: Self = Self(Kernel::USR2);
    /// Goes on after a stop.
    pub const CONT: Self = Self(Kernel::CONT);
    /// More CPU time was used than may be (RLIMIT_CPU).
    pub(crate) const XCPU: Self = Self(Kernel::XCPU);
    /// A file would become larger than it may (RLIMIT_FSIZE).
    pub(crate) const XFSZ: Self = Self(Kernel::XFSZ);
    /// Ends at once; cannot be caught.
    pub const KILL: Self = Self(Kernel::KILL);

    /// Its number on this machine.
    pub fn number(self) -> i32 {
        self.0.as_raw()
    }

    /// Every signal that is passed on to the app, in the order in which those that arrive together are.
    ///
    /// The others cannot be caught (KILL, STOP), tell of a fault in whoever gets them (ILL, TRAP, ABRT, BUS, FPE, SEGV,
    /// SYS), or are about our own children, pipes and limits (CHLD, PIPE, XCPU, XFSZ).
    pub fn forwardable() -> impl Iterator<Item = Self> {
        let named = NAMED.iter().map(|(signal, _)| Self(*signal)).filter(|signal| signal.is_forwardable());
        named.chain((0..).map_while(Self::real_time))
    }

    pub(crate) fn kernel(self) -> Kernel {
        self.0
    }

    /// Whether it may be sent to an app at all.
    pub(crate) fn is_forwardable(self) -> bool {
        !matches!(
            self.0,
            Kernel::KILL
                | Kernel::STOP
                | Kernel::ILL
                | Kernel::TRAP
                | Kernel::ABORT
                | Kernel::BUS
                | Kernel::FPE
                | Kernel::SEGV
                | Kernel::SYS
                | Kernel::CHILD
                | Kernel::PIPE
                | Kernel::XCPU
                | Kernel::XFSZ
        )
    }

    /// TTIN and TTOU: the kernel's answer to a process in the background that uses the terminal.
    pub(crate) fn is_about_the_terminal(self) -> bool {
        matches!(self.0, Kernel::TTIN | Kernel::TTOU)
    }

    /// The `n`th real-time signal that the libc leaves to programs.
    fn real_time(n: i32) -> Option<Self> {
        Kernel::rt(n).map(Self)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match NAMED.iter().find(|(signal, _)| *signal == self.0) {
            Some((_, name)) => f.write_str(name),
            None => match self.number() - Kernel::rt_min().as_raw() {
                0 => f.write_str("RTMIN"),
                n => write!(f, "RTMIN+{n}"),
            },
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for Signal {
    type Err = Problem;

    /// `TERM`, `SIGTERM`, `term`, `15`, `RTMIN+3`, `RTMAX-1`.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let upper = text.trim().to_ascii_uppercase();
        let name = upper.strip_prefix("SIG").unwrap_or(&upper);
        let named = NAMED.iter().find(|(_, known)| *known == name).map(|(signal, _)| Self(*signal));
        let numbered = || Kernel::from_raw(name.parse().ok()?).map(Self);
        named.or_else(numbered).or_else(|| real_time_by_name(name)).ok_or_else(|| {
            let help = format!("write a name or a number, such as {}", nearest(name));
            Problem::new(format!("{} is not a signal", quote(text)), help)
        })
    }
}

fn real_time_by_name(name: &str) -> Option<Signal> {
    let offset = |text: &str, sign: char| match text.strip_prefix(sign) {
        Some(digits) if digits.bytes().all(|byte| byte.is_ascii_digit()) => digits.parse().ok(),
        None if text.is_empty() => Some(0),
        _ => None,
    };
    if let Some(rest) = name.strip_prefix("RTMIN") {
        return Signal::real_time(offset(rest, '+')?);
    }
    let last = Kernel::rt_max().as_raw() - Kernel::rt_min().as_raw();
    Signal::real_time(last - offset(name.strip_prefix("RTMAX")?, '-')?)
}

fn nearest(name: &str) -> &'static str {
    diagnostics::nearest(name, NAMED.iter().map(|(_, known)| *known)).unwrap_or("TERM")
}

/// Which signals the app gets instead of others: `TERM:QUIT` for an app that takes its time on QUIT only.
///
/// Applies to whatever is sent to the app, ours as well as what is forwarded; not to the KILL at a deadline.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct SignalMap(Vec<(Signal, Option<Signal>)>);

impl SignalMap {
    /// What is sent in place of `signal`; `None` when it is to be dropped.
    pub fn rewrite(&self, signal: Signal) -> Option<Signal> {
        self.0.iter().find(|(from, _)| *from == signal).map_or(Some(signal), |(_, to)| *to)
    }
}

impl FromStr for SignalMap {
    type Err = Problem;

    /// `FROM:TO` pairs with commas between them; `TO` may be 0 to drop the signal. An empty text rewrites nothing.
    fn from_str(text: &str) -> Result<Self, Problem> {
        let mut map = Self::default();
        if text.trim().is_empty() {
            return Ok(map);
        }
        for pair in text.split(',').map(str::trim) {
            let (from, to) = pair.split_once(':').ok_or_else(|| {
                let help = "write FROM:TO, such as TERM:QUIT or 15:3, or FROM:0 to drop it";
                Problem::new(format!("{} is not a rewrite", quote(pair)), help)
            })?;
            let from: Signal = from.parse()?;
            let to = if to.trim() == "0" { None } else { Some(to.parse()?) };
            if !from.is_forwardable() {
                let what = format!("{from} is never forwarded and so cannot be rewritten");
                return Err(Problem::new(what, "name another signal before the colon"));
            }
            if map.0.iter().any(|(known, _)| *known == from) {
                return Err(Problem::new(format!("{from} is rewritten twice"), "keep one of the two"));
            }
            map.0.push((from, to));
        }
        Ok(map)
    }
}

/// Whom a signal for the app goes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, VariantArray, IntoStaticStr)]
#[strum(serialize_all = "lowercase")]
pub enum SignalScope {
    /// The app's process group: the app and what it has started, unless that left the group.
    #[default]
    Group,
    /// The app alone.
    App,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn signal(text: &str) -> Signal {
        text.parse().unwrap()
    }

    fn refusal(text: &str) -> String {
        text.parse::<SignalMap>().unwrap_err().to_string()
    }

    #[test]
    fn a_signal_has_a_name_with_or_without_sig_in_either_case_and_a_number() {
        for text in ["TERM", "SIGTERM", "term", "SigTerm", "15", " 15 "] {
            assert_eq!(signal(text), Signal::TERM, "{text}");
        }
        assert_eq!(signal("1"), Signal::HUP);
        assert_eq!(Signal::HUP.to_string(), "HUP");
    }

    #[test]
    fn real_time_signals_count_from_either_end() {
        assert_eq!(signal("RTMIN").number(), libc_min());
        assert_eq!(signal("SIGRTMIN+3").number(), libc_min() + 3);
        assert_eq!(signal("RTMAX").number(), 64);
        assert_eq!(signal("RTMAX-1").number(), 63);
        assert_eq!(signal("64"), signal("RTMAX"));
        for text in ["RTMIN-1", "RTMAX+1", "RTMIN+99", "RTMAX-99", "RTMIN+", "RTMIN+-1", "RTMIN3"] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }

    fn libc_min() -> i32 {
        Kernel::rt_min().as_raw()
    }

    #[test]
    fn numbers_that_are_no_signals_are_refused() {
        for text in ["0", "-1", "32", "65", "4294967311", ""] {
            assert!(text.parse::<Signal>().is_err(), "{text}");
        }
    }

    #[test]
    fn every_forwardable_signal_reads_back_from_its_name_and_its_number() {
        for one in Signal::forwardable() {
            assert_eq!(signal(&one.to_string()), one);
            assert_eq!(signal(&one.number().to_string()), one);
        }
    }

    #[test]
    fn every_signal_is_forwarded_but_those_that_cannot_be_or_are_about_ourselves() {
        let forwarded: Vec<i32> = Signal::forwardable().map(Signal::number).collect();
        let left: Vec<i32> = (1..=31).filter(|number| !forwarded.contains(number)).collect();
        assert_eq!(left, [4, 5, 6, 7, 8, 9, 11, 13, 17, 19, 24, 25, 31]);
        assert!((libc_min()..=64).all(|number| forwarded.contains(&number)));
    }

    #[test]
    fn a_map_rewrites_what_it_names_and_leaves_the_rest() {
        let map: SignalMap = "15:3, HUP:USR1,usr2:0".parse().unwrap();
        assert_eq!(map.rewrite(Signal::TERM), Some(signal("QUIT")));
        assert_eq!(map.rewrite(Signal::HUP), Some(signal("USR1")));
        assert_eq!(map.rewrite(signal("USR2")), None);
        assert_eq!(map.rewrite(Signal::INT), Some(Signal::INT));
        assert_eq!("".parse::<SignalMap>().unwrap(), SignalMap::default());
    }

    #[test]
    fn a_rewrite_is_not_rewritten_again() {
        let map: SignalMap = "TERM:INT,INT:TERM".parse().unwrap();
        assert_eq!(map.rewrite(Signal::TERM), Some(Signal::INT));
        assert_eq!(map.rewrite(Signal::INT), Some(Signal::TERM));
    }

    #[test]
    fn an_error_in_a_map_is_named_with_its_help() {
        assert!(refusal("TERM").contains("write FROM:TO"));
        for stray in [",", "TERM:QUIT,", ",TERM:QUIT", "TERM:QUIT,,HUP:USR1"] {
            assert!(refusal(stray).contains("\"\" is not a rewrite; write FROM:TO"), "{stray}");
        }
        assert!(refusal("TRM:QUIT").contains("\"TRM\" is not a signal"));
        assert!(refusal("TRM:QUIT").ends_with("such as TERM"));
        assert!(refusal("15:QUITT").ends_with("such as QUIT"));
        assert!(refusal("KILL:TERM").contains("KILL is never forwarded"));
        assert!(refusal("CHLD:TERM").contains("CHLD is never forwarded"));
        assert!(refusal("TERM:QUIT,15:3").contains("TERM is rewritten twice"));
    }

    proptest! {
        #[test]
        fn no_text_brings_the_parser_down(text in ".{0,40}") {
            let _ = text.parse::<SignalMap>();
            let _ = text.parse::<Signal>();
        }

        #[test]
        fn nothing_near_a_real_time_name_does_either(text in "(SIG)?RTM(IN|AX)[-+0-9]{0,12}") {
            let _ = text.parse::<Signal>();
        }
    }
}
